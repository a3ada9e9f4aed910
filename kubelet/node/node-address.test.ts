import { expect, test } from 'vitest';
import { FAKE_NODE } from '../fake-agent.ts';
import { computeAddresses, internalIps } from './node-address.ts';

const sources = {
  local: ['127.0.0.1', '10.0.0.1', '10.0.0.2', 'fd00::1'],
  lookup: async () => ['127.0.1.1', '10.0.0.2'],
  defaultRoute: async (family: 4 | 6) => (family === 4 ? '10.0.0.1' : undefined),
};

test('addresses: given, by name, by default route', async () => {
  const ipsOf = async (nodeIps: string[], from = sources) =>
    (await computeAddresses('n1', nodeIps, from)).map((a) => a.address);
  expect(await ipsOf(['10.0.0.1', 'fd00::1'])).toEqual(['10.0.0.1', 'fd00::1', 'n1']);
  expect(await ipsOf([])).toEqual(['10.0.0.2', 'n1']);
  expect(await ipsOf([], { ...sources, lookup: async () => [] })).toEqual(['10.0.0.1', 'n1']);
  await expect(ipsOf(['10.9.9.9'])).rejects.toThrow(`node IP: "10.9.9.9" not found in the host's network interfaces`);
  await expect(ipsOf(['127.0.0.1'])).rejects.toMatchObject({ code: 'NODE_ADDRESS' });
});

test('nodes reach each other at the internal addresses', () => {
  expect(
    internalIps({
      status: {
        addresses: [
          { type: 'Hostname', address: 'n' },
          { type: 'InternalIP', address: '::1' },
        ],
      },
    }),
  ).toEqual(['::1']);
  expect(internalIps(FAKE_NODE)).toEqual(['192.0.2.1']);
  expect(internalIps(undefined)).toEqual([]);
});
