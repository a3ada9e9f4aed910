// What the service proxy makes of a change: from the API server's write to the kernel's event, the CPU time it takes
// (children included), and what the process weighs meanwhile. The floor is the tool alone, fed by hand with as many
// Services, in the same run on the same machine; and what the least change by the tool takes in the proxy's own rules, which
// have comments and matches that the floor's have not. API server: one in this process that costs next to nothing.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isInOwnNetns, NODE_IP } from './own-netns.ts';
import { cpuSecondsOf } from './process-facts.ts';
import { appendResult } from './results.ts';
import { FakeApi } from './service-sync/fake-api.ts';
import {
  apply,
  coldDocuments,
  flushAll,
  LEAST_ENDPOINT,
  leastDocument,
  newEndpointDocument,
  newServiceDocument,
} from './service-sync/floor.ts';
import { KernelEvents } from './service-sync/kernel-events.ts';
import { endpointIp, service, slice } from './service-sync/objects.ts';
import { installCopy, type Mode, NODE_NAME, ProxyProcess } from './service-sync/proxy-process.ts';
import { formatTable, type Summary, summarize } from './stats.ts';

export interface ServiceSyncOptions {
  readonly services: number;
  readonly endpoints: number;
  /** Both when absent. */
  readonly mode?: Mode;
  /** Changes of each kind. */
  readonly changes: number;
  /** Between two changes, ms. */
  readonly pauseMs: number;
  /** Between the write of a Service and that of its slice, ms. */
  readonly gapMs: number;
  /** Further flags of the proxy. */
  readonly flag: readonly string[];
  readonly floor: boolean;
  readonly save: boolean;
  readonly trace?: true;
}

/** Changes before those that count: compilation, first reads. */
const WARM_UP = 3;
/** After the cold start, so that what it left to do is not part of a change, ms. */
const SETTLE_MS = 5_000;
/** Between two runs of the tool alone, ms. */
const LEAST_PAUSE_MS = 200;

interface Changes {
  readonly newService: Summary;
  readonly newEndpoint: Summary;
  readonly cpuMsPerChange: number;
}

interface Floor extends Changes {
  readonly coldMs: number;
}

interface Figures extends Changes {
  /** By the tool alone, beside the proxy's rules, which the kernel goes through with every change. */
  readonly least: Summary;
  readonly coldMs: number;
  readonly coldCpuSeconds: number;
  readonly rssMB: number;
  readonly peakRssMB: number;
  /** Of the event loop, ms: while starting, and during the changes. */
  readonly lag: { readonly coldP99: number; readonly coldMax: number; readonly p99: number; readonly max: number };
}

/** @throws when a part of it fails; processes and rules end with the namespace in any case. */
export async function serviceSync(opts: ServiceSyncOptions, signal: AbortSignal): Promise<void> {
  if (!(await isInOwnNetns(signal))) return;
  const dir = await mkdtemp(path.join(tmpdir(), 'nodelet-bench-sync-'));
  try {
    const program = await installCopy(dir);
    const modes: readonly Mode[] = opts.mode === undefined ? ['iptables', 'nftables'] : [opts.mode];
    for (const mode of modes) {
      note(`${mode}: ${opts.services} Services × ${opts.endpoints} endpoints …`);
      const figures = await measureProxy(opts, { mode, program, dir }, signal);
      if (opts.floor) note(`${mode}: the tool alone …`);
      const floor = opts.floor ? await measureFloor(opts, mode, signal) : undefined;
      const { services, endpoints, changes, gapMs, flag } = opts;
      const result = { mode, options: { services, endpoints, changes, gapMs, flags: flag }, figures, floor };
      console.log(`\n${table(result)}\n`);
      if (opts.save) note(`appended to ${await appendResult('service-sync', result)}`);
    }
  } finally {
    await rm(dir, { recursive: true, force: true });
  }
}

function note(text: string): void {
  process.stderr.write(`${text}\n`);
}

interface Place {
  readonly mode: Mode;
  readonly program: string;
  readonly dir: string;
}

