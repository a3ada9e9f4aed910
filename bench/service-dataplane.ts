// What a connection through a Service costs: handshakes one by one and connections per second from a pod to the first and
// the last of all Services, against a connection straight to an endpoint. Client, node and server are network namespaces;
// the three ways take turns, so that their ratio holds although the machine's speed changes.
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { TestNamespaces } from '../test/harness/netns.ts';
import { isInOwnNetns, NODE_IP } from './own-netns.ts';
import { appendResult } from './results.ts';
import type { ConnectFigures } from './service-dataplane/client.ts';
import { FakeApi } from './service-sync/fake-api.ts';
import { flushAll } from './service-sync/floor.ts';
import { clusterIp, ENDPOINT_PORT, endpointIp, SERVICE_PORT, service, slice } from './service-sync/objects.ts';
import { installCopy, type Mode, NODE_NAME, ProxyProcess } from './service-sync/proxy-process.ts';
import { formatTable, type Summary, summarize } from './stats.ts';

export interface ServiceDataplaneOptions {
  readonly services: number;
  readonly endpoints: number;
  /** Both when absent. */
  readonly mode?: Mode;
  readonly rounds: number;
  /** Connections one by one, in each round. */
  readonly connections: number;
  /** Length of the measurement with many at once, in each round, ms. */
  readonly burstMs: number;
  readonly save: boolean;
}

const AT_ONCE = 16;
const CLIENT_IP = '10.255.255.2'; // of the pods' range: nothing is masqueraded
const run = promisify(execFile);

interface WayFigures {
  readonly handshakeMs: Summary;
  readonly perSecond: Summary;
  readonly failures: number;
}

/** @throws when a part of it fails; processes and rules end with the namespaces in any case. */
export async function serviceDataplane(opts: ServiceDataplaneOptions, signal: AbortSignal): Promise<void> {
  if (!(await isInOwnNetns(signal))) return;
  const dir = await mkdtemp(path.join(tmpdir(), 'nodelet-bench-dataplane-'));
  await using namespaces = new TestNamespaces('bench');
  let server: ChildProcess | undefined;
  try {
    const [client, pods] = [await namespaces.create('client'), await namespaces.create('pods')];
    await connectNamespaces(opts, client, pods);
    server = spawn('ip', ['netns', 'exec', pods, process.execPath, script('server.ts'), String(ENDPOINT_PORT)]);
    await once(server.stdout!, 'data', { signal });
    const program = await installCopy(dir);
    const modes: readonly Mode[] = opts.mode === undefined ? ['iptables', 'nftables'] : [opts.mode];
    for (const mode of modes) {
      process.stderr.write(`${mode}: ${opts.services} Services × ${opts.endpoints} endpoints …\n`);
      const ways = await measureMode(opts, { mode, program, dir, client }, signal);
      const { services, endpoints, rounds, connections, burstMs } = opts;
      const result = { mode, options: { services, endpoints, rounds, connections, burstMs }, ways };
      console.log(`\n${table(result)}\n`);
      if (opts.save) process.stderr.write(`appended to ${await appendResult('service-dataplane', result)}\n`);
    }
  } finally {
    server?.kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  }
}

function script(file: string): string {
  return path.join(import.meta.dirname, 'service-dataplane', file);
}

/** A link from here to each, the endpoints of the two Services in `pods`. */
async function connectNamespaces(opts: ServiceDataplaneOptions, client: string, pods: string): Promise<void> {
  const commands: string[][] = [];
  for (const [i, netns] of [client, pods].entries()) {
    const here = `node${i}`;
    commands.push(
      ['link', 'add', here, 'type', 'veth', 'peer', 'name', 'eth0', 'netns', netns],
      ['addr', 'add', `169.254.${i + 1}.1/32`, 'dev', here],
      ['link', 'set', here, 'up'],
      ['-n', netns, 'link', 'set', 'eth0', 'up'],
      ['-n', netns, 'route', 'add', `169.254.${i + 1}.1/32`, 'dev', 'eth0'],
    );
  }
  const ends = [0, opts.services - 1].flatMap((i) =>
    Array.from({ length: opts.endpoints }, (_, n) => endpointIp(i, n)),
  );
  for (const ip of new Set(ends)) {
    commands.push(['-n', pods, 'addr', 'add', `${ip}/32`, 'dev', 'eth0'], ['route', 'add', `${ip}/32`, 'dev', 'node1']);
  }
  commands.push(
    ['-n', client, 'addr', 'add', `${CLIENT_IP}/32`, 'dev', 'eth0'],
    ['route', 'add', `${CLIENT_IP}/32`, 'dev', 'node0'],
    ['-n', client, 'route', 'add', 'default', 'via', '169.254.1.1', 'dev', 'eth0'],
    ['-n', pods, 'route', 'add', 'default', 'via', '169.254.2.1', 'dev', 'eth0'],
  );
  for (const command of commands) await run('ip', command);
  await run('sysctl', ['-q', '-w', 'net.ipv4.ip_forward=1']);
}

