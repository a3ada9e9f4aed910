import { expect, test } from 'vitest';
import { compareVersions } from './meta.ts';

test.each([
  ['9', '10', -1],
  ['10', '9', 1],
  ['7', '7', 0],
  ['9007199254740993', '9007199254740992', 1],
  ['opaque', 'opaque', 0],
  ['opaque', '7', undefined],
  ['7', '', undefined],
])('of versions %j and %j: %s', (a, b, order) => {
  const objectOf = (resourceVersion: string) => ({ metadata: { resourceVersion } });
  const compared = compareVersions(objectOf(a), objectOf(b));
  expect(compared && Math.sign(compared)).toBe(order);
});
