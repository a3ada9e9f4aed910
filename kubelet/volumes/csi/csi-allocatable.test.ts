import { expect, test } from 'vitest';
import type { CSIDriver } from '../../../api/kinds.ts';
import { csiDrivers } from '../../../api/resources.ts';
import { FakeApi } from '../../../client/fake-client.ts';
import { FakeClock } from '../../../core/fake-clock.ts';
import { silentLog } from '../../../core/log.ts';
import { CsiAllocatable } from './csi-allocatable.ts';

test('a driver is asked as often as its CSIDriver says, and no more when it has gone', async () => {
  const clock = new FakeClock();
  const client = new FakeApi();
  const asked: string[] = [];
  const answers: (boolean | Error)[] = [true, new Error('not now'), true, true, false];
  const refresh = async (driver: string) => {
    asked.push(driver);
    const answer = answers.shift() ?? false;
    if (typeof answer !== 'boolean') throw answer;
    return answer;
  };
  const setPeriod = async (seconds: number | null) => {
    const body = { spec: { nodeAllocatableUpdatePeriodSeconds: seconds } };
    await client.patch(csiDrivers, { name: 'd' }, { type: 'merge', body });
    await clock.advance(0);
  };
  const heard: (string | undefined)[] = [];
  const onDriver = (name: string, driver: CSIDriver | undefined) =>
    void heard.push(`${name} ${JSON.stringify(driver?.spec.attachRequired)}`);
  const allocatable = new CsiAllocatable({ client, refresh, onDriver, clock, log: silentLog });
  const stop = new AbortController();
  const ended = allocatable.run(stop.signal);
  await clock.advance(0);
  expect(client.requests).toEqual([]); // no driver, no watch

  await client.create(csiDrivers, {}, { metadata: { name: 'd' }, spec: {} });
  allocatable.registered('d');
  await clock.advance(10_000);
  expect(asked).toEqual([]);

  await setPeriod(20);
  await clock.advance(19_999);
  expect(asked).toHaveLength(0);
  await clock.advance(1);
  expect(asked).toHaveLength(1);
  for (const times of [2, 3]) {
    await clock.advance(20_000); // also after a failure
    expect(asked).toHaveLength(times);
  }
  await setPeriod(1); // a server that lets this pass
  await clock.advance(9_999);
  expect(asked).toHaveLength(3);
  await clock.advance(1);
  expect(asked).toHaveLength(4);
  await clock.advance(60_000);
  expect(asked).toHaveLength(5); // has gone

  allocatable.registered('d');
  await clock.advance(10_000);
  expect(asked).toHaveLength(6);
  heard.length = 0;
  await client.patch(csiDrivers, { name: 'd' }, { type: 'merge', body: { spec: { attachRequired: false } } });
  await clock.advance(0);
  await client.delete(csiDrivers, { name: 'd' });
  await clock.advance(0);
  expect(heard).toEqual(['d false', 'd undefined']);
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
});
