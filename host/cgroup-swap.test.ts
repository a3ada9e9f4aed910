import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { canLimitSwap } from './cgroup-swap.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(os.tmpdir(), 'swap-'));
});
afterEach(() => rm(dir, { recursive: true }));

async function group(name: string, withSwap: boolean): Promise<void> {
  await mkdir(path.join(dir, name), { recursive: true });
  if (withSwap) await writeFile(path.join(dir, name, 'memory.swap.max'), 'max\n');
}

const limited = async (own: string) => {
  await writeFile(path.join(dir, 'cgroup'), `0::${own}\n`);
  return await canLimitSwap({ version: 2, mounts: new Map([['unified', dir]]) }, dir);
};

test("as the agent's own group shows", async () => {
  await group('system.slice/agent', true);
  expect(await limited('/system.slice/agent')).toBe(true);
});

test('as another group shows where the agent is in the root', async () => {
  await group('a', false);
  await group('b', true);
  expect(await limited('/')).toBe(true);
});

test('not where no group has the file, and not on v1', async () => {
  await group('a', false);
  expect(await limited('/a')).toBe(false);
  expect(await canLimitSwap({ version: 1, mounts: new Map([['memory', dir]]) }, dir)).toBe(false);
});
