import { expect, test } from 'vitest';
import { chooseInterface, type HostRouting, type InterfaceWishes } from './external-interface.ts';

const address = (local: string, more: object = {}) => ({
  family: local.includes(':') ? 'inet6' : 'inet',
  local,
  prefixlen: 24,
  scope: 'global',
  ...more,
});
const host: HostRouting = {
  interfaces: [
    { ifname: 'lo', mtu: 65_536, addr_info: [address('127.0.0.1', { scope: 'host' })] },
    {
      ifname: 'eth0',
      mtu: 1500,
      addr_info: [
        address('192.0.2.5', { dynamic: true }),
        address('192.0.2.1'),
        address('fe80::1', { scope: 'link' }),
        address('fd00:9::7', { deprecated: true }),
        address('fd00:9::1'),
      ],
    },
    { ifname: 'eth1', mtu: 9000, addr_info: [address('198.51.100.1')] },
  ],
  defaults: { v4: 'eth0', v6: 'eth0' },
  reach: { device: 'eth1', source: '198.51.100.1' },
};
const wishes = (w: Partial<InterfaceWishes>): InterfaceWishes => ({ ifaces: [], regexes: [], publicIps: {}, ...w });
const eth1 = { device: 'eth1', mtu: 9000, v4: '198.51.100.1' };

test('without wishes: the default route, permanent global addresses of each family', () => {
  expect(chooseInterface(wishes({}), [4, 6], host)).toEqual({
    external: { device: 'eth0', mtu: 1500, v4: '192.0.2.1', v6: 'fd00:9::1' },
    publicIps: { v4: '192.0.2.1', v6: 'fd00:9::1' },
  });
});

test.each([
  ['name', { ifaces: ['eth7', 'eth1'] }],
  ['address', { ifaces: ['198.51.100.1'] }],
  ['expression on an address', { regexes: ['^198\\.'] }],
  ['expression on a name', { regexes: ['th1$'] }],
  ['what it reaches', { ifaces: ['eth7'], canReach: '203.0.113.1' }],
  ['public address of its own', { publicIps: { v4: '198.51.100.1' } }],
])('chosen by %s', (_what, w) => {
  expect(chooseInterface(wishes(w), [4], host).external).toEqual(eth1);
});

test('an address in use is kept while its interface has it, and no longer', () => {
  const used = (v4: string, device = 'eth0') => ({ external: { device, mtu: 1500, v4 }, publicIps: { v4 } });
  const chosen = (present: ReturnType<typeof used>) => chooseInterface(wishes({}), [4], host, present).external.v4;
  expect(chosen(used('192.0.2.5'))).toBe('192.0.2.5');
  expect(chosen(used('192.0.2.66'))).toBe('192.0.2.1');
  expect(chosen(used('198.51.100.1', 'eth1'))).toBe('192.0.2.1');
});

test("a public address that is not an interface's own goes with --iface", () => {
  const choice = chooseInterface(wishes({ ifaces: ['eth0'], publicIps: { v4: '203.0.113.9' } }), [4], host);
  expect(choice).toEqual({
    external: { device: 'eth0', mtu: 1500, v4: '192.0.2.1' },
    publicIps: { v4: '203.0.113.9' },
  });
});

test.each([
  ['an interface that is not there', wishes({ ifaces: ['eth7'] }), [4], { ...host, reach: undefined }],
  ['an address that nobody has', wishes({ publicIps: { v4: '203.0.113.9' } }), [4], host],
  ['a family that the interface lacks', wishes({ ifaces: ['eth1'] }), [4, 6], host],
  ['default routes that differ', wishes({}), [4, 6], { ...host, defaults: { v4: 'eth0', v6: 'eth1' } }],
  ['no default route', wishes({}), [4], { ...host, defaults: {} }],
])('refused: %s', (_what, w, families, facts) => {
  expect(() => chooseInterface(w, families as (4 | 6)[], facts as HostRouting)).toThrow(
    expect.objectContaining({ code: 'NODE_ADDRESS' }),
  );
});
