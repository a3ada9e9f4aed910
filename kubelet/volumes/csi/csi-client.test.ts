import { expect, test } from 'vitest';
import { CsiClient } from './csi-client.ts';

test('a call is counted under the code that Go has for how it ended', async () => {
  const seen: string[] = [];
  using client = new CsiClient('/nonexistent.sock', { observe: (method, status) => seen.push(`${method} ${status}`) });
  await expect(client.capabilities(AbortSignal.abort())).rejects.toMatchObject({ grpcCode: 'CANCELLED' });
  await expect(client.capabilities(new AbortController().signal)).rejects.toMatchObject({ grpcCode: 'UNAVAILABLE' });
  const method = '/csi.v1.Node/NodeGetCapabilities';
  expect(seen).toEqual([`${method} Canceled`, `${method} Unavailable`]);
});
