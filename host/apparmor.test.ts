import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { appArmorEnabled } from './apparmor.ts';

let sys: string;
beforeEach(async () => {
  sys = await mkdtemp(path.join(tmpdir(), 'apparmor-'));
});
afterEach(() => rm(sys, { recursive: true }));

test('needs the kernel to have it on and its file system to be there', async () => {
  const parameters = path.join(sys, 'module/apparmor/parameters');
  expect(await appArmorEnabled(sys)).toBe(false);
  await mkdir(parameters, { recursive: true });
  await writeFile(path.join(parameters, 'enabled'), 'Y\n');
  expect(await appArmorEnabled(sys)).toBe(false);
  await mkdir(path.join(sys, 'kernel/security/apparmor'), { recursive: true });
  expect(await appArmorEnabled(sys)).toBe(true);
  await writeFile(path.join(parameters, 'enabled'), 'N\n');
  expect(await appArmorEnabled(sys)).toBe(false);
});
