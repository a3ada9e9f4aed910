import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { processState, whatIsLeft } from './harness/process-state.ts';

test('nothing is left by a file that only computes', () => {
  expect(whatIsLeft(processState(), processState())).toEqual([]);
});

test.each<[string, string, () => () => void]>([
  [
    'an interval',
    'open Timeout',
    () => {
      const timer = setInterval(() => {}, 60_000);
      return () => clearInterval(timer);
    },
  ],
  [
    'a server',
    'open TCPServerWrap',
    () => {
      const server = createServer().listen(0);
      return () => server.close();
    },
  ],
  [
    'a listener',
    'listeners of process: SIGHUP',
    () => {
      const listener = () => {};
      process.on('SIGHUP', listener);
      return () => process.off('SIGHUP', listener);
    },
  ],
  [
    'an environment variable',
    'environment variable NODELET_LEFT',
    () => {
      process.env.NODELET_LEFT = '1';
      return () => delete process.env.NODELET_LEFT;
    },
  ],
  [
    'a directory',
    'working directory',
    () => {
      const before = process.cwd();
      process.chdir('/');
      return () => process.chdir(before);
    },
  ],
  [
    'a clock',
    'globalThis.Date',
    () => {
      const before = globalThis.Date;
      globalThis.Date = class extends Date {} as DateConstructor;
      return () => {
        globalThis.Date = before;
      };
    },
  ],
])('a file that leaves %s is told of it', (_what, told, leave) => {
  const before = processState();
  const undo = leave();
  const left = whatIsLeft(before, processState());
  undo();
  expect(left).toEqual([told]);
});
