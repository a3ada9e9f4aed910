// `npm test`: every suite, and one closing line for all of them together. Suites on the real system mostly wait, and do
// not see each other: they run side by side once the unit tests, which need both cores, are over. They need root; without
// it the tests are counted as skipped, with the reason.
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

/** A project of vitest.config.ts, or a part of one: `e2e 2/3` is the second third of its files. */
type Suite = 'unit' | 'integration' | 'vm' | `e2e ${number}/${number}`;

/** Suites that run side by side, each list one after the other: about as long as each other. */
const LANES: readonly (readonly Suite[])[] = [
  ['e2e 2/3', 'e2e 3/3'],
  ['integration', 'e2e 1/3'],
];
const root = path.resolve(import.meta.dirname, '..');

async function runSuite(suite: Suite, reportDir: string): Promise<SuiteResult> {
  const [project = '', shard] = suite.split(' ');
  const report = path.join(reportDir, `${suite.replaceAll(/[ /]/g, '-')}.json`);
  console.log(`=== ${suite} ===`);
  const startMs = performance.now();
  const args = ['run', '--project', project, '--reporter=default', '--reporter=json', `--outputFile.json=${report}`];
  if (shard !== undefined) args.push(`--shard=${shard}`);
  const child = spawn(process.execPath, [path.join(root, 'node_modules/vitest/vitest.mjs'), ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  tell(suite, child.stdout);
  tell(suite, child.stderr);
  const code = await new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (c) => resolve(c ?? 1));
  });
  const counts = await readCounts(report, code);
  console.log(`=== ${suite}: ${format(counts)} in ${((performance.now() - startMs) / 1000).toFixed(0)} s ===`);
  return counts;
}

/** Each line with the name of its suite in front of it. */
function tell(suite: Suite, output: Readable): void {
  createInterface({ input: output }).on('line', (line) => console.log(line === '' ? '' : `${suite} | ${line}`));
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

async function runLane(suites: readonly Suite[]): Promise<void> {
  for (const suite of suites) {
    const counts = await runSuite(suite, reportDir);
    total.passed += counts.passed;
    total.failed += counts.failed;
    total.skipped += counts.skipped;
    failures.push(...counts.failures.map((line) => `${suite}: ${line}`));
  }
}

const reportDir = await mkdtemp(path.join(tmpdir(), 'nodelet-test-'));
const total: Counts = { passed: 0, failed: 0, skipped: 0 };
const failures: string[] = [];
try {
  await runLane(['unit']);
  await Promise.all(LANES.map(runLane));
  await runLane(['vm']); // an emulated machine needs both cores, too
} finally {
  await rm(reportDir, { recursive: true, force: true });
}
for (const line of failures) console.log(`FAILED ${line}`);
console.log(`\n${format(total)}`);
process.exitCode = total.failed === 0 && total.passed > 0 ? 0 : 1;
