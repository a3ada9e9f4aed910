import type { PolicyRule } from 'kubernetes-types/rbac/v1.js';
import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { isOwnLabel } from '../admission/node-restriction.ts';
import { readerOf } from '../registry/fake-reader.ts';
import { AuthorizerChain, privilegedGroup } from './authorization.ts';
import type { AuthorizationAttributes, Authorizer } from './authorizer.ts';
import { wantedUser } from './impersonation.ts';
import { nodeFault, nodeNameOf } from './node-authorizer.ts';
import { referencesOf } from './node-references.ts';
import { RbacAuthorizer, ruleAllows, subjectIs } from './rbac.ts';

const attributes = (more: Partial<AuthorizationAttributes>): AuthorizationAttributes => ({
  user: { name: 'jane', groups: ['developers'] },
  isResource: true,
  verb: 'get',
  group: '',
  version: 'v1',
  resource: 'pods',
  subresource: '',
  namespace: 'default',
  name: '',
  path: '',
  ...more,
});

test.each<[string, Partial<PolicyRule>, Partial<AuthorizationAttributes>, boolean]>([
  ['plain', { resources: ['pods'] }, {}, true],
  ['another verb', { resources: ['pods'], verbs: ['list'] }, {}, false],
  ['another group', { resources: ['pods'], apiGroups: ['apps'] }, {}, false],
  ['a resource does not include its subresources', { resources: ['pods'] }, { subresource: 'log' }, false],
  ['one subresource', { resources: ['pods/log'] }, { subresource: 'log' }, true],
  ['a subresource of any resource', { resources: ['*/scale'] }, { resource: 'x', subresource: 'scale' }, true],
  ['everything', { resources: ['*'], verbs: ['*'], apiGroups: ['*'] }, { verb: 'patch', subresource: 'exec' }, true],
  ['a named object', { resources: ['pods'], resourceNames: ['a'] }, { name: 'a' }, true],
  ['another object', { resources: ['pods'], resourceNames: ['a'] }, { name: 'b' }, false],
  [
    'all objects where one is named',
    { resources: ['pods'], verbs: ['*'], resourceNames: ['a'] },
    { verb: 'list' },
    false,
  ],
  [
    'the one object that a list selects',
    { resources: ['pods'], verbs: ['*'], resourceNames: ['a'] },
    { verb: 'list', fieldSelector: 'metadata.name=a' },
    true,
  ],
  ['a path', { nonResourceURLs: ['/api/*'] }, { isResource: false, path: '/api/v1' }, true],
  ['another path', { nonResourceURLs: ['/api/*'] }, { isResource: false, path: '/apis' }, false],
  ['a rule for resources says nothing about paths', { resources: ['*'] }, { isResource: false, path: '/api' }, false],
])('rule: %s', (_, rule, request, allowed) => {
  expect(ruleAllows({ verbs: ['get'], apiGroups: [''], ...rule }, attributes(request))).toBe(allowed);
});

test('whom a binding means', () => {
  const robot = { name: 'system:serviceaccount:ns:robot', groups: [] };
  expect(subjectIs({ kind: 'ServiceAccount', name: 'robot' }, robot, 'ns')).toBe(true);
  expect(subjectIs({ kind: 'ServiceAccount', name: 'robot' }, robot, 'other')).toBe(false);
  expect(subjectIs({ kind: 'Group', name: 'jane' }, { name: 'jane', groups: [] }, '')).toBe(false);
  expect(subjectIs({ kind: 'Robot', name: 'jane' }, { name: 'jane', groups: [] }, '')).toBe(false);
});

test('an aggregated role is the sum of those it selects; a binding to a missing role gives nothing', () => {
  const rules = [{ verbs: ['get'], apiGroups: [''], resources: ['pods'] }];
  const subjects = [{ kind: 'User', name: 'jane' }];
  const bind = (name: string) => ({ metadata: { name }, roleRef: { kind: 'ClusterRole', name }, subjects });
  const part = { metadata: { name: 'part', labels: { add: 'yes' } }, rules };
  const clusterRoleSelectors = [{ matchLabels: { add: 'yes' } }];
  const sum = { metadata: { name: 'sum' }, aggregationRule: { clusterRoleSelectors } };
  const rbac = new RbacAuthorizer(
    readerOf({ clusterroles: [part, sum], clusterrolebindings: [bind('gone'), bind('sum')] }),
  );
  expect(rbac.authorize(attributes({})).decision).toBe('allow');
  expect(rbac.authorize(attributes({ verb: 'delete' })).decision).toBe('no-opinion');
  expect(rbac.rulesFor({ name: 'jane', groups: [] }, '')).toEqual(rules);
});

