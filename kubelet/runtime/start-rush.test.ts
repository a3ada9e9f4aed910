import { expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { Rush } from '../../core/rush.ts';
import { FakeRuntime } from '../../cri/fake-runtime.ts';
import { countingStarts } from './start-rush.ts';

test('a sandbox that is being started is urgent work, a look at the runtime is not', async () => {
  const rush = new Rush(0, new FakeClock());
  const { runtime } = new FakeRuntime({ clock: new FakeClock() });
  const start = Promise.withResolvers<string>();
  const counting = countingStarts({ ...runtime, runPodSandbox: () => start.promise }, rush);
  const looking = counting.version();
  expect(rush.isOn).toBe(false);
  await looking;
  const starting = counting.runPodSandbox({}, '');
  expect(rush.isOn).toBe(true);
  start.resolve('an id');
  expect(await starting).toBe('an id');
  expect(rush.isOn).toBe(false);
});
