import { expect, test } from 'vitest';
import { counters, increase } from './traffic.ts';

const TEXT = `# TYPE calls_total counter
calls_total{code="200",method="GET"} 3
calls_total{code="404",method="GET"} 1
calls_total{method="PUT",code="200"} 2
calls_total_other{method="GET"} 9
`;

test('samples are summed by one label', () => {
  expect(counters(TEXT, 'calls_total', 'method')).toEqual(
    new Map([
      ['GET', 4],
      ['PUT', 2],
    ]),
  );
});

test('only what has grown is an increase', () => {
  const before = new Map([
    ['a', 1],
    ['b', 2],
  ]);
  expect(
    increase(
      before,
      new Map([
        ['a', 1],
        ['b', 5],
        ['c', 1],
      ]),
    ),
  ).toEqual(
    new Map([
      ['b', 3],
      ['c', 1],
    ]),
  );
});
