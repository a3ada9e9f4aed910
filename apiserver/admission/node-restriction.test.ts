import { describe, expect, test } from 'vitest';
import type { KubeObject } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import type { AdmissionRequest } from '../admission.ts';
import type { AuthorizationAttributes, Authorizer } from '../auth/authorizer.ts';
import { readerOf } from '../registry/fake-reader.ts';
import { nodeRestriction } from './node-restriction.ts';

const nobody: Authorizer = { authorize: () => ({ decision: 'no-opinion', reason: '' }) };

/** What node n1 is told, undefined when it may. */
async function verdict(
  request: Partial<AdmissionRequest>,
  objects: Readonly<Record<string, readonly object[]>> = {},
  authorizer: Authorizer = nobody,
): Promise<string | undefined> {
  const whole: AdmissionRequest = {
    operation: 'UPDATE',
    user: { name: 'system:node:n1', groups: ['system:nodes'] },
    group: '',
    version: 'v1',
    resource: 'pods',
    subresource: '',
    kind: '',
    namespace: 'ns',
    name: 'x',
    dryRun: false,
    warn: () => {},
    ...request,
  };
  try {
    await nodeRestriction(readerOf(objects), authorizer).validate?.(whole);
    return undefined;
  } catch (err) {
    return (err as Error).message;
  }
}

describe('status of a pod', () => {
  const pod = (status: object, labels: object = {}) =>
    ({ metadata: { namespace: 'ns', name: 'x', labels }, spec: { nodeName: 'n1', containers: [] }, status }) as Pod;
  const change = (next: Pod, old: Pod) => verdict({ subresource: 'status', object: next, oldObject: old });
  const claims = { resourceClaimStatuses: [{ name: 'a', resourceClaimName: 'x-a' }] };

  test('a node leaves labels and the claims that were made for the pod as they are', async () => {
    expect(await change(pod({ phase: 'Running', ...claims }), pod(claims))).toBeUndefined();
    expect(await change(pod({}), pod({ resourceClaimStatuses: [] }))).toBeUndefined();
    expect(await change(pod({}), pod(claims))).toContain('node "n1" cannot update resource claim statues');
    expect(await change(pod(claims), pod({}))).toContain('cannot update resource claim statues');
    const extended = { extendedResourceClaimStatus: { resourceClaimName: 'c', requestMappings: [] } };
    expect(await change(pod(extended), pod(extended))).toBeUndefined();
    expect(await change(pod({}), pod(extended))).toContain('node "n1" cannot update extended resource claim status');
    expect(await change(pod({}, { a: 'b' }), pod({}))).toContain('node "n1" cannot update labels through pod status');
  });

  test("nothing else below a pod is the node's to write", async () => {
    const old = pod({});
    expect(await verdict({ subresource: 'resize', object: old, oldObject: old })).toBe(
      'pods "x" is forbidden: unexpected pod subresource "resize", only \'status\' and \'eviction\' are allowed',
    );
  });
});

describe('a claim', () => {
  const claim = (status: object, metadata: object = {}, spec: object = { volumeName: 'v' }) => ({
    metadata: { namespace: 'ns', name: 'x', ...metadata },
    spec,
    status,
  });
  const change = (next: object, subresource = 'status') =>
    verdict({
      resource: 'persistentvolumeclaims',
      subresource,
      object: next as KubeObject,
      oldObject: claim({ phase: 'Bound', capacity: { storage: '1Gi' } }, { resourceVersion: '3' }) as KubeObject,
    });
  const refusal = 'node "n1" is not allowed to update fields other than status.quantity and status.conditions';

  test("its growth is the node's to tell", async () => {
    const grown = {
      phase: 'Bound',
      capacity: { storage: '2Gi' },
      conditions: [{ type: 'NodeResizeError', status: 'True' }],
      allocatedResources: { storage: '2Gi' },
      allocatedResourceStatuses: { storage: 'NodeResizeInProgress' },
    };
    expect(await change(claim(grown))).toBeUndefined();
  });

  test('its phase, its spec and its metadata are not', async () => {
    expect(await change(claim({ phase: 'Lost', capacity: { storage: '1Gi' } }))).toContain(refusal);
    expect(await change(claim({ phase: 'Bound' }, { labels: { a: 'b' } }))).toContain(refusal);
    expect(await change(claim({ phase: 'Bound' }, {}, { volumeName: 'w' }))).toContain(refusal);
    expect(await change(claim({ phase: 'Bound' }), '')).toContain('may only update PVC status');
  });
});

