// `npm test`: every suite, and one closing line for all of them together. Files on the real system mostly wait, and do not
// see each other: several of them run at a time. The virtual machine, which takes ten times as long for everything, has the
// processors when it wants them and leaves half of them to the integration and unit tests.
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
  /** Whether it stands back where processors are short. */
  readonly isBehind?: boolean;
}

/**
 * Before a program that stands back: it has a tenth of the weight of others. Where the kernel shares the processors out
 * among sessions first, a session counts as little as the program in it; out of reach of the terminal, it ends with this
 * process all the same.
 */
const STANDING_BACK = [
  'sh',
  '-c',
  '{ echo 10 >/proc/self/autogroup; } 2>/dev/null; exec nice -n 10 setpriv --pdeathsig=KILL "$@"',
  'standing-back',
];

const project = (name: string): string => `--project=${name}`;
const UNIT: Suite = { name: 'unit', args: [project('unit')], isBehind: true };
/** In the order of test/harness/longest-first.ts: whoever is free takes the next file. */
const several = (workers: number): readonly string[] => ['--fileParallelism', `--maxWorkers=${workers}`];
const E2E: Suite = { name: 'e2e', args: [project('e2e'), ...several(3)] };
const INTEGRATION: Suite = { name: 'integration', args: [project('integration'), ...several(2)], isBehind: true };
const VM: Suite = { name: 'vm', args: [project('vm')] };
const root = path.resolve(import.meta.dirname, '..');

async function runSuite({ name, args, isBehind }: Suite): Promise<void> {
  const report = path.join(reportDir, `${name}.json`);
  console.log(`=== ${name} ===`);
  const startMs = performance.now();
  const reporters = ['--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  const vitest = path.join(root, 'node_modules/vitest/vitest.mjs');
  const code = await run(name, [vitest, 'run', ...args, ...reporters], isBehind);
  const counts = await readCounts(report, code);
  console.log(`=== ${name}: ${format(counts)} in ${((performance.now() - startMs) / 1000).toFixed(0)} s ===`);
  total.passed += counts.passed;
  total.failed += counts.failed;
  total.skipped += counts.skipped;
  failures.push(...counts.failures.map((line) => `${name}: ${line}`));
}

/** Runs a program of Node.js to its end and returns its exit code. */
async function run(name: string, args: readonly string[], isBehind = false): Promise<number> {
  // Programs of Node.js take what others have compiled before: a lab comes and goes in a tenth less of processor time.
  const env = { ...process.env, NODE_COMPILE_CACHE: path.join(root, '.cache/compiled') };
  const [program, ...rest] = [...(isBehind ? STANDING_BACK : []), process.execPath, ...args];
  const child = spawn(program!, rest, { cwd: root, stdio: ['ignore', 'pipe', 'pipe'], env, detached: isBehind });
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
  await runSuite(E2E);
  await prepared;
  await Promise.all([runSuite(VM), runSuite(INTEGRATION), runSuite(UNIT)]);
} finally {
  await rm(reportDir, { recursive: true, force: true });
}
for (const line of failures) console.log(`FAILED ${line}`);
console.log(`\n${format(total)}`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
