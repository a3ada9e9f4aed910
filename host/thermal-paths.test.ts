import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { thermalThrottlePaths } from './thermal-paths.ts';

let sys: string;
beforeEach(async () => {
  sys = await mkdtemp(path.join(tmpdir(), 'thermal-'));
});
afterEach(() => rm(sys, { recursive: true }));

test('the directories that are there', async () => {
  const cpus = path.join(sys, 'devices/system/cpu');
  await mkdir(path.join(cpus, 'cpu1/thermal_throttle'), { recursive: true });
  await writeFile(path.join(cpus, 'possible'), '0-1\n');
  expect(await thermalThrottlePaths(sys)).toEqual([path.join(cpus, 'cpu1/thermal_throttle')]);
  expect(await thermalThrottlePaths(path.join(sys, 'absent'))).toEqual([]);
});
