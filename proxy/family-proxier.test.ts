import { expect, test } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { createLogger, silentLog } from '../core/log.ts';
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

test('a write that takes long is told with the largest Service of it', async () => {
  const lines: Record<string, unknown>[] = [];
  const log = createLogger({ level: 'warn', destination: { write: (line) => void lines.push(JSON.parse(line)) } });
  const clock = new FakeClock();
  let tookMs = 4_999;
  const write = async () => void (await clock.advance(tookMs));
  const backend: RuleBackend = { family: 4, writeAll: write, writeChanges: write, isInPlace: async () => true };
  const proxier = new FamilyProxier({ nodeName: 'a', fullSyncIntervalMs: 3_600_000 }, { backend, exec, clock, log });
  await proxier.sync(signal);
  expect(lines).toEqual([]);
  tookMs = 5_000;
  for (const [name, size] of [
    ['small', 1],
    ['large', 3],
  ] as const) {
    proxier.handleSlice({
      metadata: { name, namespace: 'd', labels: { 'kubernetes.io/service-name': name } },
      addressType: 'IPv4',
      ports: [{ name: 'p', port: 80, protocol: 'TCP' }],
      endpoints: Array.from({ length: size }, (_, i) => ({
        addresses: [`10.0.0.${i + 1}`],
        conditions: { ready: true },
      })),
    });
  }
  await proxier.sync(signal);
  const largest = { service: 'd/large', endpoints: 3 };
  expect(lines).toMatchObject([{ level: 'warn', sync: 'partial', tookMs: 5_000, services: 2, largest }]);
});