test('the first that decides ends the chain, and reasons of the others are told', async () => {
  const deny: Authorizer = { authorize: () => ({ decision: 'deny', reason: 'no' }) };
  const shrug: Authorizer = { authorize: () => ({ decision: 'no-opinion', reason: 'who knows' }) };
  const master = attributes({ user: { name: 'a', groups: ['system:masters'] } });
  expect((await new AuthorizerChain([privilegedGroup, deny]).authorize(master)).decision).toBe('allow');
  const answer = await new AuthorizerChain([shrug, privilegedGroup, shrug]).authorize(attributes({}));
  expect(answer).toEqual({ decision: 'no-opinion', reason: 'who knows, who knows' });
});

test('a node is one by name and by group', () => {
  expect(nodeNameOf({ name: 'system:node:n1', groups: ['system:nodes'] })).toBe('n1');
  expect(nodeNameOf({ name: 'system:node:n1', groups: [] })).toBeUndefined();
  expect(nodeNameOf({ name: 'system:node:', groups: ['system:nodes'] })).toBeUndefined();
});

const pod = {
  metadata: { namespace: 'default', name: 'p' },
  spec: {
    nodeName: 'n1',
    serviceAccountName: 'sa',
    imagePullSecrets: [{ name: 'pull' }],
    initContainers: [{ name: 'i', env: [{ name: 'A', valueFrom: { secretKeyRef: { name: 'env', key: 'k' } } }] }],
    containers: [{ name: 'c', envFrom: [{ secretRef: { name: 'all' } }, { configMapRef: { name: 'settings' } }] }],
    volumes: [
      { name: 'a', secret: { secretName: 'files' } },
      { name: 'b', projected: { sources: [{ secret: { name: 'part' } }, { configMap: { name: 'root' } }] } },
      { name: 'c', persistentVolumeClaim: { claimName: 'data' } },
      { name: 'd', ephemeral: { volumeClaimTemplate: { spec: {} } } },
    ],
  },
} as unknown as Pod;

test('what a pod names', () => {
  expect(referencesOf(pod, 'secrets').sort()).toEqual(['all', 'env', 'files', 'part', 'pull']);
  expect(referencesOf(pod, 'configmaps').sort()).toEqual(['root', 'settings']);
  expect(referencesOf(pod, 'persistentvolumeclaims')).toEqual(['data', 'p-d']);
  expect(referencesOf(pod, 'serviceaccounts')).toEqual(['sa']);
});

test('a node reads the resource claims of its pods, one at a time, and lists the slices of its own', () => {
  const withClaims = {
    metadata: { namespace: 'default', name: 'p' },
    spec: { nodeName: 'n1', resourceClaims: [{ name: 'a', resourceClaimName: 'named' }] },
    status: {
      resourceClaimStatuses: [{ name: 'b', resourceClaimName: 'made' }, { name: 'c' }],
      extendedResourceClaimStatus: { resourceClaimName: 'extended', requestMappings: [] },
    },
  } as unknown as Pod;
  expect(referencesOf(withClaims, 'resourceclaims')).toEqual(['named', 'made', 'extended']);
  const reader = readerOf({
    pods: [withClaims],
    resourceslices: [{ metadata: { name: 's' }, spec: { driver: 'd', nodeName: 'n1' } }],
  });
  const fault = (node: string, more: Partial<AuthorizationAttributes>) =>
    nodeFault(reader, node, attributes({ group: 'resource.k8s.io', ...more }));
  const claim = { resource: 'resourceclaims', name: 'made' };
  expect(fault('n1', claim)).toBeUndefined();
  expect(fault('n2', claim)).toContain('no relationship');
  for (const verb of ['list', 'watch', 'update', 'delete']) expect(fault('n1', { ...claim, verb })).toBeDefined();
  const slices = { resource: 'resourceslices', namespace: '' };
  for (const verb of ['list', 'watch', 'deletecollection']) {
    expect(fault('n1', { ...slices, verb, fieldSelector: 'spec.driver=d,spec.nodeName=n1' })).toBeUndefined();
    expect(fault('n1', { ...slices, verb, fieldSelector: 'spec.nodeName=n2' })).toContain('field selector');
    expect(fault('n1', { ...slices, verb })).toContain('field selector');
  }
  expect(fault('n1', { ...slices, verb: 'delete', name: 's' })).toBeUndefined();
  expect(fault('n2', { ...slices, verb: 'delete', name: 's' })).toContain('no relationship');
  expect(fault('n1', { ...slices, verb: 'get', name: 'gone' })).toContain('no relationship');
});

