import { expect, test } from 'vitest';
import { hasOptions, journalArguments, parseNodeLogQuery } from './node-log-query.ts';

const parse = (query: string) => parseNodeLogQuery(new URLSearchParams(query));

test('services with options', () => {
  const query = parse(
    'query=kubelet&query=crio.service&sinceTime=2026-01-02T03:04:05Z&untilTime=2026-01-02T04:04:05%2B00:00&tailLines=10&pattern=fail.*&boot=-1',
  )!;
  expect(query).toEqual({
    services: ['kubelet', 'crio.service'],
    files: [],
    sinceMs: Date.parse('2026-01-02T03:04:05Z'),
    untilMs: Date.parse('2026-01-02T04:04:05Z'),
    tailLines: 10,
    pattern: 'fail.*',
    boot: -1,
  });
  expect(hasOptions(query)).toBe(true);
  expect(journalArguments(query.services, query)).toEqual([
    '--utc',
    '--no-pager',
    '--output=short-precise',
    '--since=2026-01-02 03:04:05',
    '--until=2026-01-02 04:04:05',
    '--pager-end',
    '--lines=10',
    '--unit=kubelet',
    '--unit=crio.service',
    '--grep=fail.*',
    '--case-sensitive=false',
    '--boot',
    '-1',
  ]);
});

test('a query with a slash of either kind is a file, and none at all is a path', () => {
  expect(parse('query=/syslog')).toEqual({ services: [], files: ['/syslog'] });
  expect(parse('query=a%5Cb')).toEqual({ services: [], files: ['a/b'] });
  expect(parse('')).toBeUndefined();
  expect(parse('other=1')).toBeUndefined();
  expect(hasOptions(parse('query=kubelet')!)).toBe(false);
});

test.each([
  ['query=', 400, 'query cannot be empty'],
  ['query=%20%20', 400, 'query cannot be empty'],
  ['query=a&sinceTime=yesterday', 400, 'sinceTime: Invalid value: "yesterday": invalid time format'],
  ['query=a&tailLines=1.5&boot=x', 400, '[boot: Invalid value: "x"'],
  ['tailLines=5', 406, 'query: Required value: cannot be empty with options'],
  ['query=a&query=/b', 406, 'cannot specify a file and service'],
  ['query=/a&query=/b', 406, 'cannot specify more than one file'],
  ['query=/a&tailLines=5', 406, 'cannot specify file with options'],
  ['query=a&query=b&query=c&query=d&query=e', 406, 'cannot specify more than 4 services'],
  [`query=${'a'.repeat(257)}`, 406, 'length must be less than 256'],
  ['query=a;reboot', 406, 'input contains unsupported characters'],
  ['query=$(reboot)', 406, 'input contains unsupported characters'],
  ['query=a%0A', 406, 'input contains unsupported characters'],
  ['query=a&sinceTime=2026-01-02T03:04:05Z&untilTime=2026-01-02T03:04:04Z', 406, 'must be after `sinceTime`'],
  ['query=a&boot=1', 406, 'boot: Invalid value: 1: must be less than 1'],
  ['query=a&tailLines=100001', 406, 'must be between 0 and 100000, inclusive'],
  ['query=a&tailLines=-1', 406, 'must be between 0 and 100000, inclusive'],
  ['query=a&pattern=%28', 406, 'error parsing regexp'],
  ['query=a&pattern=a%0Ab', 406, 'must be one line'],
  [`query=a&pattern=${'a'.repeat(1025)}`, 406, 'at most 1024 bytes'],
])('%s is refused with %i', (query, code, message) => {
  expect(() => parse(query)).toThrow(expect.objectContaining({ code, message: expect.stringContaining(message) }));
});

test('what looks like an option of journalctl stays the value of one', () => {
  const query = parse('query=-b&query=--flush&pattern=--rotate&boot=-3')!;
  expect(journalArguments(query.services, query).slice(3)).toEqual([
    '--unit=-b',
    '--unit=--flush',
    '--grep=--rotate',
    '--case-sensitive=false',
    '--boot',
    '-3',
  ]);
});