async function measureProxy(opts: ServiceSyncOptions, place: Place, signal: AbortSignal): Promise<Figures> {
  await flushAll();
  await using api = await FakeApi.start();
  const addresses = [{ type: 'InternalIP', address: NODE_IP }];
  const node = { metadata: { name: NODE_NAME, uid: 'bench-node' }, spec: {}, status: { addresses } };
  api.write('nodes', node);
  for (let i = 0; i < opts.services; i++) {
    api.write('services', service(i));
    api.write('endpointslices', slice(i, opts.endpoints));
  }
  await using proxy = await ProxyProcess.start({
    ...place,
    apiUrl: api.url,
    flags: opts.flag,
    echo: opts.trace ?? false,
  });
  const coldMs = (await proxy.firstSync(signal)) - proxy.startedWallMs;
  const coldCpuSeconds = await proxy.cpuSeconds();
  note(`  all in place after ${(coldMs / 1000).toFixed(2)} s`);
  await sleep(SETTLE_MS, undefined, { signal });
  const cold = lagOf(await proxy.metrics());
  await using events = new KernelEvents();
  const changes = await measureChanges(opts, events, signal, {
    cpuSeconds: () => proxy.cpuSeconds(),
    addService: async (i) => {
      api.write('services', service(i));
      if (opts.gapMs > 0) await sleep(opts.gapMs);
      api.write('endpointslices', slice(i, opts.endpoints));
    },
    addEndpoint: async (i, n) => api.write('endpointslices', slice(i, n + 1)),
  });
  const lag = lagOf(await proxy.metrics());
  const least = await measureLeast(opts, place.mode, events, signal);
  return {
    ...changes,
    least,
    coldMs,
    coldCpuSeconds,
    rssMB: (await proxy.memory()).rssMB,
    peakRssMB: await proxy.peakRssMB(),
    lag: { coldP99: cold.p99, coldMax: cold.max, ...lag },
  };
}

function lagOf(metrics: ReadonlyMap<string, number>): { readonly p99: number; readonly max: number } {
  const ms = (name: string): number => (metrics.get(`nodejs_eventloop_lag_${name}_seconds`) ?? Number.NaN) * 1000;
  return { p99: ms('p99'), max: ms('max') };
}

async function measureFloor(opts: ServiceSyncOptions, mode: Mode, signal: AbortSignal): Promise<Floor> {
  await flushAll();
  const documents = coldDocuments(mode, opts.services, opts.endpoints);
  const startMs = performance.now();
  for (const document of documents) await apply(mode, document);
  const coldMs = performance.now() - startMs;
  await using events = new KernelEvents();
  const changes = await measureChanges({ ...opts, pauseMs: 100 }, events, signal, {
    // This process's children that have ended: the tool's runs, and nothing else.
    cpuSeconds: async () => (await cpuSecondsOf(process.pid, 'with children')) - (await cpuSecondsOf(process.pid)),
    addService: (i) => apply(mode, newServiceDocument(mode, i, opts.endpoints)),
    addEndpoint: (i, n) => apply(mode, newEndpointDocument(mode, i, n)),
  });
  return { ...changes, coldMs };
}

async function measureLeast(
  opts: ServiceSyncOptions,
  mode: Mode,
  events: KernelEvents,
  signal: AbortSignal,
): Promise<Summary> {
  const times: number[] = [];
  for (let i = 0; i < opts.changes; i++) {
    await sleep(LEAST_PAUSE_MS, undefined, { signal });
    times.push(await timeChange(events, endpointIp(i, LEAST_ENDPOINT), () => apply(mode, leastDocument(mode, i))));
  }
  return summarize(times);
}

/** From the first write until the kernel tells of a rule that leads to the endpoint, ms. */
async function timeChange(events: KernelEvents, ip: string, change: () => Promise<void>): Promise<number> {
  // All that a Service needs belongs to one transaction, so the line about the endpoint tells of the rest.
  const seen = events.next(new RegExp(`dnat .*[ {]${ip.replaceAll('.', '\\.')}[: ]`));
  const startMs = performance.now();
  await Promise.all([change(), seen]);
  return (await seen) - startMs;
}

