import { expect, test } from 'vitest';
import { sandboxImage } from './sandbox-image.ts';

const told = (info: Record<string, string>) => ({ status: async () => ({ info }) }) as never;

test.each([
  [{ config: '{"sandboxImage":"pause:3.10","other":1}' }, 'pause:3.10'],
  [{ config: '{"pinnedImages":{}}' }, undefined],
  [{ config: 'crio.conf' }, undefined],
  [{}, undefined],
])('the image of sandboxes in %j', async (info, name) => {
  expect(await sandboxImage(told(info as Record<string, string>))).toBe(name);
});
