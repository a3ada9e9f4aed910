import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';
import { pageBytes } from './page-size.ts';

test('as the system itself tells it', () => {
  expect(pageBytes()).toBe(Number(execFileSync('getconf', ['PAGESIZE'], { encoding: 'utf8' })));
});

test('what cannot be read is what most machines have', () => {
  expect(pageBytes('/nowhere')).toBe(4096);
  expect(pageBytes('/dev/null')).toBe(4096);
});
