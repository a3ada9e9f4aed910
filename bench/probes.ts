// What probing costs the agent beyond the probes' own input and output, and how punctual it is: N pods with an HTTP, a
// TCP and an exec probe each, once a second. Starting a process in a container takes the runtime 30 ms of CPU, so 110
// commands a second are more than a small machine does: a runtime that answers ExecSync at once stands in for it. The
// measured process is started with the agent's own settings of Node; floor and prober take turns, so that their
// difference holds although the machine's speed changes.
import { type ChildProcess, fork } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { TargetPorts } from './probes/targets.ts';
import type { WorkFigures, WorkOptions } from './probes/work.ts';
import { appendResult } from './results.ts';
import { formatTable, quantile } from './stats.ts';

export interface ProbesOptions {
  readonly pods: number;
  readonly seconds: number;
  readonly rounds: number;
  readonly save: boolean;
  /** Directory for a CPU profile of the prober's process. */
  readonly profile?: string;
}

const CPU_BUDGET_PERCENT = 3;
const LATE_BUDGET_MS = 200;
/** Until the code is compiled and the first probes are spread over their period, s. */
const WARM_UP_SECONDS = 4;
/** As in bin/nodelet. */
const AGENT_FLAGS = ['--max-semi-space-size=1', '--heap-growing-percent=25', '--v8-pool-size=1'];

/** @throws when a part of it fails; its processes are ended in any case. */
export async function probes(opts: ProbesOptions, signal: AbortSignal): Promise<void> {
  const dir = await mkdtemp(path.join(tmpdir(), 'nodelet-bench-probes-'));
  const criSocket = path.join(dir, 'cri.sock');
  const targets = start('targets.ts', criSocket, []);
  try {
    const ports = await answerOf<TargetPorts>(targets, signal);
    const base = { pods: opts.pods, seconds: opts.seconds, warmUpSeconds: WARM_UP_SECONDS, criSocket, ports };
    const floors: WorkFigures[] = [];
    const probers: WorkFigures[] = [];
    for (let round = 1; round <= opts.rounds; round++) {
      process.stderr.write(`round ${round} of ${opts.rounds}: ${opts.pods} pods, twice ${opts.seconds} s …\n`);
      floors.push(await measure({ ...base, way: 'floor' }, [], signal));
      const profiling = opts.profile === undefined ? [] : ['--cpu-prof', `--cpu-prof-dir=${opts.profile}`];
      probers.push(await measure({ ...base, way: 'prober' }, profiling, signal));
    }
    const result = summaryOf(opts, floors, probers);
    console.log(table(result));
    if (opts.save) process.stderr.write(`appended to ${await appendResult('probes', result)}\n`);
  } finally {
    targets.kill('SIGKILL');
    await rm(dir, { recursive: true, force: true });
  }
}

async function measure(work: WorkOptions, flags: readonly string[], signal: AbortSignal): Promise<WorkFigures> {
  const child = start('work.ts', JSON.stringify(work), [...AGENT_FLAGS, ...flags]);
  const exited = once(child, 'exit');
  try {
    const figures = await answerOf<WorkFigures>(child, signal);
    await exited; // a profile is written at the end
    return figures;
  } finally {
    child.kill('SIGKILL');
  }
}

function start(file: string, argument: string, flags: readonly string[]): ChildProcess {
  const program = path.join(import.meta.dirname, 'probes', file);
  return fork(program, [argument], { execArgv: ['--disable-warning=ExperimentalWarning', ...flags] });
}

async function answerOf<T>(child: ChildProcess, signal: AbortSignal): Promise<T> {
  // Not 'exit': that may be told before the last message is.
  const lost = once(child, 'disconnect', { signal }).then(() => {
    throw new Error(`${child.spawnargs.at(-2)} ended without an answer`);
  });
  lost.catch(() => {}); // ends later as well
  return await Promise.race([once(child, 'message', { signal }).then(([m]) => m as T), lost]);
}

type Result = ReturnType<typeof summaryOf>;

function summaryOf(opts: ProbesOptions, floors: readonly WorkFigures[], probers: readonly WorkFigures[]) {
  const late = probers.flatMap((p) => p.lateMs).sort((a, b) => a - b);
  const median = (all: readonly WorkFigures[]) =>
    quantile(
      all.map((f) => f.cpuPercent).sort((a, b) => a - b),
      0.5,
    );
  const perSecond = (all: readonly WorkFigures[]) =>
    all.reduce((n, f) => n + f.attempts, 0) / all.length / opts.seconds;
  return {
    options: { pods: opts.pods, seconds: opts.seconds, rounds: opts.rounds },
    floorCpuPercent: median(floors),
    cpuPercent: median(probers),
    floorPerSecond: perSecond(floors),
    perSecond: perSecond(probers),
    failures: [...floors, ...probers].reduce((n, f) => n + f.failures, 0),
    late: late.length === 0 ? undefined : { p50: quantile(late, 0.5), p99: quantile(late, 0.99), max: late.at(-1)! },
  };
}

function table(r: Result): string {
  const ms = (x: number | undefined) => (x === undefined ? '-' : `${x.toFixed(1)} ms`);
  return formatTable([
    [`${r.options.pods} pods × 3 probes, every second`, 'floor', 'agent', 'beyond', 'budget'],
    ['probes per second', r.floorPerSecond.toFixed(0), r.perSecond.toFixed(0), '', ''],
    [
      'CPU, of one core',
      `${r.floorCpuPercent.toFixed(2)} %`,
      `${r.cpuPercent.toFixed(2)} %`,
      `${(r.cpuPercent - r.floorCpuPercent).toFixed(2)} %`,
      `${CPU_BUDGET_PERCENT.toFixed(2)} %`,
    ],
    ['later than the period, p99', '', ms(r.late?.p99), '', ''],
    ['later than the period, max', '', ms(r.late?.max), '', ms(LATE_BUDGET_MS)],
    ['probes that failed', '', String(r.failures), '', '0'],
  ]);
}
