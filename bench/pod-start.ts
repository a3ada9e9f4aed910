// What a pod's start and end cost beyond the runtime's own work. Floor and system take turns in one run on one machine,
// so that their ratio holds although the machine's speed changes.
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pod } from '../api/pod.ts';
import type { RestClient } from '../client/rest.ts';
import { NODE } from './pod-start/bench-lab.ts';
import { Floor } from './pod-start/floor.ts';
import {
  benchPod,
  createObjects,
  createPod,
  deletePod,
  largePod,
  type PodWatcher,
  timeBurst,
  timePod,
} from './pod-start/system.ts';
import { cpuSecondsOf, type MemoryFacts, memoryOf } from './process-facts.ts';
import { appendResult } from './results.ts';
import { type Stand, withStand } from './stand.ts';
import { formatTable, type Summary, summarize } from './stats.ts';

export interface PodStartOptions {
  readonly dir: string;
  readonly port: number;
  readonly pods: number;
  readonly burst: number;
  readonly bursts: number;
  readonly resident: number;
  readonly idleSeconds: number;
  readonly save: boolean;
  readonly trace?: true;
}

interface Times {
  readonly readyMs: number;
  readonly goneMs: number;
}

interface Starts extends Stand {
  readonly opts: PodStartOptions;
  readonly floor: Floor;
  /** As the API server has them: what the floor copies. */
  readonly template: Pod;
  readonly largeTemplate: Pod;
}

/** Between two measurements, so that clean-up after the one does not slow the other, ms. */
const SETTLE_MS = 300;
const SETTLE_AFTER_BURST_MS = 3_000;

/** @throws what a part of the lab throws; the lab is taken down in any case. */
export async function podStart(opts: PodStartOptions, signal: AbortSignal): Promise<void> {
  await withStand(opts, signal, async (stand) => {
    const { lab, client, watcher, note } = stand;
    const firstStartMs = await lab.timeFirstStart(client, signal);
    await createObjects(client);
    const template = await asStored(client, watcher, benchPod('template', NODE));
    const largeTemplate = await asStored(client, watcher, largePod('large-template', NODE));
    await using floor = await Floor.create(lab);
    const starts: Starts = { ...stand, opts, floor, template, largeTemplate };
    note(`${opts.pods} pods one after the other …`);
    const single = await measureSingle(starts);
    note(`${opts.pods} large pods one after the other …`);
    const large = await measureLarge(starts);
    note(`${opts.burst} pods at once, ${opts.bursts} times …`);
    const burst = await measureBursts(starts);
    note(`${opts.resident} pods, idle for ${opts.idleSeconds} s …`);
    const resident = await measureResident(starts);
    const result = {
      options: shown(opts),
      ...single,
      ...large,
      ...burst,
      start: { firstMs: firstStartMs, ...resident.start },
      memory: resident.memory,
      idleCpuPercent: resident.idleCpuPercent,
    };
    console.log(table(result));
    if (opts.save) note(`appended to ${await appendResult('pod-start', result)}`);
  });
}

async function asStored(client: RestClient, watcher: PodWatcher, pod: Pod): Promise<Pod> {
  const created = await createPod(client, watcher, pod);
  await deletePod(client, watcher, pod.metadata?.name ?? '');
  return created.pod;
}

/** Floor, bound to the node, through the scheduler, in turns. */
async function measureSingle(stand: Starts) {
  const { opts, lab, client, watcher, floor } = stand;
  const times = { floor: [] as Times[], bound: [] as Times[], scheduled: [] as Times[] };
  for (let i = 0; i < opts.pods; i++) {
    await pause(stand, SETTLE_MS);
    times.floor.push(await lab.withoutAgent(() => floor.timePod(stand.template)));
    await pause(stand, SETTLE_MS);
    times.bound.push(await timePod(client, watcher, benchPod(`bound-${i}`, NODE)));
    await pause(stand, SETTLE_MS);
    times.scheduled.push(await timePod(client, watcher, benchPod(`scheduled-${i}`, undefined)));
    if (opts.trace) traceRound(times);
  }
  return { floor: summaries(times.floor), bound: summaries(times.bound), scheduled: summaries(times.scheduled) };
}

/** Pods whose containers come one after the other, with volumes that the API server has to be asked for. */
async function measureLarge(stand: Starts) {
  const { opts, lab, client, watcher, floor, largeTemplate } = stand;
  const times = { floor: [] as Times[], bound: [] as Times[] };
  for (let i = 0; i < opts.pods; i++) {
    await pause(stand, SETTLE_MS);
    times.floor.push(await lab.withoutAgent(() => floor.timePod(largeTemplate)));
    await pause(stand, SETTLE_MS);
    times.bound.push(await timePod(client, watcher, largePod(`large-${i}`, NODE)));
    if (opts.trace) traceRound(times);
  }
  return { largeFloor: summaries(times.floor), large: summaries(times.bound) };
}

function traceRound(times: Readonly<Record<string, readonly Times[]>>): void {
  const round = Object.entries(times).map(([name, all]) => {
    const last = all.at(-1)!;
    return `${name} ${last.readyMs.toFixed(0)}/${last.goneMs.toFixed(0)}`;
  });
  process.stderr.write(`  ${round.join('  ')}\n`);
}

