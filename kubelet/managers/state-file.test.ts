import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { readState } from './state-file.ts';

let dir: string;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-state-'));
});
afterEach(() => rm(dir, { recursive: true }));

test('a file that cannot be read, or not be understood, is named, with what to do', async () => {
  const unreadable = path.join(dir, 'unreadable');
  await mkdir(unreadable);
  const broken = path.join(dir, 'broken');
  await writeFile(broken, '{');
  for (const file of [unreadable, broken]) {
    expect(() => readState(file, 'CPU', JSON.parse)).toThrow(
      expect.objectContaining({
        code: 'MANAGER_STATE_INVALID',
        message: expect.stringContaining(`delete the CPU manager checkpoint file "${file}" before restarting`),
      }),
    );
  }
  expect(readState(path.join(dir, 'absent'), 'CPU', JSON.parse)).toBeUndefined();
});
