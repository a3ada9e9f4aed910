import { expect, test } from 'vitest';
import { formatTable } from './text-table.ts';

test('columns are as wide as they need to be, and lines end with their last letter', () => {
  const rows = [
    ['NODE', 'IP', ''],
    ['a', '192.0.2.1', 'x'],
    ['node-12', '-', ''],
  ];
  expect(formatTable(rows)).toBe('NODE     IP\na        192.0.2.1  x\nnode-12  -');
  expect(formatTable([])).toBe('');
});