interface Place {
  readonly mode: Mode;
  readonly program: string;
  readonly dir: string;
  readonly client: string;
}

async function measureMode(
  opts: ServiceDataplaneOptions,
  place: Place,
  signal: AbortSignal,
): Promise<Readonly<Record<string, WayFigures>>> {
  await flushAll();
  await using api = await FakeApi.start();
  const addresses = [{ type: 'InternalIP', address: NODE_IP }];
  api.write('nodes', { metadata: { name: NODE_NAME, uid: 'bench' }, status: { addresses } } as object);
  for (let i = 0; i < opts.services; i++) {
    api.write('services', service(i));
    api.write('endpointslices', slice(i, opts.endpoints));
  }
  await using proxy = await ProxyProcess.start({ ...place, apiUrl: api.url, flags: [], echo: false });
  await proxy.firstSync(signal);
  const targets: Readonly<Record<string, readonly [string, number]>> = {
    direct: [endpointIp(0, 0), ENDPOINT_PORT],
    'first Service': [clusterIp(0), SERVICE_PORT],
    'last Service': [clusterIp(opts.services - 1), SERVICE_PORT],
  };
  const found = new Map<string, ConnectFigures[]>();
  for (let round = 0; round < opts.rounds; round++) {
    for (const [way, target] of Object.entries(targets)) {
      const all = found.get(way) ?? [];
      found.set(way, all);
      all.push(await measureWay(opts, place.client, target, signal));
    }
  }
  return Object.fromEntries([...found].map(([way, all]) => [way, summary(all)]));
}

async function measureWay(
  opts: ServiceDataplaneOptions,
  netns: string,
  [ip, port]: readonly [string, number],
  signal: AbortSignal,
): Promise<ConnectFigures> {
  const work = [ip, port, opts.connections, opts.burstMs, AT_ONCE].map(String);
  const args = ['netns', 'exec', netns, process.execPath, script('client.ts'), ...work];
  const { stdout } = await run('ip', args, { signal, maxBuffer: 16 << 20 });
  return JSON.parse(stdout) as ConnectFigures;
}

function summary(all: readonly ConnectFigures[]): WayFigures {
  return {
    handshakeMs: summarize(all.flatMap((f) => f.handshakesMs)),
    perSecond: summarize(all.map((f) => f.perSecond)),
    failures: all.reduce((n, f) => n + f.failures, 0),
  };
}

interface Result {
  readonly mode: Mode;
  readonly options: { readonly services: number; readonly endpoints: number };
  readonly ways: Readonly<Record<string, WayFigures>>;
}

function table({ mode, options, ways }: Result): string {
  const direct = ways.direct!;
  const rows = Object.entries(ways).map(([way, f]) => [
    way,
    `${(f.handshakeMs.p50 * 1000).toFixed(0)} µs`,
    `${(f.handshakeMs.p90 * 1000).toFixed(0)} µs`,
    `${(f.handshakeMs.p50 / direct.handshakeMs.p50).toFixed(2)}×`,
    f.perSecond.p50.toFixed(0),
    `${(f.perSecond.p50 / direct.perSecond.p50).toFixed(2)}×`,
    String(f.failures),
  ]);
  const title = `${mode}, ${options.services} Services × ${options.endpoints}`;
  return formatTable([[title, 'handshake p50', 'p90', 'to direct', 'per second', 'to direct', 'failed'], ...rows]);
}
