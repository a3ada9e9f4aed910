import { expect, test } from 'vitest';
import type { KubeObject } from '../../api/meta.ts';
import { OwnWrites } from './own-writes.ts';

const at = (resourceVersion: string, uid = 'u'): KubeObject => ({
  metadata: { namespace: 'default', name: 'a', uid, resourceVersion },
});

test('what was written counts until the cache is as new, and never for a successor of the same name', () => {
  const writes = new OwnWrites<KubeObject>();
  expect(writes.newest(at('5'))).toEqual(at('5'));
  writes.remember(at('10'));
  expect(writes.newest(at('9'))).toEqual(at('10')); // numbers, not texts
  expect(writes.newest(at('9', 'successor'))).toEqual(at('9', 'successor'));
  writes.remember(at('10'));
  expect(writes.newest(at('11'))).toEqual(at('11'));
  expect(writes.newest(at('9'))).toEqual(at('9')); // forgotten by then
  writes.remember(at('10'));
  writes.forget('default/a');
  expect(writes.newest(at('9'))).toEqual(at('9'));
});
