import { expect, test } from 'vitest';
import { earlierConfs, mtuOf, parseSubnetEnv, renderConflist, renderSubnetEnv } from './conf-writer.ts';

const facts = {
  networks: { v4: '10.244.0.0/16', v6: '2001:cafe:42::/56' },
  subnets: { v4: '10.244.1.0/24', v6: '2001:cafe:42:1::/64' },
  mtu: 1430,
  bridge: 'cni0',
  ipMasq: true,
};

test('subnet.env with both families, read back, and with one', () => {
  const env = renderSubnetEnv(facts);
  expect(env.split('\n')).toEqual([
    'FLANNEL_NETWORK=10.244.0.0/16',
    'FLANNEL_SUBNET=10.244.1.1/24',
    'FLANNEL_IPV6_NETWORK=2001:cafe:42::/56',
    'FLANNEL_IPV6_SUBNET=2001:cafe:42:1::1/64',
    'FLANNEL_MTU=1430',
    'FLANNEL_IPMASQ=true',
    '',
  ]);
  expect(parseSubnetEnv(env)).toEqual(facts.subnets);
  const v4 = renderSubnetEnv({ ...facts, networks: { v4: '10.244.0.0/16' }, subnets: { v4: '10.244.1.0/24' } });
  expect(v4).not.toContain('IPV6');
  expect(parseSubnetEnv('FLANNEL_SUBNET=$(reboot)\n')).toEqual({});
});

test('the conflist gives pods an address of each family, IPv4 first', () => {
  const { ipam, mtu } = JSON.parse(renderConflist(facts)).plugins[0];
  expect(ipam.ranges).toEqual([[{ subnet: '10.244.1.0/24' }], [{ subnet: '2001:cafe:42:1::/64' }]]);
  expect(ipam.routes).toEqual([{ dst: '10.244.0.0/16' }, { dst: '2001:cafe:42::/56' }]);
  expect(mtu).toBe(1430);
});

test('the MTU is read back, however somebody has laid the file out, and from nothing else', () => {
  const text = renderConflist(facts);
  expect(mtuOf(text)).toBe(1430);
  expect(mtuOf(JSON.stringify(JSON.parse(text)))).toBe(1430);
  for (const other of ['', '{}', text.slice(0, -10), text.replace('1430', '"1430"')]) {
    expect(mtuOf(other)).toBeUndefined();
  }
});

test('files that the runtime would take first are found', () => {
  const names = [
    '05-other.conf',
    '10-nodelet.conflist',
    '.00-x.conflist.tmp',
    '00-a.json',
    '87-podman.conflist',
    'README',
  ];
  expect(earlierConfs(names)).toEqual(['00-a.json', '05-other.conf']);
});
