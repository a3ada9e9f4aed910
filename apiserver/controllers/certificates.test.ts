// What becomes of signing requests: who is approved without being asked about, what is signed, what is forgotten.
import { X509Certificate } from 'node:crypto';
import type { CertificateSigningRequest } from 'kubernetes-types/certificates/v1.js';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Node } from '../../api/kinds.ts';
import { createCa, createCsr, type SubjectAltNames, YEAR_MS } from '../../api/pki.ts';
import { certificateSigningRequests, nodes } from '../../api/resources.ts';
import { CertificatesController, type CertificatesOptions } from './certificates.ts';
import { FakeControlPlane } from './fake-control-plane.ts';

const HOUR_MS = 3_600_000;
const CLIENT = 'kubernetes.io/kube-apiserver-client-kubelet';
const SERVING = 'kubernetes.io/kubelet-serving';
const NODE = { commonName: 'system:node:n', organizations: ['system:nodes'] };
const AS_NODE = { username: 'system:node:n', groups: ['system:nodes', 'system:authenticated'] };

let cluster: FakeControlPlane;
let mayCreate: CertificatesOptions['mayCreate'];
beforeEach(() => {
  cluster = new FakeControlPlane();
  mayCreate = async () => true;
});
afterEach(async () => {
  await cluster.stop();
  expect(cluster.clock.sleeping).toBe(0);
});

interface Wish {
  readonly signerName?: string;
  readonly usages?: string[];
  readonly subject?: { commonName: string; organizations: string[] };
  readonly names?: SubjectAltNames;
  readonly username?: string;
  readonly groups?: string[];
  readonly expirationSeconds?: number;
}

function request(name: string, wish: Wish = {}): CertificateSigningRequest {
  const { subject = NODE, names, username = 'system:bootstrap:abcdef', groups = ['system:bootstrappers'] } = wish;
  const { signerName = CLIENT, usages = ['digital signature', 'client auth'], expirationSeconds } = wish;
  const spec = {
    request: Buffer.from(createCsr(subject, names).csr).toString('base64'),
    ...{ signerName, usages, username, groups },
    ...(expirationSeconds === undefined ? {} : { expirationSeconds }),
  };
  return { metadata: { name, creationTimestamp: new Date(cluster.clock.now()).toISOString() }, spec };
}

async function start(...requests: CertificateSigningRequest[]): Promise<void> {
  const ca = createCa('ca', { nowMs: cluster.clock.now(), lifetimeMs: 2 * YEAR_MS });
  cluster.api.seed(certificateSigningRequests, ...requests);
  const opts = {
    ca,
    durationMs: YEAR_MS,
    mayCreate: ((user, sub) => mayCreate(user, sub)) as CertificatesOptions['mayCreate'],
  };
  await cluster.start(new CertificatesController(cluster.ctx, opts));
}

const stored = (name: string) => cluster.api.all(certificateSigningRequests).find((r) => r.metadata?.name === name);
const conditions = (name: string) => (stored(name)?.status?.conditions ?? []).map((c) => `${c.type} ${c.reason}`);
function certificate(name: string): X509Certificate | undefined {
  const text = stored(name)?.status?.certificate;
  return text ? new X509Certificate(Buffer.from(text, 'base64')) : undefined;
}

test('a bootstrapping node and one that renews its own certificate are approved if they may, and signed', async () => {
  const asked: string[] = [];
  mayCreate = async (user, subresource) => {
    asked.push(`${user.name} ${subresource}`);
    return subresource === 'selfnodeclient' || user.groups.includes('system:bootstrappers');
  };
  await start(
    request('first'),
    request('renewal', AS_NODE),
    request('other-node', { ...AS_NODE, username: 'system:node:m' }),
  );
  expect(asked.sort()).toEqual([
    'system:bootstrap:abcdef nodeclient',
    'system:node:m nodeclient',
    'system:node:n selfnodeclient',
  ]);
  expect(conditions('first')).toEqual(['Approved AutoApproved']);
  expect(stored('first')?.status?.conditions?.[0]?.message).toBe(
    'Auto approving kubelet client certificate after SubjectAccessReview.',
  );
  expect(stored('renewal')?.status?.conditions?.[0]?.message).toContain('self kubelet client');
  expect(certificate('first')?.subject).toBe('O=system:nodes\nCN=system:node:n');
  expect(conditions('other-node')).toEqual([]);
  expect(certificate('other-node')).toBeUndefined();
});

