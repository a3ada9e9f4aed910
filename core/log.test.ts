import { expect, test } from 'vitest';
import { changeLevel, createLogger, type LogOptions, levelOfVerbosity } from './log.ts';
import { textLine } from './text-log.ts';

function logger(opts: Omit<LogOptions, 'destination'>) {
  const lines: Record<string, unknown>[] = [];
  const destination = { write: (line: string) => void lines.push(JSON.parse(line) as Record<string, unknown>) };
  return { lines, log: createLogger({ ...opts, destination }) };
}

test.each([
  [0, 'info'],
  [3, 'info'],
  [4, 'debug'],
  [6, 'trace'],
  [99, 'trace'],
])('verbosity %d is %s', (verbosity, level) => {
  expect(levelOfVerbosity(verbosity)).toBe(level);
});

test('components that match have a level of their own, and so have their children', () => {
  const components = [
    { pattern: 'csi*', level: 'trace' },
    { pattern: 'p?eg', level: 'debug' },
  ] as const;
  const { lines, log } = logger({ level: 'info', components });
  log.debug('root');
  log.child({ component: 'csi-drivers' }).child({ driver: 'd' }).trace('csi');
  log.child({ component: 'pleg' }).debug('pleg');
  log.child({ component: 'pleg' }).trace('too fine');
  log.child({ component: 'plegs' }).debug('another');
  log.child({ component: 'lease' }).info('as all');
  expect(lines.map((line) => line.msg)).toEqual(['csi', 'pleg', 'as all']);
});

test('a line as klog writes it', () => {
  const at = new Date(2026, 10, 5, 4, 3, 2, 45); // local, as klog's lines are
  const line = {
    level: 'warn',
    time: at.toISOString(),
    component: 'pleg',
    pod: 'default/web',
    tookMs: 3,
    msg: 'a "b"',
  };
  expect(textLine(`${JSON.stringify(line)}\n`, 12)).toBe(
    'W1105 04:03:02.045000      12 pleg] "a \\"b\\"" pod="default/web" tookMs=3\n',
  );
});

test('an error is its message, a line break no second line', () => {
  const line = { level: 'error', time: '2026-01-01T00:00:00.000Z', msg: 'x', err: { message: 'no\nroom', stack: '…' } };
  expect(textLine(JSON.stringify(line), 1)).toMatch(/^E\d{4} [\d:.]+ {7}1 agent\] "x" err="no\\nroom"\n$/);
});

test('what is no JSON is left as it is', () => {
  expect(textLine('Segmentation fault\n', 1)).toBe('Segmentation fault\n');
});

test('every line of the logger can be written so', () => {
  const written: string[] = [];
  const log = createLogger({ level: 'info', destination: { write: (line) => void written.push(textLine(line, 7)) } });
  log.child({ component: 'volumes' }).error({ err: new Error('boom'), attempt: 2 }, 'mount failed');
  expect(written).toHaveLength(1);
  expect(written[0]).toMatch(/^E.* volumes\] "mount failed" err="boom" attempt=2\n$/);
});

test('a changed level holds for children that are there already, and for theirs', () => {
  const { lines, log } = logger({ level: 'info' });
  const child = log.child({ component: 'a' });
  const grandchild = child.child({ pod: 'p' });
  for (const one of [log, child, grandchild]) one.debug('before');
  changeLevel(log, 'debug');
  for (const one of [log, child, grandchild, log.child({ component: 'new' })]) one.debug('after');
  changeLevel(log, 'info');
  grandchild.debug('at the end');
  expect(lines.map((line) => line.msg)).toEqual(['after', 'after', 'after', 'after']);
});

test('a component with a level of its own keeps it when the others change', () => {
  const { lines, log } = logger({ level: 'info', components: [{ pattern: 'quiet*', level: 'error' }] });
  const child = log.child({ component: 'quiet-one' });
  changeLevel(log, 'trace');
  child.warn('unheard');
  child.error('heard');
  expect(lines.map((line) => line.msg)).toEqual(['heard']);
});
