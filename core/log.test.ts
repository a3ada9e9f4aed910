import { expect, test } from 'vitest';
import { changeLevel, createLogger } from './log.ts';

function loggerWith(components: { pattern: string; level: 'debug' | 'error' }[] = []) {
  const lines: string[] = [];
  const log = createLogger({ level: 'info', components, destination: { write: (line) => void lines.push(line) } });
  return { log, messages: () => lines.map((line) => (JSON.parse(line) as { msg: string }).msg) };
}

test('a changed level holds for children that are there already, and for theirs', () => {
  const { log, messages } = loggerWith();
  const child = log.child({ component: 'a' });
  const grandchild = child.child({ pod: 'p' });
  for (const one of [log, child, grandchild]) one.debug('before');
  changeLevel(log, 'debug');
  log.debug('root');
  child.debug('child');
  grandchild.debug('grandchild');
  log.child({ component: 'new' }).debug('new');
  expect(messages()).toEqual(['root', 'child', 'grandchild', 'new']);
  changeLevel(log, 'info');
  grandchild.debug('after');
  expect(messages().length).toBe(4);
});

test('a component with a level of its own keeps it', () => {
  const { log, messages } = loggerWith([{ pattern: 'quiet*', level: 'error' }]);
  const child = log.child({ component: 'quiet-one' });
  changeLevel(log, 'trace');
  child.warn('unheard');
  child.error('heard');
  expect(messages()).toEqual(['heard']);
});
