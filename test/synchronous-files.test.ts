import path from 'node:path';
import { expect, test } from 'vitest';
import { isSynchronous, synchronousFiles } from './harness/synchronous-files.ts';

test('a file that only computes needs no process of its own', () => {
  expect(isSynchronous("import { expect, test } from 'vitest';\ntest('sums', () => expect(1 + 1).toBe(2));")).toBe(
    true,
  );
});

test.each([
  ['promises', "test('x', async () => {});"],
  ['promises that are not awaited', 'start().then(done);'],
  ['timers', 'setTimeout(() => {}, 1);'],
  ['modules of Node.js', "import { readFile } from 'node:fs/promises';"],
  ['modules that are loaded later', "const m = import('./m.ts');"],
  ['its environment', "process.env.HOME = '/';"],
  ['vitest’s clock and spies', 'vi.useFakeTimers();'],
  ['the time', 'systemClock.now();'],
])('a file with %s does', (_what, source) => {
  expect(isSynchronous(source)).toBe(false);
});

test('files are found below the root, and those that wait are not among them', () => {
  const found = synchronousFiles(path.resolve(import.meta.dirname, '..'), ['core/*.test.ts', 'api/**/*.test.ts']);
  expect(found).toContain('api/quantity.test.ts');
  expect(found).not.toContain('core/async-queue.test.ts');
});
