import { expect, test } from 'vitest';
import { judgeRefusal } from './whole-check.ts';

const check = { document: '', busyLines: [1, 3] };
const busy = (line: number) => `/dev/stdin:${line}:26-36: Error: Could not process rule: Device or resource busy
delete map ip kube-proxy service-ips
                         ^^^^^^^^^^^`;
const gone = (line: number) => `/dev/stdin:${line}:18-21: Error: No such file or directory; did you mean chain ‘pre’?
flush chain ip t nope
                 ^^^^`;

test.each([
  ['every line that must be busy is', [busy(1), busy(3)], 'whole'],
  ['one of them would be deleted', [busy(3)], 'broken'],
  ['another line finds nothing', [busy(1), gone(2), busy(3)], 'broken'],
  ['there is nothing at all', [gone(1), gone(2), gone(3)], 'broken'],
  [
    'the kernel refuses for a reason of its own',
    [busy(1), busy(3).replace(/Device.*busy/, 'Out of memory')],
    'unclear',
  ],
  ['the tool says something else', ['nft: error while loading shared libraries'], 'unclear'],
] as const)('%s: %3$s', (_what, words, verdict) => {
  expect(judgeRefusal(words.join('\n'), check)).toBe(verdict);
});

test('nothing is refused, so nothing is in use: broken', () => {
  expect(judgeRefusal(undefined, check)).toBe('broken');
});
