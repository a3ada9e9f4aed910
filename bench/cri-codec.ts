// What it costs to have CRI messages: start time, memory and decoding, each way in processes of its own. The figures of
// docs/decisions/0003-cri-codec.md. Run: node bench/cri-codec.ts [--static FILE], FILE made by pbjs of protobufjs-cli:
// pbjs -t static-module -w commonjs --force-number --keep-case cri/proto/runtime.v1.proto
import { execFile } from 'node:child_process';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import { createRequire, stripTypeScriptTypes } from 'node:module';
import path from 'node:path';
import { promisify } from 'node:util';

const CONTAINERS = 500;
const RUNS = 7;
const ROUNDS = 40;
/** Without types, as in a release: stripping them at start would be counted, too. */
const STRIPPED = '.cache/bench-cri-codec';
const SOURCES = ['bench/cri-codec', 'cri/codec', 'cri/gen/schema', 'api/protobuf-wire'];
const ROOT = path.resolve(import.meta.dirname, '..');
const PROTO = path.join(process.cwd(), 'cri/proto/runtime.v1.proto');
const require = createRequire(import.meta.url);

interface Codec {
  readonly list: (bytes: Buffer) => { containers: readonly unknown[] };
  readonly status: (bytes: Buffer) => unknown;
}

interface Figures {
  readonly startMs: number;
  readonly rssAfterStartMb: number;
  readonly rssAfterWorkMb: number;
  readonly listMs: number;
  readonly statusesMs: number;
}

const WAYS: Readonly<Record<string, (staticFile: string) => Promise<Codec | undefined>>> = {
  'none (grpc-js alone)': async () => undefined,
  'proto-loader (reflection)': async () => {
    const { loadSync } = require('@grpc/proto-loader') as typeof import('@grpc/proto-loader');
    const definition = loadSync(PROTO, { longs: Number, enums: String, defaults: true });
    const service = definition['runtime.v1.RuntimeService'] as unknown as Record<
      string,
      { responseDeserialize(bytes: Buffer): unknown }
    >;
    return {
      list: (bytes) => service.ListContainers!.responseDeserialize(bytes) as { containers: unknown[] },
      status: (bytes) => service.ContainerStatus!.responseDeserialize(bytes),
    };
  },
  'protobufjs static': async (staticFile) => {
    const { runtime } = require(path.resolve(staticFile)) as {
      runtime: { v1: Record<string, { decode(bytes: Buffer): unknown }> };
    };
    return {
      list: (bytes) => runtime.v1.ListContainersResponse!.decode(bytes) as { containers: unknown[] },
      status: (bytes) => runtime.v1.ContainerStatusResponse!.decode(bytes),
    };
  },
  'tables of our own': async () => {
    const { decodeMessage } = await import('../cri/codec.ts');
    return {
      list: (bytes) => decodeMessage('ListContainersResponse', bytes),
      status: (bytes) => decodeMessage('ContainerStatusResponse', bytes),
    };
  },
};

/** Messages as a node with many pods answers them: ids of 64 digits, the labels and annotations of the kubelet. */
function sample(i: number) {
  const id = i.toString(16).padStart(64, 'c');
  const image = { image: 'docker.io/library/busybox:latest' };
  const shared = {
    id,
    metadata: { name: 'main', attempt: 1 },
    image,
    imageRef: `sha256:${id}`,
    imageId: `sha256:${id}`,
    state: 'CONTAINER_RUNNING' as const,
    createdAt: 1_790_000_000_000_000_000n + BigInt(i),
    labels: {
      'io.kubernetes.container.name': 'main',
      'io.kubernetes.pod.name': `web-${i}`,
      'io.kubernetes.pod.namespace': 'default',
      'io.kubernetes.pod.uid': '5b2c1cf1-3f55-4d0e-9a3c-0123456789ab',
    },
    annotations: {
      'io.kubernetes.container.hash': 'a1b2c3d4',
      'io.kubernetes.container.restartCount': '1',
      'io.kubernetes.container.terminationMessagePath': '/dev/termination-log',
      'io.kubernetes.container.terminationMessagePolicy': 'File',
      'io.kubernetes.pod.terminationGracePeriod': '30',
    },
  };
  const mount = (name: string) => ({ containerPath: `/mnt/${name}`, hostPath: `/var/lib/kubelet/pods/x/${name}` });
  return {
    listed: { ...shared, podSandboxId: id },
    status: {
      ...shared,
      startedAt: 1_790_000_000_000_000_000n,
      mounts: ['a', 'b', 'c'].map(mount),
      logPath: `/l/${i}`,
    },
  };
}

