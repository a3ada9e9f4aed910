import { expect, test } from 'vitest';
import { FakeIptables } from '../host/fake-iptables.ts';
import { parseSave, saveRules } from '../host/iptables-restore.ts';
import { applyMasquerade, isMasqueradeInPlace, removeMasquerade } from './masquerade.ts';

const signal = new AbortController().signal;
const opts = { network: '10.244.0.0/16', subnet: '10.244.1.0/24' };

async function applied(): Promise<FakeIptables> {
  const kernel = new FakeIptables(['192.0.2.1']);
  await applyMasquerade(kernel.exec, opts, await saveRules(kernel.exec), signal);
  return kernel;
}

test.each([
  ['pod to the world', '10.244.1.5', '198.51.100.1', true],
  ['pod to a pod of another node', '10.244.1.5', '10.244.2.5', false],
  ['pod of another node to a pod here', '10.244.2.5', '10.244.1.5', false],
  ['client outside to a pod here', '198.51.100.1', '10.244.1.5', false],
  ['node to a pod of another node', '192.0.2.1', '10.244.2.5', true],
])('%s: masqueraded %#', async (_what, src, dst, masqueraded) => {
  const kernel = await applied();
  expect(kernel.trace({ src, dst, proto: 'tcp', dport: 80 })).toMatchObject([{ verdict: 'accept', masqueraded }]);
});

test('applying twice gives the same rules, a missing rule is noticed, removal leaves nothing', async () => {
  const kernel = await applied();
  const before = kernel.save();
  expect(isMasqueradeInPlace(parseSave(before), opts)).toBe(true);
  expect(isMasqueradeInPlace(parseSave(before), { ...opts, subnet: '10.244.9.0/24' })).toBe(false);
  await applyMasquerade(kernel.exec, opts, await saveRules(kernel.exec), signal);
  expect(kernel.save()).toBe(before);
  expect(isMasqueradeInPlace(parseSave(before.replace(/^-A FLANNEL-FWD -d.*\n/m, '')), opts)).toBe(false);
  await removeMasquerade(kernel.exec, signal);
  expect(kernel.save()).toBe(new FakeIptables().save());
});
