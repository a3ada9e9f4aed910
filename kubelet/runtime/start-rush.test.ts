import { beforeEach, describe, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { Rush } from '../../core/rush.ts';
import { Slots } from '../../core/slots.ts';
import { FakeRuntime } from '../../cri/fake-runtime.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import { pacedStarts } from './start-rush.ts';

let clock: FakeClock;
let rush: Rush;
let asked: string[];
let answers: PromiseWithResolvers<string>[];
let paced: RuntimeService;

beforeEach(() => {
  clock = new FakeClock();
  rush = new Rush(0, clock);
  asked = [];
  answers = [];
  const { runtime } = new FakeRuntime({ clock });
  const runPodSandbox: RuntimeService['runPodSandbox'] = (config) => {
    asked.push(config.metadata?.name ?? '');
    answers.push(Promise.withResolvers<string>());
    return answers.at(-1)!.promise;
  };
  paced = pacedStarts({ ...runtime, runPodSandbox }, { rush, sandboxes: new Slots(1), clock });
});

const start = (name: string, signal?: AbortSignal) =>
  paced.runPodSandbox({ metadata: { name } }, '', signal === undefined ? {} : { signal });

test('a sandbox that is being started is urgent work, a look at the runtime is not', async () => {
  const looking = paced.version();
  expect(rush.isOn).toBe(false);
  await looking;
  const starting = start('a');
  expect(rush.isOn).toBe(true);
  await clock.advance(0);
  answers[0]!.resolve('an id');
  expect(await starting).toBe('an id');
  expect(rush.isOn).toBe(false);
});

describe('of sandboxes beyond the limit', () => {
  test('the next begins when one is made', async () => {
    const [first, second] = [start('a'), start('b')];
    await clock.advance(0);
    expect(asked).toEqual(['a']);
    answers[0]!.resolve('1');
    expect(await first).toBe('1');
    await clock.advance(0);
    expect(asked).toEqual(['a', 'b']);
    answers[1]!.resolve('2');
    expect(await second).toBe('2');
  });

  test('the next begins when one failed', async () => {
    const [first, second] = [start('a'), start('b')];
    await clock.advance(0);
    answers[0]!.reject(new Error('no network'));
    await expect(first).rejects.toThrow('no network');
    await clock.advance(0);
    answers[1]!.resolve('2');
    expect(await second).toBe('2');
  });

  test('one that hangs holds up the others for five seconds', async () => {
    void start('hangs');
    void start('b');
    await clock.advance(999);
    expect(asked).toEqual(['hangs']);
    await clock.advance(1);
    expect(asked).toEqual(['hangs', 'b']);
  });

  test('one that is called off while it waits is never made', async () => {
    void start('a');
    const stop = new AbortController();
    const waiting = start('b', stop.signal);
    await clock.advance(0);
    stop.abort(new Error('deleted'));
    await expect(waiting).rejects.toThrow('deleted');
    answers[0]!.resolve('1');
    await clock.advance(10_000);
    expect(asked).toEqual(['a']);
  });
});
