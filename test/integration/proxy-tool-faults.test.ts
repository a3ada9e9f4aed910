// The tools of the proxy when they do not come back: one that hangs in the middle of what it is told is ended, and a lock
// that somebody else holds is waited for. All is written anew then. The real programs, on the real kernel.
import { randomUUID } from 'node:crypto';
import { access, mkdtemp, open, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test, vi } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { type Exec, execOk, systemExec } from '../../host/exec.ts';
import type { IptablesVariant } from '../../proxy/iptables/iptables.ts';
import { trace } from '../../proxy/trace/evaluate.ts';
import { readLiveState } from '../../proxy/trace/live.ts';
import { TestNamespaces } from '../harness/netns.ts';
import { RunningProxy } from '../harness/running-proxy.ts';
import { ADDRESSES, type Mode, type Shape, serviceOf, sliceOf, sourceOf } from '../harness/service-matrix.ts';

const namespaces = new TestNamespaces('fault');
const signal = new AbortController().signal;
const HELD_MS = 10_000;
let dir: string;

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-tools-'));
});
afterAll(async () => {
  await namespaces[Symbol.asyncDispose]();
  await rm(dir, { recursive: true, force: true });
});

const plain = { externalLocal: false, internalLocal: false, ranges: 'open', affinity: false } as const;
const shapeOf = (index: number, endpoints: Shape['endpoints']): Shape => ({ ...plain, index, endpoints });

/** Programs of `variant` in a new namespace, with a lock file of its own: other suites must not wait for it. */
async function node(name: string, variant: IptablesVariant): Promise<Exec> {
  const exec = namespaces.exec(await namespaces.create(name));
  const env = { ...process.env, XTABLES_LOCKFILE: path.join(dir, `${name}.lock`) };
  return (program, args, opts) => exec(program.replace(/^(ip6?tables)/, `$1-${variant}`), args, { env, ...opts });
}

async function missing(exec: Exec, mode: Mode): Promise<string | undefined> {
  const [program, ...args] = mode === 'nftables' ? ['nft', 'list', 'tables'] : ['iptables', '-t', 'nat', '-S'];
  const r = await exec(program!, args).catch((err: unknown) => ({ code: 1, stderr: String(err) }));
  return r.code === 0 ? undefined : r.stderr.trim();
}

/** Endpoints that the kernel's rules lead a pod to. */
async function reached(exec: Exec, shape: Shape): Promise<string[]> {
  const { ruleset, facts } = await readLiveState(exec, 4, signal);
  const to = { to: ADDRESSES[4].clusterIp(shape.index), port: 80, protocol: 'tcp' } as const;
  const { ways } = trace({ from: sourceOf('pod', 4), ...to }, ruleset, facts);
  return ways.filter((w) => w.isDnat).map((w) => w.destination.ip);
}

/** Runs the program with one half of its input, without ever coming to an end of it. */
async function hang(exec: Exec, ...[program, args, opts]: Parameters<Exec>): ReturnType<Exec> {
  const fifo = path.join(dir, `half-${randomUUID()}`);
  await execOk(systemExec, 'mkfifo', [fifo]);
  const writer = await open(fifo, 'r+');
  try {
    const document = String(opts?.input);
    await writer.write(document.slice(0, document.length / 2));
    const { input: _, ...rest } = opts!;
    return await exec('sh', ['-c', `exec "$0" "$@" < ${fifo}`, program, ...args], { ...rest, timeoutMs: 500 });
  } finally {
    await writer.close();
  }
}

test.each<[Mode, IptablesVariant]>([
  ['iptables', 'nft'],
  ['iptables', 'legacy'],
  ['nftables', 'nft'],
])('%s (%s): a tool that hangs in the middle is ended, and all is written anew', async (mode, variant) => {
  const exec = await node(`hang-${mode}-${variant}`, variant);
  const why = await missing(exec, mode);
  if (why !== undefined) return console.warn(`skipped: ${mode} (${variant}) does not work here: ${why}`);
  let hangs = 0;
  let willHang = false;
  const hanging: Exec = async (program, args, opts) => {
    const isWrite = /-restore$/.test(program) || (program === 'nft' && args.includes('-f'));
    if (!isWrite || !willHang) return await exec(program, args, opts);
    willHang = false;
    hangs++;
    return await hang(exec, program.replace(/^(ip6?tables)/, `$1-${variant}`), args, opts);
  };
  await using running = new RunningProxy(hanging, { mode, family: 4, variant, minSyncPeriodMs: 10 });
  const [first, second] = [shapeOf(1, 'local only'), shapeOf(2, 'remote only')];
  await running.start([serviceOf(first, 4)], [sliceOf(first, 4)!]);
  const fullSyncs = await running.metric('sync_full_proxy_rules_duration_seconds');
  willHang = true;
  running.setService(serviceOf(second, 4));
  running.setSlice(sliceOf(second, 4)!);
  await vi.waitFor(async () => expect(await reached(exec, second)).toEqual([ADDRESSES[4].remoteEndpoint]), {
    timeout: 120_000,
    interval: 100,
  });
  expect(hangs).toBe(1);
  expect(await reached(exec, first)).toEqual([ADDRESSES[4].localEndpoint]);
  const after = async () => await running.metric('sync_full_proxy_rules_duration_seconds');
  await vi.waitFor(async () => expect(await after()).toBe(fullSyncs + 1), { timeout: 60_000 });
});

test('iptables-legacy: a change is written although somebody holds the lock of the tables for 10 s', async () => {
  const exec = await node('lock', 'legacy');
  const why = await missing(exec, 'iptables');
  if (why !== undefined) return console.warn(`skipped: iptables-legacy does not work here: ${why}`);
  await using running = new RunningProxy(exec, { mode: 'iptables', family: 4, variant: 'legacy', minSyncPeriodMs: 10 });
  const [first, second] = [shapeOf(1, 'local only'), shapeOf(2, 'remote only')];
  await running.start([serviceOf(first, 4)], [sliceOf(first, 4)!]);
  const fifo = path.join(dir, 'release');
  await execOk(systemExec, 'mkfifo', [fifo]);
  const release = await open(fifo, 'r+');
  const held = path.join(dir, 'held');
  const holder = exec('flock', [path.join(dir, 'lock.lock'), 'sh', '-c', `touch ${held}; read _ < ${fifo}`], {
    timeoutMs: 120_000,
  });
  await vi.waitFor(() => access(held), { timeout: 120_000 });
  const untilMs = systemClock.monotonicMs() + HELD_MS;
  running.setService(serviceOf(second, 4));
  running.setSlice(sliceOf(second, 4)!);
  // At least one run gives up meanwhile: it waits for 5 s.
  const failures = () => running.metric('sync_proxy_rules_iptables_restore_failures_total');
  await vi.waitFor(async () => expect(await failures()).toBeGreaterThan(0), { timeout: 60_000, interval: 100 });
  await systemClock.sleep(Math.max(0, untilMs - systemClock.monotonicMs()));
  await release.write('\n');
  expect((await holder).code).toBe(0);
  await release.close();
  await vi.waitFor(async () => expect(await reached(exec, second)).toEqual([ADDRESSES[4].remoteEndpoint]), {
    timeout: 120_000,
    interval: 100,
  });
  expect(await reached(exec, first)).toEqual([ADDRESSES[4].localEndpoint]);
});
