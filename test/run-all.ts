// `npm test`: every suite, and one closing line for all of them together. Suites on the real system mostly wait, and do
// not see each other: several of their files run at a time. The virtual machine, which takes ten times as long for
// everything, has the processors whenever it wants them; the unit tests, for which nothing waits, run in what it leaves.
// All but unit tests need root; without it they are counted as skipped, with the reason.
import { spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import type { Readable } from 'node:stream';

interface Counts {
  passed: number;
  failed: number;
  skipped: number;
}

interface SuiteResult extends Counts {
  /** One line for each failure: its file, its title, the first line of its message. */
  readonly failures: readonly string[];
}

/** The part of vitest's JSON report that is read here. */
interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly numPendingTests: number;
  readonly numTodoTests: number;
  readonly success: boolean;
  /** One per file. A file whose preparation failed has skipped tests, and none that failed. */
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly message?: string;
    readonly assertionResults: readonly {
      readonly status: string;
      readonly fullName: string;
      readonly failureMessages?: readonly string[];
    }[];
  }[];
}

/** One run of vitest, under the name that stands before its lines. */
interface Suite {
  readonly name: string;
  readonly args: readonly string[];
  /** Whether it takes only what others leave of the processors. */
  readonly isLast?: boolean;
}

/**
 * Before a program that takes what others leave. Where the kernel shares the processors out among sessions first, a
 * session counts as little as the program in it; out of reach of the terminal, it ends with this process all the same.
 */
const AS_LAST = [
  'sh',
  '-c',
  '{ echo 19 >/proc/self/autogroup; } 2>/dev/null; exec nice -n 19 setpriv --pdeathsig=KILL "$@"',
  'as-last',
];

const project = (name: string): string => `--project=${name}`;
const UNIT: Suite = { name: 'unit', args: [project('unit')], isLast: true };
/** Files of both projects, in the order of test/harness/longest-first.ts: whoever is free takes the next one. */
const SYSTEM: Suite = {
  name: 'system',
  args: [project('integration'), project('e2e'), '--fileParallelism', '--maxWorkers=3'],
};
const VM: Suite = { name: 'vm', args: [project('vm')] };
const root = path.resolve(import.meta.dirname, '..');

async function runSuite({ name, args, isLast }: Suite): Promise<void> {
  const report = path.join(reportDir, `${name}.json`);
  console.log(`=== ${name} ===`);
  const startMs = performance.now();
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const vitest = path.join(root, 'node_modules/vitest/vitest.mjs');
  const code = await run(name, [vitest, 'run', ...args, ...reporters], isLast);
  const counts = await readCounts(report, code);
  console.log(`=== ${name}: ${format(counts)} in ${((performance.now() - startMs) / 1000).toFixed(0)} s ===`);
  total.passed += counts.passed;
  total.failed += counts.failed;
  total.skipped += counts.skipped;
  failures.push(...counts.failures.map((line) => `${name}: ${line}`));
}

/** Runs a program of Node.js to its end and returns its exit code. */
async function run(name: string, args: readonly string[], isLast = false): Promise<number> {
  // Programs of Node.js take what others have compiled before: a lab comes and goes in a tenth less of processor time.
  const env = { ...process.env, NODE_COMPILE_CACHE: path.join(root, '.cache/compiled') };
  const [program, ...rest] = [...(isLast ? AS_LAST : []), process.execPath, ...args];
  const child = spawn(program!, rest, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], env, detached: isLast });
  tell(name, child.stdout);
  tell(name, child.stderr);
  return await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (c) => resolve(c ?? 1));
  });
}

/** Each line with the name of its suite in front of it. */
function tell(name: string, output: Readable): void {
  createInterface({ input: output }).on('line', (line) => console.log(line === '' ? '' : `${name} | ${line}`));
}

/** A runner that died, or a file that did not even load, is a failure that no test counts. */
async function readCounts(file: string, exitCode: number): Promise<SuiteResult> {
  let report: Report;
  try {
    report = JSON.parse(await readFile(file, 'utf8')) as Report;
  } catch {
    return { passed: 0, failed: 1, skipped: 0, failures: [`the runner ended with ${exitCode} and without a report`] };
  }
  const unprepared = report.testResults.filter(
    (file) => file.status === 'failed' && file.assertionResults.every((test) => test.status !== 'failed'),
  );
  const counted = report.numFailedTests + unprepared.length;
  const failed = counted === 0 && (exitCode !== 0 || !report.success) ? 1 : counted;
  const skipped = report.numPendingTests + report.numTodoTests;
  return { passed: report.numPassedTests, failed, skipped, failures: failuresOf(report) };
}

function failuresOf(report: Report): string[] {
  return report.testResults.flatMap(({ name, status, message, assertionResults }) => {
    const file = path.relative(root, name);
    const failed = assertionResults.filter((test) => test.status === 'failed');
    if (failed.length === 0) return status === 'failed' ? [`${file}: ${firstLines(message)}`] : [];
    return failed.map((test) => `${file} › ${test.fullName}: ${firstLines(test.failureMessages?.[0])}`);
  });
}

function firstLines(text = ''): string {
  return text.split('\n').slice(0, 4).join(' ').slice(0, 500);
}

function format({ passed, failed, skipped }: Counts): string {
  return `${passed} passed, ${failed} failed${skipped > 0 ? `, ${skipped} skipped` : ''}`;
}

const reportDir = await mkdtemp(path.join(tmpdir(), 'nodelet-test-'));
const total: Counts = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];
try {
  const prepared = run('prepare', [path.join(root, 'test/prepare.ts')]);
  await runSuite(SYSTEM);
  await prepared;
  await Promise.all([runSuite(VM), runSuite(UNIT)]);
} finally {
  await rm(reportDir, { recursive: true, force: true });
}
for (const line of failures) console.log(`FAILED ${line}`);
console.log(`\n${format(total)}`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