test.each<[string, Wish]>([
  ['names in a client certificate', { names: { dnsNames: ['n'] } }],
  ['another group', { subject: { commonName: 'system:node:n', organizations: ['system:masters'] } }],
  ['one group more', { subject: { commonName: 'system:node:n', organizations: ['system:nodes', 'x'] } }],
  ['a user, not a node', { subject: { commonName: 'admin', organizations: ['system:nodes'] } }],
  ['server auth', { usages: ['digital signature', 'server auth'] }],
  ['too few usages', { usages: ['client auth'] }],
  ['a signer for users', { signerName: 'kubernetes.io/kube-apiserver-client' }],
  ['an unknown signer', { signerName: 'example.com/x' }],
])('nobody approves by himself: %s', async (_what, wish) => {
  await start(request('r', { ...AS_NODE, ...wish }));
  expect(conditions('r')).toEqual([]);
});

test('a request that says it is a node but was made for a signer it does not fit is failed once approved', async () => {
  const wrong = request('r', { ...AS_NODE, names: { dnsNames: ['n'] } });
  wrong.status = { conditions: [{ type: 'Approved', status: 'True', reason: 'KubectlApprove' }] };
  await start(wrong);
  expect(conditions('r')).toEqual(['Approved KubectlApprove', 'Failed SignerValidationFailure']);
  expect(certificate('r')).toBeUndefined();
});

test('what was denied, or belongs to somebody else, is not signed', async () => {
  const decided = (name: string, types: string[], wish: Wish = {}) => {
    const r = request(name, wish);
    r.status = { conditions: types.map((type) => ({ type, status: 'True', reason: 'x' })) };
    return r;
  };
  await start(
    decided('denied', ['Denied']),
    decided('failed', ['Approved', 'Failed']),
    decided('foreign', ['Approved'], { signerName: 'example.com/x' }),
  );
  expect(['denied', 'failed', 'foreign'].map(certificate)).toEqual([undefined, undefined, undefined]);
});

test('a serving certificate is approved for the addresses that the Node has, once it has them', async () => {
  const serving = { ...AS_NODE, signerName: SERVING, usages: ['digital signature', 'server auth'] };
  const wish = { ...serving, names: { dnsNames: ['n'], ipAddresses: ['10.0.0.1'] } };
  await start(
    request('own', wish),
    request('more', { ...wish, names: { dnsNames: ['n', 'kubernetes'], ipAddresses: ['10.0.0.1'] } }),
    request('foreign', { ...wish, username: 'system:node:m' }),
    request('bootstrap', { ...wish, username: 'system:bootstrap:a', groups: ['system:bootstrappers'] }),
  );
  expect(conditions('own')).toEqual([]);
  const node: Node = {
    metadata: { name: 'n' },
    status: {
      addresses: [
        { type: 'InternalIP', address: '10.0.0.1' },
        { type: 'Hostname', address: 'n' },
      ],
    },
  };
  await cluster.api.create(nodes, {}, node);
  await cluster.settle();
  expect(conditions('own')).toEqual(['Approved AutoApproved']);
  expect(certificate('own')?.subjectAltName).toBe('DNS:n, IP Address:10.0.0.1');
  expect(certificate('own')?.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1']);
  for (const name of ['more', 'foreign', 'bootstrap']) expect(conditions(name)).toEqual([]);
});

test('a certificate lives as long as was asked for, not longer than the cluster gives', async () => {
  await start(request('short', { expirationSeconds: 3600 }), request('long', { expirationSeconds: 10 * 31_536_000 }));
  const lifeMs = (name: string) => Date.parse(certificate(name)!.validTo) - cluster.clock.now();
  expect(lifeMs('short')).toBe(HOUR_MS);
  expect(lifeMs('long')).toBe(YEAR_MS);
  expect(Date.parse(certificate('short')!.validFrom)).toBe(cluster.clock.now() - 5 * 60_000);
});

test('requests are forgotten: decided ones after an hour, others after a day', async () => {
  const unknown = request('pending', { signerName: 'example.com/x' });
  await start(request('signed'), unknown);
  await cluster.pass(HOUR_MS - 1000);
  expect(stored('signed')).toBeDefined();
  await cluster.pass(2000);
  expect(stored('signed')).toBeUndefined();
  expect(stored('pending')).toBeDefined();
  await cluster.pass(23 * HOUR_MS);
  expect(stored('pending')).toBeUndefined();
});

test('an unreadable request is left alone', async () => {
  const broken = request('broken', AS_NODE);
  broken.spec.request = Buffer.from('hello').toString('base64');
  await start(broken);
  expect(conditions('broken')).toEqual([]);
});
