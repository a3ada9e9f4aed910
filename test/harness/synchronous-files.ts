// Unit tests that do nothing but compute. Whatever such a file starts has ended when its last test has, and can neither
// fail in another file nor change one: it needs no process of its own, which costs more than most of its tests.
import { globSync, readFileSync } from 'node:fs';
import path from 'node:path';

/**
 * What lets something happen later, or reaches beyond the file: promises, timers, modules of Node.js, the process, what
 * vitest changes for all. A word too many here costs a process, no more.
 */
const MORE_THAN_COMPUTING =
  /\b(await|async|Promise|set(Timeout|Interval|Immediate)|queueMicrotask|process|globalThis|vi|systemClock)\b|\.then\(|import\(|'node:/;

/** Whether tests with this source text are such; comments count as well. */
export function isSynchronous(source: string): boolean {
  return !MORE_THAN_COMPUTING.test(source);
}

/** Such files below `root` among those that match `patterns`; relative to `root`. */
export function synchronousFiles(root: string, patterns: readonly string[]): string[] {
  const files = globSync([...patterns], { cwd: root });
  return files.filter((file) => isSynchronous(readFileSync(path.join(root, file), 'utf8'))).sort();
}
