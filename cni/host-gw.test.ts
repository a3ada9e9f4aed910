import { expect, test } from 'vitest';
import { silentLog } from '../core/log.ts';
import type { Exec } from '../host/exec.ts';
import type { SubnetLease } from './backend.ts';
import { diffRoutes, HostGwBackend } from './host-gw.ts';

const opts = { external: { device: 'eth0', ip: '192.0.2.1', mtu: 1500 }, network: '10.244.0.0/16' };
const peer: SubnetLease = {
  nodeName: 'b',
  subnet: '10.244.2.0/24',
  publicIp: '192.0.2.2',
  since: 0,
  backendType: 'host-gw',
  backendData: null,
};
const inPlace = { dst: '10.244.2.0/24', gateway: '192.0.2.2' };

test.each([
  ['a new peer gets a route', [peer], [], ['route replace 10.244.2.0/24 via 192.0.2.2 dev eth0']],
  ['nothing is done when all is in place', [peer], [inPlace], []],
  [
    'a peer whose node got another address is reached there',
    [{ ...peer, publicIp: '192.0.2.3' }],
    [inPlace],
    ['route replace 10.244.2.0/24 via 192.0.2.3 dev eth0'],
  ],
  ['the route of a deleted node goes', [], [inPlace], ['route delete 10.244.2.0/24 via 192.0.2.2 dev eth0']],
  [
    'routes of others stay: default, outside the pod network, without a gateway',
    [],
    [
      { dst: 'default', gateway: '192.0.2.254' },
      { dst: '10.96.0.0/12', gateway: '192.0.2.254' },
      { dst: '192.0.2.0/24' },
    ],
    [],
  ],
])('%s', (_what, peers, actual, expected) => {
  expect(diffRoutes(opts, peers, actual)).toEqual(expected);
});

test('routes are written with one process, none for peers of other backends, and pods keep the full MTU', async () => {
  const runs: string[] = [];
  const exec: Exec = async (program, args, o) => {
    runs.push(`${program} ${args.join(' ')} ${o?.input ?? ''}`.trim());
    return { code: 0, signal: undefined, stdout: '', stderr: '' };
  };
  const backend = new HostGwBackend(opts, { exec, log: silentLog });
  expect(await backend.ensureDevice()).toEqual({ backendData: null, mtu: 1500 });
  await backend.syncPeers(
    [peer, { ...peer, subnet: '10.244.3.0/24', backendType: 'vxlan' }],
    new AbortController().signal,
  );
  expect(runs).toEqual([
    'ip -j -4 route show dev eth0',
    'ip -force -batch - route replace 10.244.2.0/24 via 192.0.2.2 dev eth0',
  ]);
});

test('a deleted peer route is noticed; neighbours and addresses of the device are not our concern', () => {
  const backend = new HostGwBackend(opts, {
    exec: async () => ({ code: 0, signal: undefined, stdout: '', stderr: '' }),
    log: silentLog,
  });
  expect(backend.concerns('Deleted 10.244.2.0/24 via 192.0.2.2 dev eth0 ')).toBe(true);
  expect(backend.concerns('2: eth0: <BROADCAST,MULTICAST> mtu 1500 state DOWN')).toBe(true);
  expect(backend.concerns('3: eth00: <BROADCAST,MULTICAST> mtu 1500 state DOWN')).toBe(false);
  expect(backend.concerns('192.0.2.2 dev eth0 lladdr 02:00:00:00:00:02 REACHABLE')).toBe(false);
});
