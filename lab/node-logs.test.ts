import { mkdir, mkdtemp, readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { removeAllButLogs } from './node-logs.ts';

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-logs-'));
});
afterEach(async () => {
  await rm(dir, { recursive: true });
});

test('the logs of each node stay and its disk goes', async () => {
  for (const node of ['node-1', 'node-2']) {
    await mkdir(path.join(dir, node, 'containerd', 'io'), { recursive: true });
    await writeFile(path.join(dir, node, 'containerd', 'some.log'), '');
    await writeFile(path.join(dir, node, 'agent.log'), '');
    await writeFile(path.join(dir, node, 'agent.yaml'), '');
  }
  await removeAllButLogs(dir);
  expect((await readdir(dir, { recursive: true })).sort()).toEqual([
    'node-1',
    'node-1/agent.log',
    'node-2',
    'node-2/agent.log',
  ]);
});

test('nodes that were never made are not missed', async () => {
  await expect(removeAllButLogs(path.join(dir, 'nodes'))).resolves.toBeUndefined();
});
