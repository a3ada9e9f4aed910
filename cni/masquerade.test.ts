import { expect, test } from 'vitest';
import { FakeIptables } from '../host/fake-iptables.ts';
import { applyMasquerade, isMasqueradeInPlace, removeMasquerade, renderMasquerade } from './masquerade.ts';

const signal = new AbortController().signal;
const opts = {
  network: '10.244.0.0/16',
  subnet: '10.244.1.0/24',
  masquerade: true,
  forward: true,
  randomFully: true,
};

async function applied(): Promise<FakeIptables> {
  const kernel = new FakeIptables(['192.0.2.1']);
  await applyMasquerade(kernel.exec, opts, signal);
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
  const inPlace = (o = opts) => isMasqueradeInPlace(kernel.exec, o, signal);
  expect(await inPlace()).toBe(true);
  expect(await inPlace({ ...opts, subnet: '10.244.9.0/24' })).toBe(false);
  await applyMasquerade(kernel.exec, opts, signal);
  expect(kernel.save()).toBe(before);
  kernel.restore(`*filter\n-D ${kernelLine(before, 'FLANNEL-FWD -d')}\nCOMMIT`);
  expect(await inPlace()).toBe(false);
  await removeMasquerade(kernel.exec, 4, signal);
  expect(kernel.save()).toBe(new FakeIptables().save());
});

test.each(['filter', 'nat'])('a flushed table %s is noticed', async (table) => {
  const kernel = await applied();
  kernel.flush(table);
  expect(await isMasqueradeInPlace(kernel.exec, opts, signal)).toBe(false);
});

test('IPv6, without random ports and without forwarding rules, as the flags say', () => {
  const v6 = { ...opts, network: 'fd00:42::/56', subnet: 'fd00:42:0:1::/64', forward: false, randomFully: false };
  const masq = '-m comment --comment "flanneld masq"';
  expect(renderMasquerade(v6, new Map()).split('\n')).toEqual([
    '*nat',
    ':FLANNEL-POSTRTG - [0:0]',
    `-A POSTROUTING ${masq} -j FLANNEL-POSTRTG`,
    `-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 ${masq} -j RETURN`,
    `-A FLANNEL-POSTRTG -s fd00:42:0:1::/64 -d fd00:42::/56 ${masq} -j RETURN`,
    `-A FLANNEL-POSTRTG -s fd00:42::/56 -d fd00:42:0:1::/64 ${masq} -j RETURN`,
    `-A FLANNEL-POSTRTG ! -s fd00:42::/56 -d fd00:42:0:1::/64 ${masq} -j RETURN`,
    `-A FLANNEL-POSTRTG -s fd00:42::/56 ! -d ff00::/8 ${masq} -j MASQUERADE`,
    `-A FLANNEL-POSTRTG ! -s fd00:42::/56 -d fd00:42::/56 ${masq} -j MASQUERADE`,
    'COMMIT',
    '',
  ]);
  expect(renderMasquerade({ ...opts, masquerade: false, forward: false }, new Map())).toBe('');
});

/** `CHAIN args` of the first saved rule that starts so. */
function kernelLine(saved: string, start: string): string {
  return saved
    .split('\n')
    .find((l) => l.startsWith(`-A ${start}`))!
    .slice('-A '.length);
}