async function measureBursts(stand: Starts) {
  const { opts, lab, client, watcher, floor } = stand;
  const times = { floor: [] as Times[], system: [] as Times[] };
  for (let i = 0; i < opts.bursts; i++) {
    await pause(stand, SETTLE_AFTER_BURST_MS);
    times.floor.push(await lab.withoutAgent(() => floor.timeBurst(stand.template, opts.burst)));
    await pause(stand, SETTLE_AFTER_BURST_MS);
    const names = Array.from({ length: opts.burst }, (_, n) => `burst-${i}-${n}`);
    const before = await lab.cpuSeconds();
    times.system.push(await timeBurst(client, watcher, names));
    const after = await lab.cpuSeconds();
    if (opts.trace) {
      const [f, s] = [times.floor.at(-1)!, times.system.at(-1)!];
      process.stderr.write(
        `  floor ${f.readyMs.toFixed(0)}/${f.goneMs.toFixed(0)}  system ${s.readyMs.toFixed(0)}/${s.goneMs.toFixed(0)}` +
          `  CPU agent ${(after.agent - before.agent).toFixed(2)} s, API server ${(after.apiserver - before.apiserver).toFixed(2)} s\n`,
      );
    }
  }
  return { burstFloor: summaries(times.floor), burst: summaries(times.system) };
}

/** A node that has just started, then full of pods: memory, idle CPU, and how soon a new agent has the node Ready. */
async function measureResident(stand: Starts) {
  const { opts, lab, client, watcher, signal } = stand;
  const emptyMs = await lab.restartAgent(signal);
  await pause(stand, SETTLE_AFTER_BURST_MS);
  const idle = await memoryOf(await lab.agentPid());
  const names = Array.from({ length: opts.resident }, (_, i) => `resident-${i}`);
  await Promise.all(names.map((name) => createPod(client, watcher, benchPod(name, NODE))));
  await pause(stand, SETTLE_AFTER_BURST_MS);
  const pid = await lab.agentPid();
  const beforeSeconds = await cpuSecondsOf(pid);
  await pause(stand, opts.idleSeconds * 1000);
  const usedSeconds = (await cpuSecondsOf(pid)) - beforeSeconds;
  const full = await memoryOf(pid);
  const fullMs = await lab.restartAgent(signal);
  return {
    memory: { idle, full },
    idleCpuPercent: (usedSeconds / opts.idleSeconds) * 100,
    start: { emptyMs, fullMs },
  };
}

async function pause(stand: Stand, ms: number): Promise<void> {
  await sleep(ms);
  stand.signal.throwIfAborted();
}

interface Result {
  readonly floor: TimeSummaries;
  readonly bound: TimeSummaries;
  readonly scheduled: TimeSummaries;
  readonly largeFloor: TimeSummaries;
  readonly large: TimeSummaries;
  readonly burstFloor: TimeSummaries;
  readonly burst: TimeSummaries;
  readonly start: { readonly firstMs: number; readonly emptyMs: number; readonly fullMs: number };
  readonly memory: { readonly idle: MemoryFacts; readonly full: MemoryFacts };
  readonly idleCpuPercent: number;
  readonly options: { readonly burst: number; readonly resident: number };
}

interface TimeSummaries {
  readonly ready: Summary;
  readonly gone: Summary;
}

function summaries(times: readonly Times[]): TimeSummaries {
  return { ready: summarize(times.map((t) => t.readyMs)), gone: summarize(times.map((t) => t.goneMs)) };
}

function shown({ pods, burst, bursts, resident, idleSeconds }: PodStartOptions) {
  return { pods, burst, bursts, resident, idleSeconds };
}

function table(r: Result): string {
  const row = (label: string, floor: Summary, system: Summary, budget: number): string[] => [
    label,
    floor.p50.toFixed(0),
    system.p50.toFixed(0),
    floor.p90.toFixed(0),
    system.p90.toFixed(0),
    `${(system.p50 / floor.p50).toFixed(2)}×`,
    `${budget.toFixed(2)}×`,
  ];
  const times = formatTable([
    ['ms', 'floor p50', 'p50', 'floor p90', 'p90', 'ratio p50', 'budget'],
    row('create → Ready, bound', r.floor.ready, r.bound.ready, 1.1),
    row('create → Ready, scheduled', r.floor.ready, r.scheduled.ready, 1.1),
    row('delete → gone, bound', r.floor.gone, r.bound.gone, 2),
    row('delete → gone, scheduled', r.floor.gone, r.scheduled.gone, 2),
    row('create → Ready, 2 + 3 containers', r.largeFloor.ready, r.large.ready, 1.15),
    row('delete → gone, 2 + 3 containers', r.largeFloor.gone, r.large.gone, 2),
    row(`${r.options.burst} at once, all Ready`, r.burstFloor.ready, r.burst.ready, 1.1),
    row(`${r.options.burst} at once, all gone`, r.burstFloor.gone, r.burst.gone, 2),
  ]);
  const mb = (x: number | undefined) => (x === undefined ? '-' : x.toFixed(1));
  const memory = (label: string, m: MemoryFacts) => [label, mb(m.rssMB), mb(m.pssMB), mb(m.anonMB)];
  const agent = formatTable([
    ['agent, MB', 'RSS', 'PSS', 'own'],
    memory('without pods', r.memory.idle),
    memory(`with ${r.options.resident} pods`, r.memory.full),
  ]);
  const others = formatTable([
    ['', 'value', 'budget'],
    [`idle CPU with ${r.options.resident} pods`, `${r.idleCpuPercent.toFixed(2)} %`, '0.80 %'],
    ['first start → Ready', `${r.start.firstMs.toFixed(0)} ms`, '1500 ms'],
    ['restart → Ready', `${r.start.emptyMs.toFixed(0)} ms`, '1500 ms'],
    [`restart → Ready with ${r.options.resident} pods`, `${r.start.fullMs.toFixed(0)} ms`, '1500 ms'],
  ]);
  return `\n${times}\n\n${agent}\n\n${others}\n`;
}
