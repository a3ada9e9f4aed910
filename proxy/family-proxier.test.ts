import { expect, test } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { silentLog } from '../core/log.ts';
import type { Exec } from '../host/exec.ts';
import { FamilyProxier } from './family-proxier.ts';
import type { RuleBackend } from './rule-backend.ts';

const signal = new AbortController().signal;
const exec: Exec = async () => ({ code: 0, signal: undefined, stdout: '', stderr: '' });

function setUp(duringWrite: (proxier: FamilyProxier) => void, isInPlace = async () => true) {
  const written: string[] = [];
  const backend: RuleBackend = {
    family: 4,
    async writeAll() {
      written.push('all');
      if (written.length === 1) duringWrite(proxier);
    },
    async writeChanges() {
      written.push('changes');
    },
    isInPlace,
  };
  const opts = { nodeName: 'a', fullSyncIntervalMs: 3_600_000 };
  const proxier: FamilyProxier = new FamilyProxier(opts, { backend, exec, clock: systemClock, log: silentLog });
  return { proxier, written };
}

test.each([
  ['the zone of the node becomes known', (p: FamilyProxier) => void p.setZone('z')],
  ['all rules are asked for', (p: FamilyProxier) => p.forceFull()],
])('what is written while %s is written again', async (_what, meanwhile) => {
  const { proxier, written } = setUp(meanwhile);
  await proxier.sync(signal);
  expect(proxier.nextSync).toBe('full');
  await proxier.sync(signal);
  await proxier.sync(signal);
  expect(written).toEqual(['all', 'all', 'changes']);
});

test('a look at the rules that a sync overtook says nothing of them', async () => {
  const { proxier, written } = setUp(
    () => {},
    async () => {
      await proxier.sync(signal); // takes an element away, say, that is looked for
      return false;
    },
  );
  await proxier.sync(signal);
  expect(await proxier.detectFlush(signal)).toBe(false);
  expect(proxier.nextSync).toBe('partial');
  expect(written).toEqual(['all', 'changes']);
});
