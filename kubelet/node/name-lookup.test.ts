import { beforeEach, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { NameLookup } from './name-lookup.ts';

let clock: FakeClock;
let questions: PromiseWithResolvers<readonly string[]>[];
let lookup: NameLookup;

beforeEach(() => {
  clock = new FakeClock();
  questions = [];
  const ask = () => {
    const question = Promise.withResolvers<readonly string[]>();
    questions.push(question);
    return question.promise;
  };
  lookup = new NameLookup(ask, clock);
});

const soon = () => new Promise((resolve) => setImmediate(resolve));

test('the first one is waited for', async () => {
  const found = lookup.of('n1');
  questions[0]!.resolve(['10.0.0.1']);
  expect(await found).toEqual(['10.0.0.1']);
  expect(clock.sleeping).toBe(0);
});

test('but not for long; its answer counts when it comes', async () => {
  const found = lookup.of('n1');
  await clock.advance(2_000);
  expect(await found).toEqual([]);
  const again = lookup.of('n1');
  questions[0]!.resolve(['10.0.0.1']);
  expect(await again).toEqual(['10.0.0.1']);
  expect(questions).toHaveLength(1); // the resolver has one question at a time
});

test('later ones get what is known, and a new answer the next time', async () => {
  const first = lookup.of('n1');
  questions[0]!.resolve(['10.0.0.1']);
  await first;
  expect(await lookup.of('n1')).toEqual(['10.0.0.1']);
  questions[1]!.resolve(['10.0.0.2']);
  await soon();
  expect(await lookup.of('n1')).toEqual(['10.0.0.2']);
});

test('a name that is not there any more has no addresses', async () => {
  const first = lookup.of('n1');
  questions[0]!.resolve(['10.0.0.1']);
  await first;
  await lookup.of('n1');
  questions[1]!.reject(new Error('ENOTFOUND'));
  await soon();
  expect(await lookup.of('n1')).toEqual([]);
});
