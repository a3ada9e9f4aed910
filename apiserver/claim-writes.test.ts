// Writes about claims of devices through the whole server but HTTP: defaults, validation, status, selection.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type ResourceClaim, type ResourceSlice, resourceClaims, resourceSlices } from '../api/resource-claims.ts';
import { namespaces } from '../api/resources.ts';
import type { ApiClient } from '../client/api-client.ts';
import { createApiServer } from '../test/harness/api-server.ts';
import type { ApiServer } from './apiserver.ts';

let dir: string;
let server: ApiServer;
let client: ApiClient;

beforeAll(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'claim-writes-test-'));
  server = createApiServer(dir);
  client = server.client();
  await client.create(namespaces, {}, { metadata: { name: 'default' } });
});

afterAll(async () => {
  await server.close();
  rmSync(dir, { recursive: true });
});

const at = { namespace: 'default', name: 'gpu' };

test('a claim is made, given devices, reserved, and goes', async () => {
  const spec = { devices: { requests: [{ name: 'r', exactly: { deviceClassName: 'c' } }] } };
  const made = await client.create<ResourceClaim>(resourceClaims, at, {
    metadata: { name: 'gpu' },
    spec,
    status: { reservedFor: [] },
  } as ResourceClaim);
  expect(made).toMatchObject({
    apiVersion: 'resource.k8s.io/v1',
    status: {},
    spec: { devices: { requests: [{ exactly: { allocationMode: 'ExactCount', count: 1 } }] } },
  });
  const allocation = { devices: { results: [{ request: 'r', driver: 'd', pool: 'p', device: 'x' }] } };
  const status = { allocation, reservedFor: [{ resource: 'pods', name: 'web', uid: 'u' }] };
  const body = { metadata: { labels: { a: 'b' } }, spec: {}, status };
  const given = await client.patch(resourceClaims, at, { type: 'merge', body }, { subresource: 'status' });
  expect(given).toMatchObject({ status, spec: made.spec });
  expect(given.metadata?.labels).toBeUndefined();
  const taken = { status: { allocation: null } };
  await expect(
    client.patch(resourceClaims, at, { type: 'merge', body: taken }, { subresource: 'status' }),
  ).rejects.toThrow('status.reservedFor: Forbidden: may not be specified when `allocated` is not set');
  const other = { spec: { devices: { requests: [] } } };
  await expect(client.patch(resourceClaims, at, { type: 'merge', body: other })).rejects.toThrow('field is immutable');
  await client.delete(resourceClaims, at);
  await expect(client.get(resourceClaims, at)).rejects.toThrow('resourceclaims.resource.k8s.io "gpu" not found');
});

test('slices are selected by node and driver', async () => {
  const slice = (name: string, nodeName: string, driver: string): ResourceSlice => ({
    metadata: { name },
    spec: { driver, nodeName, pool: { name: nodeName, generation: 1, resourceSliceCount: 1 } } as NonNullable<
      ResourceSlice['spec']
    >,
  });
  const all = [slice('1', 'n', 'a.x'), slice('2', 'n', 'b.x'), slice('3', 'm', 'a.x')];
  for (const object of all) await client.create(resourceSlices, {}, object);
  const names = async (fieldSelector: string) =>
    (await client.list(resourceSlices, { fieldSelector })).items.map((s) => s.metadata?.name);
  expect(await names('spec.nodeName=n')).toEqual(['1', '2']);
  expect(await names('spec.driver=a.x,spec.nodeName=m')).toEqual(['3']);
});
