import { expect, test } from 'vitest';
import { Turns } from './turns.ts';

test('others get their turn while long work goes on', async () => {
  let others = 0;
  let running = true;
  const other = () => {
    others++;
    if (running) setImmediate(other);
  };
  setImmediate(other);
  const turns = new Turns();
  let taken = 0;
  while (taken < 3) {
    if (!turns.isDue) continue;
    await turns.next();
    taken++;
  }
  running = false;
  expect(others).toBeGreaterThanOrEqual(3);
});
