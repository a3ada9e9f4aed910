import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, onTestFinished, test, vi } from 'vitest';
import {
  defaultInterfaceV4,
  defaultInterfaceV6,
  globalAddressesV6,
  isUsableNodeIp,
  LocalAddresses,
  localAddressesV4,
} from './network-interfaces.ts';

test('the default route with the lowest metric names the interface', () => {
  const table = [
    'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT',
    'wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0',
    'eth0\t00000000\t0101A8C0\t0003\t0\t0\t100\t00000000\t0\t0\t0',
    'eth1\t0000A8C0\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0',
  ].join('\n');
  expect(defaultInterfaceV4(table)).toBe('eth0');
  expect(defaultInterfaceV4('Iface\n')).toBeUndefined();
});

test('the IPv6 default route, not the unreachable one on lo', () => {
  const zero = '0'.repeat(32);
  const table = [
    `${zero} 00 ${zero} 00 ${zero} ffffffff 00000001 00000000 00200200 lo`,
    `${zero} 00 ${zero} 00 fe80${'0'.repeat(28)} 00000400 00000001 00000000 00000003 eth0`,
  ].join('\n');
  expect(defaultInterfaceV6(table)).toBe('eth0');
});

test.each([
  ['10.0.0.1', true],
  ['127.0.0.1', false],
  ['224.0.0.1', false],
  ['169.254.1.1', false],
  ['0.0.0.0', false],
  ['fd00::1', true],
  ['fe80::1', false],
  ['ff02::1', false],
  ['::1', false],
  ['node', false],
])('%s may be a node address: %s', (ip, expected) => {
  expect(isUsableNodeIp(ip)).toBe(expected);
});

test('loopback is among the local addresses of this machine, as the tables have them', async () => {
  const known = await new LocalAddresses().look();
  expect(known.some((a) => a.address === '127.0.0.1' && a.family === 4)).toBe(true);
});

const TRIE = `Main:
  +-- 0.0.0.0/0 3 0 5
     |-- 0.0.0.0
        /0 universe UNICAST
     +-- 10.0.0.0/24 2 0 2
        |-- 10.0.0.0
           /24 link UNICAST
        |-- 10.0.0.7
           /32 host LOCAL
        |-- 10.0.0.255
           /32 link BROADCAST
     +-- 127.0.0.0/8 2 0 2
        |-- 127.0.0.0
           /8 host LOCAL
        |-- 127.0.0.1
           /32 host LOCAL
Local:
        |-- 10.0.0.7
           /32 host LOCAL
`;
const V6 = `00000000000000000000000000000001 01 80 10 80       lo
fe800000000000000858eefffe000001 02 40 20 80     eth0
fd000000000000000000000000000002 02 40 00 82     eth0
`;

test('which addresses the host has, as the kernel tells it of routes and of IPv6', () => {
  expect(localAddressesV4(TRIE)).toEqual(['10.0.0.7', '127.0.0.1']);
  expect(globalAddressesV6(V6)).toEqual([
    '00000000000000000000000000000001 lo',
    'fd000000000000000000000000000002 eth0',
  ]);
});

/** A host as its tables tell it; `interfaces` counts how often the kernel was asked for its interfaces. */
async function host() {
  const procRoot = await mkdtemp(path.join(tmpdir(), 'nodelet-proc-'));
  onTestFinished(() => rm(procRoot, { recursive: true }));
  await mkdir(path.join(procRoot, 'net'));
  const write = (table: string, text: string) => writeFile(path.join(procRoot, 'net', table), text);
  await write('fib_trie', TRIE);
  await write('if_inet6', V6);
  await write('route', 'Iface\neth0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n');
  const entry = (address: string) => ({ address, family: 'IPv4' }) as never;
  const interfaces = vi.fn(() => ({ eth0: [entry('10.0.0.7')] }));
  return { write, entry, interfaces, addresses: new LocalAddresses({ procRoot, interfaces }) };
}

test('the kernel, which may be long in answering, is asked for its interfaces only when an address came or went', async () => {
  const { write, entry, interfaces, addresses } = await host();
  await addresses.look();
  await write('if_inet6', `${V6}fe8000000000000000000000000000aa 09 40 20 80 veth9\n`); // another pod
  await write('fib_trie', TRIE.replace('10.0.0.0/24', '10.0.0.0/16')); // other routes
  await addresses.look();
  await addresses.ofDefaultRoute(4);
  expect(interfaces).toHaveBeenCalledTimes(1);
  interfaces.mockReturnValue({ eth0: [entry('10.0.0.7'), entry('10.0.0.8')] });
  await write(
    'fib_trie',
    TRIE.replaceAll('127.0.0.1\n', '127.0.0.1\n           /32 host LOCAL\n        |-- 10.0.0.8\n'),
  );
  expect((await addresses.look()).map((a) => a.address)).toEqual(['10.0.0.7', '10.0.0.8']);
  expect(interfaces).toHaveBeenCalledTimes(2);
});

test('an address that moved to another interface is found there; one that has none is asked about once', async () => {
  const { write, entry, interfaces, addresses } = await host();
  await addresses.look();
  await write('route', 'Iface\nbr0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n');
  interfaces.mockReturnValue({ br0: [entry('10.0.0.7')] } as never);
  expect(await addresses.ofDefaultRoute(4)).toBe('10.0.0.7');
  await write('route', 'Iface\nwg0\t00000000\t0100000A\t0003\t0\t0\t0\t00000000\n');
  for (let i = 0; i < 3; i++) expect(await addresses.ofDefaultRoute(4)).toBeUndefined();
  expect(interfaces).toHaveBeenCalledTimes(3);
});

test('where there are no such tables, the kernel is asked each time', async () => {
  const interfaces = vi.fn(() => ({}));
  const addresses = new LocalAddresses({ procRoot: '/nonexistent', interfaces });
  await addresses.look();
  await addresses.look();
  expect(interfaces).toHaveBeenCalledTimes(2);
});
