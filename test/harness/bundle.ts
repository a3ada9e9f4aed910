// Before suites that start the program: its bundle, made anew where a source is newer. Without it the program would run
// from its sources, which is not what users run, and starts more slowly; nobody would notice.
import path from 'node:path';
import { execOk, systemExec } from '../../host/exec.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');
const BUNDLE_MS = 120_000;

export async function ensureBundle(): Promise<void> {
  if (await isFresh()) return;
  await execOk(systemExec, process.execPath, [path.join(ROOT, 'deploy/bundle.ts')], { timeoutMs: BUNDLE_MS });
}

/** For vitest's `globalSetup`. The returned function is called when the suites are over. */
export default async function setup(): Promise<() => Promise<void>> {
  await ensureBundle();
  return async () => {
    if (!(await isFresh())) console.warn('sources have changed meanwhile: some tests ran the program from its sources');
  };
}

async function isFresh(): Promise<boolean> {
  return (await systemExec(path.join(ROOT, 'deploy/is-bundle-fresh.sh'), [ROOT])).code === 0;
}
