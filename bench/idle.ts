// What a node full of idle pods does although nothing happens: requests to the API server, calls of the runtime, bytes
// written to disk, CPU time; the memory that it holds, and how long it needs to be Ready when it starts again. Only
// heartbeats should be left, to the API server (Lease, Node) and of the runtime (Status), and what is looked at once a
// minute: its pods and containers, dead ones, images.
import { setTimeout as sleep } from 'node:timers/promises';
import { increase, readTraffic } from './idle/traffic.ts';
import { emptyProcessCpuPercent, wakeUpsOf } from './idle/wake-floor.ts';
import { WriteWatcher } from './idle/write-watcher.ts';
import { NODE } from './pod-start/bench-lab.ts';
import { benchPod, createPod } from './pod-start/system.ts';
import { memoryOf } from './process-facts.ts';
import { appendResult } from './results.ts';
import { type Stand, whileWatching, withStand } from './stand.ts';
import { formatTable } from './stats.ts';

export interface IdleOptions {
  readonly dir: string;
  readonly port: number;
  readonly pods: number;
  readonly seconds: number;
  readonly settleSeconds: number;
  readonly save: boolean;
}

/** @throws what a part of the lab throws; the lab is taken down in any case. */
export async function idle(opts: IdleOptions, signal: AbortSignal): Promise<void> {
  await withStand(opts, signal, async (stand) => {
    const { lab, client, watcher, note } = stand;
    const writes = new WriteWatcher(client);
    await whileWatching(
      (until) => writes.run(until),
      signal,
      async () => {
        note(`starting ${opts.pods} pods …`);
        const names = Array.from({ length: opts.pods }, (_, i) => `idle-${i}`);
        await Promise.all(names.map((name) => createPod(client, watcher, benchPod(name, NODE))));
        await sleep(opts.settleSeconds * 1000, undefined, { signal });
        note(`watching for ${opts.seconds} s …`);
        const measured = await measure(opts, stand, writes);
        note('restarting the agent …');
        const result = { options: shown(opts), ...measured, restartMs: await lab.restartAgent(signal) };
        console.log(table(result));
        if (opts.save) note(`appended to ${await appendResult('idle', result)}`);
      },
    );
  });
}

type Counts = Readonly<Record<string, number>>;

/** Counts are per minute. */
interface Idle {
  readonly api: Counts;
  readonly writes: Counts;
  readonly cri: Counts;
  readonly diskBytes: number;
  readonly cpuPercent: number;
  readonly wakeUpsPerSecond: number;
  /** What an empty process uses that wakes up as often: on a machine that is shared or saves power, most of it. */
  readonly floorCpuPercent: number;
  readonly rssMB: number;
  /** How late timers were, 99th percentile while watched, ms. */
  readonly loopP99Ms: number;
}

async function measure(opts: IdleOptions, { lab, client, signal }: Stand, writes: WriteWatcher): Promise<Idle> {
  const pid = await lab.agentPid();
  await readTraffic(client, pid); // the agent asks the server who we are, and remembers it
  const before = await readTraffic(client, pid);
  const wokenBefore = await wakeUpsOf(pid);
  writes.take();
  await sleep(opts.seconds * 1000, undefined, { signal });
  const written = writes.take();
  const wakeUpsPerSecond = ((await wakeUpsOf(pid)) - wokenBefore) / opts.seconds;
  const after = await readTraffic(client, pid);
  const perMinute = (counts: ReadonlyMap<string, number>): Counts =>
    Object.fromEntries([...counts].map(([name, n]) => [name, (n * 60) / opts.seconds]));
  return {
    api: perMinute(increase(before.api, after.api)),
    writes: perMinute(written),
    cri: perMinute(increase(before.cri, after.cri)),
    diskBytes: ((after.diskBytes - before.diskBytes) * 60) / opts.seconds,
    cpuPercent: ((after.cpuSeconds - before.cpuSeconds) / opts.seconds) * 100,
    wakeUpsPerSecond,
    floorCpuPercent: await emptyProcessCpuPercent(wakeUpsPerSecond, opts.seconds * 1000, signal),
    rssMB: (await memoryOf(pid)).rssMB,
    loopP99Ms: after.loopP99Ms,
  };
}

function shown({ pods, seconds, settleSeconds }: IdleOptions) {
  return { pods, seconds, settleSeconds };
}

function table(r: Idle & { readonly restartMs: number; readonly options: { readonly pods: number } }): string {
  const rows = (title: string, counts: Counts): string[][] =>
    Object.entries(counts)
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([name, n]) => [`${title} ${name}`, n.toFixed(1)]);
  return formatTable([
    [`${r.options.pods} idle pods`, 'per minute'],
    ...rows('API request', r.api),
    ...rows('API object written', r.writes),
    ...rows('CRI call', r.cri),
    ['disk, bytes written', r.diskBytes.toFixed(0)],
    ['CPU, % of one core', r.cpuPercent.toFixed(2)],
    ['  of an empty process that wakes up as often', r.floorCpuPercent.toFixed(2)],
    ['wake-ups per second', r.wakeUpsPerSecond.toFixed(1)],
    ['RSS, MB', r.rssMB.toFixed(0)],
    ['event loop delay, p99, ms', r.loopP99Ms.toFixed(1)],
    ['agent restarted → Ready, ms', r.restartMs.toFixed(0)],
  ]);
}
