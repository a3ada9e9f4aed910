import { expect, test } from 'vitest';
import { aggregateMessage } from './errors.ts';

test.each([
  [['only'], 'only'],
  [['a', 'b', 'a'], '[a, b]'],
  [['same', 'same'], 'same'],
])('%j read together', (messages, text) => {
  expect(aggregateMessage(messages)).toBe(text);
});