test('a node reaches a volume through the claim of its pod, and its own attachments', () => {
  const volume = { metadata: { name: 'pv' }, spec: { claimRef: { namespace: 'default', name: 'data' } } };
  const attachment = { metadata: { name: 'at' }, spec: { nodeName: 'n1' } };
  const reader = readerOf({ pods: [pod], persistentvolumes: [volume], volumeattachments: [attachment] });
  const fault = (node: string, more: Partial<AuthorizationAttributes>) =>
    nodeFault(reader, node, attributes({ namespace: '', ...more }));
  const attached = { group: 'storage.k8s.io', resource: 'volumeattachments', name: 'at' };
  expect(fault('n1', { resource: 'persistentvolumes', name: 'pv' })).toBeUndefined();
  expect(fault('n2', { resource: 'persistentvolumes', name: 'pv' })).toContain('no relationship');
  expect(fault('n1', attached)).toBeUndefined();
  expect(fault('n2', attached)).toContain('no relationship');
  expect(fault('n1', { resource: 'constructor' })).toContain('no access');
});

test('a node reads the secrets that a volume of its pod needs there, and tells how the claim grows', () => {
  const csi = {
    nodeStageSecretRef: { namespace: 'vault', name: 'stage' },
    nodePublishSecretRef: { namespace: 'vault', name: 'publish' },
    nodeExpandSecretRef: { namespace: 'vault', name: 'expand' },
    controllerPublishSecretRef: { namespace: 'vault', name: 'attach' },
  };
  const volume = { metadata: { name: 'pv' }, spec: { claimRef: { namespace: 'default', name: 'data' }, csi } };
  const reader = readerOf({ pods: [pod], persistentvolumes: [volume] });
  const reads = (node: string, name: string, namespace = 'vault') =>
    nodeFault(reader, node, attributes({ resource: 'secrets', namespace, name }));
  for (const name of ['stage', 'publish', 'expand']) {
    expect(reads('n1', name)).toBeUndefined();
    expect(reads('n2', name)).toContain('no relationship');
    expect(reads('n1', name, 'default')).toContain('no relationship');
  }
  expect(reads('n1', 'attach')).toContain('no relationship');
  const claim = { resource: 'persistentvolumeclaims', subresource: 'status', verb: 'patch' };
  expect(nodeFault(reader, 'n1', attributes({ ...claim, name: 'data' }))).toBeUndefined();
  expect(nodeFault(reader, 'n1', attributes({ ...claim, name: 'other' }))).toContain('no relationship');
  expect(nodeFault(reader, 'n2', attributes({ ...claim, name: 'data' }))).toContain('no relationship');
});

test('a mirror pod opens nothing; a status is written, not read; one pod of the node may be watched by name', () => {
  const annotations = { 'kubernetes.io/config.mirror': 'h' };
  const mirror = { ...pod, metadata: { ...pod.metadata, annotations } };
  const fault = (more: Partial<AuthorizationAttributes>, pods: object[] = [pod]) =>
    nodeFault(readerOf({ pods }), 'n1', attributes(more));
  const secret = { resource: 'secrets', name: 'files' };
  expect(fault(secret)).toBeUndefined();
  expect(fault(secret, [mirror])).toContain('no relationship');
  expect(fault({ subresource: 'status', name: 'p', verb: 'patch' })).toBeUndefined();
  expect(fault({ subresource: 'status', name: 'p' })).toBeDefined();
  expect(fault({ resource: 'nodes', subresource: 'status', name: 'n1' })).toBeDefined();
  expect(fault({ verb: 'watch', fieldSelector: 'metadata.name=p' })).toBeUndefined();
  expect(fault({ verb: 'watch', fieldSelector: 'metadata.name=q' })).toContain('field selector');
});

test('labels a node may set on itself', () => {
  const allowed = [
    'mine',
    'example.com/x',
    'kubernetes.io/hostname',
    'node.kubernetes.io/y',
    'a.kubelet.kubernetes.io/z',
  ];
  const refused = [
    'node-restriction.kubernetes.io/x',
    'x.node-restriction.kubernetes.io/y',
    'node-role.kubernetes.io/control-plane',
    'kubernetes.io/x',
    'a.k8s.io/b',
  ];
  expect(allowed.filter((key) => !isOwnLabel(key))).toEqual([]);
  expect(refused.filter(isOwnLabel)).toEqual([]);
});

test('whom the headers of a request ask to act as', () => {
  const headersDistinct = {
    'impersonate-user': ['joe'],
    'impersonate-group': ['a', 'b,c'],
    'impersonate-extra-example.com%2fscopes': ['view'],
  };
  expect(wantedUser({ headersDistinct })).toEqual({
    name: 'joe',
    groups: ['a', 'b,c'],
    extra: { 'example.com/scopes': ['view'] },
  });
  expect(wantedUser({ headersDistinct: {} })).toBeUndefined();
});
