import { expect, test } from 'vitest';
import { networkStatsOf, parseNetDev } from './network-stats.ts';

const TEXT = [
  'Inter-|   Receive                                                |  Transmit',
  ' face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed',
  '    lo: 100 1 0 0 0 0 0 0 100 1 0 0 0 0 0 0',
  '  eth0: 1000 10 1 2 0 0 0 0 2000 20 3 4 0 0 0 0',
  'vethab:5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5',
  'Docker0: 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5 5',
  ' short: 1 2 3',
].join('\n');

test('interfaces are read column by column, loopback and those of containers left out', () => {
  expect(parseNetDev(TEXT)).toEqual([
    {
      name: 'eth0',
      rxBytes: 1000,
      rxPackets: 10,
      rxErrors: 1,
      rxDropped: 2,
      txBytes: 2000,
      txPackets: 20,
      txErrors: 3,
      txDropped: 4,
    },
  ]);
});

test('this process sees interfaces, one that has ended none', () => {
  expect(networkStatsOf('self')).toBeInstanceOf(Array);
  expect(networkStatsOf(2 ** 22 + 1)).toBeUndefined();
});
