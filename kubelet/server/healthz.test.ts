import { expect, test } from 'vitest';
import { answerCheck, answerHealthz, pingCheck } from './healthz.ts';

const stuck = { name: 'syncloop', error: () => 'sync Loop took longer than expected' };
const answer = (query: string, checks = [pingCheck, stuck]) => answerHealthz(checks, new URLSearchParams(query));

test('ok, in one word or check by check', () => {
  expect(answer('', [pingCheck])).toEqual({ code: 200, text: 'ok' });
  expect(answer('verbose', [pingCheck])).toEqual({ code: 200, text: '[+]ping ok\nhealthz check passed\n' });
});

test('one check that fails fails all, unless it is excluded', () => {
  const lines = '[+]ping ok\n[-]syncloop failed: reason withheld\nhealthz check failed\n';
  expect(answer('')).toEqual({ code: 500, text: lines });
  expect(answer('exclude=syncloop')).toEqual({ code: 200, text: 'ok' });
  expect(answer('verbose&exclude=syncloop&exclude=x').text).toBe(
    '[+]ping ok\n[+]syncloop excluded: ok\nwarn: some health checks cannot be excluded: no matches for "x"\nhealthz check passed\n',
  );
});

test('one check alone says why', () => {
  expect(answerCheck([stuck], 'syncloop')).toEqual({
    code: 500,
    text: 'internal server error: sync Loop took longer than expected\n',
  });
  expect(answerCheck([pingCheck], 'ping')).toEqual({ code: 200, text: 'ok' });
  expect(answerCheck([pingCheck], 'x')).toBeUndefined();
});
