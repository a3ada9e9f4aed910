import { expect, test } from 'vitest';
import { servedBy } from './server-part.ts';

test('an endpoint whose gate is off is not there, others are', () => {
  const answer = (): void => {};
  const handlers = { checkpoint: answer, statusz: answer, flagz: answer, configz: answer };
  const gates = new Map([
    ['ContainerCheckpoint', false],
    ['ComponentStatusz', true],
    ['ComponentFlagz', false],
  ]);
  expect(servedBy(gates, handlers)).toEqual({ statusz: answer, configz: answer });
});