describe('tokens', () => {
  const volumes = [
    { name: 'api', projected: { sources: [{ serviceAccountToken: { path: 't' } }] } },
    { name: 'vault', projected: { sources: [{ serviceAccountToken: { path: 't', audience: 'vault' } }] } },
    { name: 'inline', csi: { driver: 'inline.example.com' } },
    { name: 'data', persistentVolumeClaim: { claimName: 'data' } },
    { name: 'own', ephemeral: { volumeClaimTemplate: {} } },
  ];
  const pod = { metadata: { namespace: 'ns', name: 'p', uid: 'u1' }, spec: { nodeName: 'n1', volumes } };
  const driver = (name: string, ...audiences: string[]) => ({
    metadata: { name: `${name}.example.com` },
    spec: { tokenRequests: audiences.map((audience) => ({ audience })) },
  });
  const volume = (name: string) => ({ metadata: { name }, spec: { csi: { driver: `${name}.example.com` } } });
  const claim = (name: string, volumeName: string) => ({ metadata: { namespace: 'ns', name }, spec: { volumeName } });
  const objects = {
    pods: [pod],
    csidrivers: [driver('inline', 'one'), driver('bound', 'two', 'three'), driver('made', 'four')],
    persistentvolumes: [volume('bound'), volume('made')],
    persistentvolumeclaims: [claim('data', 'bound'), claim('p-own', 'made')],
  };
  const ref = { apiVersion: 'v1', kind: 'Pod', name: 'p', uid: 'u1' };
  const ask = (audiences: string[], boundObjectRef: object = ref, authorizer?: Authorizer) =>
    verdict(
      {
        operation: 'CREATE',
        resource: 'serviceaccounts',
        subresource: 'token',
        name: 'robot',
        object: { spec: { audiences, boundObjectRef } } as KubeObject,
      },
      objects,
      authorizer,
    );

  test('speak to whom the pod speaks to: projected tokens, and drivers of its volumes', async () => {
    for (const audience of ['vault', 'one', 'two', 'three', 'four']) expect(await ask([audience])).toBeUndefined();
    expect(await ask([])).toBeUndefined();
    expect(await ask(['elsewhere'])).toContain('audience "elsewhere" not found in pod spec volume');
    expect(await ask(['one', 'two'])).toContain('node may only request 0 or 1 audiences');
  });

  test('speak to others where a rule says so', async () => {
    const seen: AuthorizationAttributes[] = [];
    const rule: Authorizer = {
      authorize: (a) => {
        seen.push(a);
        return { decision: a.resource === 'registry' ? 'allow' : 'no-opinion', reason: '' };
      },
    };
    expect(await ask(['registry'], ref, rule)).toBeUndefined();
    expect(await ask(['elsewhere'], ref, rule)).toContain('not found in pod spec volume');
    expect(seen[0]).toMatchObject({
      verb: 'request-serviceaccounts-token-audience',
      resource: 'registry',
      namespace: 'ns',
      name: 'robot',
      user: { name: 'system:node:n1' },
    });
  });

  test('are bound to a pod that is there, of this node', async () => {
    expect(await ask([], { ...ref, uid: undefined })).toContain('a pod binding without a uid');
    expect(await ask([], { ...ref, kind: 'Node' })).toContain('node requested token not bound to a pod');
    expect(await ask([], { ...ref, uid: 'u2' })).toContain('the UID in the bound object reference (u2) does not match');
    expect(await ask([], { ...ref, name: 'gone' })).toBe('pods "gone" not found');
  });
});

test('a mirror pod names nothing in the API, and its owner is this very node', async () => {
  const owner = { apiVersion: 'v1', kind: 'Node', name: 'n1', uid: 'node-uid', controller: true };
  const mirror = (spec: object, owners: object[] = [owner]) =>
    verdict(
      {
        operation: 'CREATE',
        object: {
          metadata: { name: 'm', annotations: { 'kubernetes.io/config.mirror': 'h' }, ownerReferences: owners },
          spec: { nodeName: 'n1', containers: [], ...spec },
        } as KubeObject,
      },
      { nodes: [{ metadata: { name: 'n1', uid: 'node-uid' } }] },
    );
  const volume = (source: object) => ({ volumes: [{ name: 'v', ...source }] });
  expect(await mirror({})).toBeUndefined();
  expect(await mirror(volume({ secret: { secretName: 's' } }))).toContain('that reference secrets');
  expect(await mirror(volume({ configMap: { name: 's' } }))).toContain('that reference configmaps');
  expect(await mirror(volume({ persistentVolumeClaim: { claimName: 's' } }))).toContain('persistentvolumeclaims');
  expect(await mirror(volume({ projected: { sources: [{ clusterTrustBundle: { path: 'a' } }] } }))).toContain(
    'that reference clustertrustbundles',
  );
  expect(await mirror(volume({ projected: { sources: [{ serviceAccountToken: { path: 'a' } }] } }))).toContain(
    'that reference serviceaccounts',
  );
  expect(await mirror(volume({ csi: { driver: 'd' } }))).toContain('that reference csidrivers (via CSI volumes)');
  expect(await mirror({ resourceClaims: [{ name: 'a', resourceClaimName: 'c' }] })).toContain('resourceclaims');
  expect(await mirror({ serviceAccountName: 'a' })).toContain('that reference serviceaccounts');
  expect(await mirror({}, [{ ...owner, uid: 'old' }])).toContain('UID mismatch: expected old got node-uid');
  expect(await mirror({}, [{ ...owner, controller: false }])).toContain('a controller owner reference');
});