interface Changer {
  readonly cpuSeconds: () => Promise<number>;
  readonly addService: (i: number) => Promise<void>;
  readonly addEndpoint: (i: number, n: number) => Promise<void>;
}

/** Each change alone: from its first write until the kernel tells of a rule that leads to the endpoint. */
async function measureChanges(
  opts: ServiceSyncOptions,
  events: KernelEvents,
  signal: AbortSignal,
  changer: Changer,
): Promise<Changes> {
  const time = async (ip: string, change: () => Promise<void>): Promise<number> => {
    await sleep(opts.pauseMs, undefined, { signal });
    const tookMs = await timeChange(events, ip, change);
    if (opts.trace) note(`  ${ip}: ${tookMs.toFixed(1)} ms`);
    return tookMs;
  };
  const addService = (k: number) => {
    const i = opts.services + k;
    return time(endpointIp(i, 0), () => changer.addService(i));
  };
  const addEndpoint = (k: number) => {
    const i = Math.floor((k * opts.services) / (opts.changes + WARM_UP));
    return time(endpointIp(i, opts.endpoints), () => changer.addEndpoint(i, opts.endpoints));
  };
  await events.ready(signal);
  for (let k = 0; k < WARM_UP; k++) {
    await addService(k);
    await addEndpoint(k);
  }
  const before = await changer.cpuSeconds();
  const services: number[] = [];
  const endpoints: number[] = [];
  for (let k = WARM_UP; k < WARM_UP + opts.changes; k++) services.push(await addService(k));
  for (let k = WARM_UP; k < WARM_UP + opts.changes; k++) endpoints.push(await addEndpoint(k));
  await sleep(opts.pauseMs, undefined, { signal }); // what the last change leaves to do belongs to it
  const cpuSeconds = (await changer.cpuSeconds()) - before;
  return {
    newService: summarize(services),
    newEndpoint: summarize(endpoints),
    cpuMsPerChange: (cpuSeconds * 1000) / (2 * opts.changes),
  };
}

interface Result {
  readonly mode: Mode;
  readonly options: { readonly services: number; readonly endpoints: number };
  readonly figures: Figures;
  readonly floor: Floor | undefined;
}

function table({ mode, options, figures: f, floor }: Result): string {
  const { services, endpoints } = options;
  const row = (label: string, value: number, bottom: number | undefined, unit: string, budget: number): string[] => [
    label,
    bottom === undefined ? '-' : `${bottom.toFixed(0)} ${unit}`,
    `${value.toFixed(0)} ${unit}`,
    bottom === undefined ? '-' : `${(value / bottom).toFixed(1)}×`,
    `${budget} ${unit}`,
  ];
  return formatTable([
    [`${mode}, ${services} Services × ${endpoints}`, 'floor', 'proxy', 'ratio', 'budget'],
    row('cold start to all rules in place', f.coldMs, floor?.coldMs, 'ms', 3_500),
    row('new Service + slice, p50', f.newService.p50, floor?.newService.p50, 'ms', 50),
    row('new Service + slice, max', f.newService.max, floor?.newService.max, 'ms', 300),
    row('endpoint added, p50', f.newEndpoint.p50, floor?.newEndpoint.p50, 'ms', 50),
    row('endpoint added, max', f.newEndpoint.max, floor?.newEndpoint.max, 'ms', 300),
    ['least change of these rules by the tool, p50', '-', `${f.least.p50.toFixed(0)} ms`, '-', '-'],
    row('CPU per change, children included', f.cpuMsPerChange, floor?.cpuMsPerChange, 'ms', 60),
    row('RSS', f.rssMB, undefined, 'MB', 130),
    row('RSS, peak', f.peakRssMB, undefined, 'MB', 130),
    row('event loop delay while starting, p99', f.lag.coldP99, undefined, 'ms', 50),
    row('event loop delay while starting, max', f.lag.coldMax, undefined, 'ms', 50),
    row('event loop delay during changes, p99', f.lag.p99, undefined, 'ms', 50),
    row('event loop delay during changes, max', f.lag.max, undefined, 'ms', 50),
  ]);
}