async function measureOne(way: string, staticFile: string): Promise<Figures> {
  await import('@grpc/grpc-js');
  const startedMs = performance.now();
  const codec = await WAYS[way]!(staticFile);
  const startMs = performance.now() - startedMs;
  const rssAfterStartMb = process.memoryUsage.rss() / 1e6;
  if (codec === undefined) {
    return { startMs: 0, rssAfterStartMb, rssAfterWorkMb: rssAfterStartMb, listMs: 0, statusesMs: 0 };
  }
  // Only now: the messages are written by our encoder, which must not count as started for the other ways.
  const { encodeMessage } = await import('../cri/codec.ts');
  const samples = Array.from({ length: CONTAINERS }, (_, i) => sample(i));
  const list = encodeMessage('ListContainersResponse', { containers: samples.map((s) => s.listed) });
  const statuses = samples.map((s) => encodeMessage('ContainerStatusResponse', { status: s.status }));
  const listMs = timed(() => codec.list(list));
  const statusesMs = timed(() => statuses.map((bytes) => codec.status(bytes)));
  return { startMs, rssAfterStartMb, rssAfterWorkMb: process.memoryUsage.rss() / 1e6, listMs, statusesMs };
}

/** Median of the later half of the rounds, ms: after the first ones the code is compiled. */
function timed(work: () => unknown): number {
  const times: number[] = [];
  for (let i = 0; i < ROUNDS; i++) {
    const startMs = performance.now();
    work();
    times.push(performance.now() - startMs);
  }
  return median(times.slice(ROUNDS / 2));
}

function median(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)]!;
}

/** @returns the script to run. */
async function stripTypes(): Promise<string> {
  for (const source of SOURCES) {
    const target = path.join(ROOT, STRIPPED, `${source}.js`);
    const text = stripTypeScriptTypes(await readFile(path.join(ROOT, `${source}.ts`), 'utf8'));
    await mkdir(path.dirname(target), { recursive: true });
    await writeFile(target, text.replaceAll(/(from |import\()'(\.[^']+)\.ts'/g, "$1'$2.js'"));
  }
  return path.join(ROOT, STRIPPED, `${SOURCES[0]}.js`);
}

async function main(args: readonly string[]): Promise<void> {
  const at = args.indexOf('--static');
  const staticFile = at < 0 ? '' : args[at + 1]!;
  if (args[0] === '--way') {
    process.stdout.write(JSON.stringify(await measureOne(args[1]!, staticFile)));
    return;
  }
  const script = await stripTypes();
  const ways = Object.keys(WAYS).filter((way) => staticFile !== '' || way !== 'protobufjs static');
  for (const way of ways) {
    const runs: Figures[] = [];
    for (let i = 0; i < RUNS; i++) {
      const child = [script, '--way', way, ...(staticFile === '' ? [] : ['--static', staticFile])];
      runs.push(JSON.parse((await promisify(execFile)(process.execPath, child, { cwd: ROOT })).stdout) as Figures);
    }
    const of = (key: keyof Figures): string => median(runs.map((r) => r[key])).toFixed(1);
    process.stdout.write(
      `${way}: start ${of('startMs')} ms, RSS ${of('rssAfterStartMb')} MB (${of('rssAfterWorkMb')} MB after work), ` +
        `ListContainers of ${CONTAINERS} ${of('listMs')} ms, ${CONTAINERS} × ContainerStatus ${of('statusesMs')} ms\n`,
    );
  }
  await rm(path.join(ROOT, STRIPPED), { recursive: true });
}

await main(process.argv.slice(2));
