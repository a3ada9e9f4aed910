import { expect, test } from 'vitest';
import { defaultInterfaceV4, defaultInterfaceV6, isUsableNodeIp, localAddresses } from './network-interfaces.ts';

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

test('loopback is among the local addresses of this machine', () => {
  expect(localAddresses().some((a) => a.address === '127.0.0.1' && a.family === 4)).toBe(true);
});
