// Identity and permission as clients meet them: over TLS, with certificates, tokens and, where it is installed, kubectl.
import { execFile } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createCa, createCsr, issueClientCert, issueServerCert, type KeyPair, YEAR_MS } from '../../api/pki.ts';
import type { Pod } from '../../api/pod.ts';
import { configMaps, nodes, pods, serviceAccounts } from '../../api/resources.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { createApiServer } from '../../test/harness/api-server.ts';
import type { ApiServer } from '../apiserver.ts';
import { decodeProtobuf } from '../protobuf/decoder.ts';
import { createAuth } from './auth.ts';
import { ensureBootstrapRoles } from './bootstrap-roles.ts';
import { clusterRoleBindings } from './rbac.ts';

// biome-ignore lint/suspicious/noExplicitAny: answers of many kinds, looked at member by member.
type Json = any;

interface Reply {
  readonly status: number;
  readonly body: Json;
}

const ISSUER = 'https://kubernetes.default.svc.cluster.local';
const NODE_GROUP = ['system:nodes'];
const run = promisify(execFile);

let dir: string;
let server: ApiServer;
let ca: KeyPair;
let admin: KeyPair;
let node: KeyPair;
let otherNode: KeyPair;
let developer: KeyPair;
let pod: Pod;

const client = (commonName: string, organizations: string[] = []): KeyPair =>
  issueClientCert(ca, { commonName, organizations }, { nowMs: Date.now(), lifetimeMs: YEAR_MS });

beforeAll(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'auth-test-'));
  const validity = { nowMs: Date.now(), lifetimeMs: YEAR_MS };
  ca = createCa('test', validity);
  admin = client('admin', ['system:masters']);
  node = client('system:node:n1', NODE_GROUP);
  otherNode = client('system:node:n2', NODE_GROUP);
  developer = client('jane', ['developers']);
  const serving = issueServerCert(ca, { commonName: 'apiserver' }, { ipAddresses: ['127.0.0.1'] }, validity);
  server = createApiServer(path.join(dir, 'store'), { ...serving, clientCa: ca.cert });
  const auth = createAuth(
    {
      authorizationModes: ['Node', 'RBAC'],
      serviceAccountKey: issueClientCert(ca, { commonName: 'key' }, validity).key,
      issuer: ISSUER,
      tokenFile: 'static-token,robot,u1,"robots"',
      publicUrl: 'https://127.0.0.1:6443',
    },
    { reader: server.registry, clock: systemClock, log: silentLog },
  );
  await server.start({ ...auth, protobuf: decodeProtobuf });
  await ensureBootstrapRoles(server.client());
  await fill();
});

afterAll(async () => {
  await server.close();
  rmSync(dir, { recursive: true });
});

/** Two nodes, and a pod on the first that names a ConfigMap. */
async function fill(): Promise<void> {
  const local = server.client();
  await local.create(serviceAccounts, { namespace: 'default' }, { metadata: { name: 'default' } });
  for (const name of ['n1', 'n2'])
    expect((await as(cert(name), 'POST', '/api/v1/nodes', nodeObject(name))).status).toBe(201);
  for (const name of ['used', 'unused']) {
    await local.create(configMaps, { namespace: 'default' }, { metadata: { name }, data: { key: 'value' } });
  }
  pod = await local.create<Pod>(pods, { namespace: 'default' }, {
    metadata: { name: 'p' },
    spec: {
      nodeName: 'n1',
      containers: [{ name: 'c', image: 'i', envFrom: [{ configMapRef: { name: 'used' } }] }],
    },
  } as Pod);
}

const cert = (name: string): KeyPair => (name === 'n1' ? node : otherNode);
const nodeObject = (name: string, labels: Record<string, string> = {}): object => ({
  apiVersion: 'v1',
  kind: 'Node',
  metadata: { name, labels },
  spec: { taints: [{ key: 'example.com/new', effect: 'NoSchedule' }] },
});

type Credential = KeyPair | string | undefined;

function as(
  who: Credential,
  method: string,
  url: string,
  body?: unknown,
  more: Record<string, string> = {},
): Promise<Reply> {
  const type = method === 'PATCH' ? 'application/strategic-merge-patch+json' : 'application/json';
  const options = {
    host: '127.0.0.1',
    port: server.port,
    method,
    path: url,
    ca: ca.cert,
    headers: { 'content-type': type, ...more, ...(typeof who === 'string' ? { authorization: `Bearer ${who}` } : {}) },
    ...(typeof who === 'object' ? { cert: who.cert, key: who.key } : {}),
    agent: false,
  };
  return new Promise((resolve, reject) => {
    const request = httpsRequest(options, async (response) => {
      const chunks: Buffer[] = [];
      for await (const chunk of response) chunks.push(chunk as Buffer);
      const text = Buffer.concat(chunks).toString();
      const isJson = String(response.headers['content-type']).includes('json');
      resolve({ status: response.statusCode!, body: isJson ? JSON.parse(text) : text });
    });
    request.on('error', reject).end(body === undefined ? undefined : JSON.stringify(body));
  });
}

const whoAmI = async (who: Credential): Promise<Json> => {
  const reply = await as(who, 'POST', '/apis/authentication.k8s.io/v1/selfsubjectreviews', {});
  return reply.body.status.userInfo;
};

describe('who', () => {
  test('a client certificate names user and groups', async () => {
    const user = await whoAmI(admin);
    expect(user).toMatchObject({ username: 'admin', groups: ['system:masters', 'system:authenticated'] });
    expect(user.extra['authentication.kubernetes.io/credential-id'][0]).toMatch(/^X509SHA256=[0-9a-f]{64}$/);
  });

  test('a certificate of another CA is refused, not taken for nobody', async () => {
    const strange = createCa('test', { nowMs: Date.now(), lifetimeMs: YEAR_MS });
    const forged = issueClientCert(
      strange,
      { commonName: 'admin', organizations: ['system:masters'] },
      {
        nowMs: Date.now(),
        lifetimeMs: YEAR_MS,
      },
    );
    expect((await as(forged, 'GET', '/version')).status).toBe(401);
    expect((await as('wrong', 'GET', '/version')).status).toBe(401);
  });

  test('without a credential one sees health and version only', async () => {
    expect((await as(undefined, 'GET', '/readyz')).status).toBe(200);
    expect((await as(undefined, 'GET', '/version')).status).toBe(200);
    const reply = await as(undefined, 'GET', '/api/v1/namespaces/default/pods');
    expect(reply.status).toBe(403);
    expect(reply.body.message).toContain('pods is forbidden: User "system:anonymous" cannot list resource "pods"');
  });

  test('a service account acts by the token it was given', async () => {
    const url = '/api/v1/namespaces/default/serviceaccounts/default/token';
    const reply = await as(admin, 'POST', url, { spec: { expirationSeconds: 600 } });
    expect(reply.status).toBe(201);
    expect(await whoAmI(reply.body.status.token)).toMatchObject({
      username: 'system:serviceaccount:default:default',
      groups: ['system:serviceaccounts', 'system:serviceaccounts:default', 'system:authenticated'],
    });
    const review = { spec: { token: reply.body.status.token, audiences: [ISSUER, 'other'] } };
    const reviewed = await as(admin, 'POST', '/apis/authentication.k8s.io/v1/tokenreviews', review);
    expect(reviewed.body.status).toMatchObject({ authenticated: true, audiences: [ISSUER] });
  });

  test('a review of a bad token is an answer, not an error', async () => {
    const url = '/apis/authentication.k8s.io/v1/tokenreviews';
    const reply = await as(admin, 'POST', url, { spec: { token: 'x' } });
    expect(reply).toMatchObject({
      status: 201,
      body: { status: { authenticated: false, error: 'invalid bearer token' } },
    });
    const other = await as(admin, 'POST', url, { spec: { token: 'static-token', audiences: ['elsewhere'] } });
    expect(other.body.status.authenticated).toBe(false);
  });

  test('the keys that others need are public to service accounts', async () => {
    const document = (await as(admin, 'GET', '/.well-known/openid-configuration')).body;
    expect(document).toMatchObject({ issuer: ISSUER, jwks_uri: 'https://127.0.0.1:6443/openid/v1/jwks' });
    const { keys } = (await as(admin, 'GET', '/openid/v1/jwks')).body;
    expect(keys).toMatchObject([{ use: 'sig', kty: 'EC', alg: 'ES256' }]);
    expect(keys[0]).not.toHaveProperty('d');
  });
});

describe('roles', () => {
  test('a role gives exactly what it says', async () => {
    const url = '/apis/rbac.authorization.k8s.io/v1/namespaces/default';
    const rules = [
      { verbs: ['get', 'watch'], apiGroups: [''], resources: ['configmaps'], resourceNames: ['used'] },
      { verbs: ['create'], apiGroups: [''], resources: ['configmaps'], resourceNames: ['used'] },
    ];
    await as(admin, 'POST', `${url}/roles`, { metadata: { name: 'r' }, rules });
    const roleRef = { apiGroup: 'rbac.authorization.k8s.io', kind: 'Role', name: 'r' };
    const subjects = [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'developers' }];
    await as(admin, 'POST', `${url}/rolebindings`, { metadata: { name: 'r' }, roleRef, subjects });
    const maps = '/api/v1/namespaces/default/configmaps';
    expect((await as(developer, 'GET', `${maps}/used`)).status).toBe(200);
    expect((await as(developer, 'GET', `${maps}/unused`)).status).toBe(403);
    expect((await as(developer, 'GET', maps)).status).toBe(403);
    // A selector in the query of a POST must not pass for the name of what is created.
    const created = await as(developer, 'POST', `${maps}?fieldSelector=metadata.name%3Dused`, {
      metadata: { name: 'x' },
    });
    expect(created.status).toBe(403);
    expect((await as(developer, 'GET', '/api/v1/namespaces/kube-system/configmaps/used')).status).toBe(403);
    const watching = await access(developer, {
      verb: 'watch',
      resource: 'configmaps',
      namespace: 'default',
      name: 'used',
    });
    expect(watching).toMatchObject({ allowed: true, reason: expect.stringContaining('RoleBinding "r/default"') });
  });

  test('bootstrap roles taken away come back', async () => {
    const url = '/apis/rbac.authorization.k8s.io/v1/clusterroles/system:basic-user';
    await as(admin, 'PATCH', url, { rules: null });
    await ensureBootstrapRoles(server.client());
    expect((await as(admin, 'GET', url)).body.rules).toHaveLength(2);
    const before = server.registry.store.revision;
    await ensureBootstrapRoles(server.client());
    expect(server.registry.store.revision).toBe(before);
  });

  async function access(who: KeyPair, resourceAttributes: object): Promise<Json> {
    const url = '/apis/authorization.k8s.io/v1/selfsubjectaccessreviews';
    return (await as(who, 'POST', url, { spec: { resourceAttributes } })).body.status;
  }

  test('acting as another needs the right to, for each part of the identity', async () => {
    const asked = { 'impersonate-user': 'joe', 'impersonate-group': 'system:masters' };
    const review = '/apis/authentication.k8s.io/v1/selfsubjectreviews';
    const allowed = await as(admin, 'POST', review, {}, asked);
    expect(allowed.body.status.userInfo).toMatchObject({
      username: 'joe',
      groups: ['system:masters', 'system:authenticated'],
    });
    const refused = await as(developer, 'POST', review, {}, asked);
    expect(refused.status).toBe(403);
    expect(refused.body.message).toContain('User "jane" cannot impersonate resource "users"');
    expect((await as(undefined, 'GET', '/version', undefined, asked)).status).toBe(403);
    expect((await as(admin, 'GET', '/version', undefined, { 'impersonate-group': 'g' })).status).toBe(400);
  });

  test('the agent of a node sees nodes, Services and EndpointSlices once it is bound to', async () => {
    const third = client('system:node:n3', ['system:nodes', 'agents']);
    const url = '/apis/discovery.k8s.io/v1/endpointslices';
    expect((await as(third, 'GET', url)).status).toBe(403);
    // Not all nodes: other tests look at what those may not.
    const binding = {
      metadata: { name: 'agents' },
      roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: 'system:node-proxier' },
      subjects: [{ apiGroup: 'rbac.authorization.k8s.io', kind: 'Group', name: 'agents' }],
    };
    await server.client().create(clusterRoleBindings, {}, binding);
    expect((await as(third, 'GET', url)).status).toBe(200);
    expect((await as(third, 'GET', '/api/v1/nodes')).status).toBe(200);
  });

  test('reviews that ask nothing, or both, are refused by field', async () => {
    const url = '/apis/authorization.k8s.io/v1/subjectaccessreviews';
    const reply = await as(admin, 'POST', url, { spec: {} });
    expect(reply.status).toBe(422);
    expect(reply.body.details.causes.map((c: Json) => c.field)).toEqual(['spec.user', 'spec.resourceAttributes']);
    const nodeProxy = { verb: 'get', resource: 'nodes', subresource: 'proxy', name: 'n1' };
    const asked = await as(admin, 'POST', url, {
      spec: { user: 'x', groups: ['system:masters'], resourceAttributes: nodeProxy },
    });
    expect(asked.body.status.allowed).toBe(true);
  });
});

describe('nodes', () => {
  const status = async (who: KeyPair, method: string, url: string, body?: unknown): Promise<number> =>
    (await as(who, method, url, body)).status;

  test('a node reads itself, its pods and what they name, and no more', async () => {
    const maps = '/api/v1/namespaces/default/configmaps';
    expect(await status(node, 'GET', '/api/v1/nodes/n1')).toBe(200);
    expect(await status(node, 'GET', '/api/v1/nodes/n2')).toBe(403);
    expect(await status(node, 'GET', '/api/v1/nodes')).toBe(403);
    expect(await status(node, 'GET', '/api/v1/nodes?fieldSelector=metadata.name%3Dn1')).toBe(200);
    expect(await status(node, 'GET', '/api/v1/pods?fieldSelector=spec.nodeName%3Dn1')).toBe(200);
    expect(await status(node, 'GET', '/api/v1/pods?fieldSelector=spec.nodeName!%3Dn1')).toBe(403);
    expect(await status(node, 'GET', '/api/v1/pods')).toBe(403);
    expect(await status(node, 'GET', `${maps}/used`)).toBe(200);
    expect(await status(node, 'GET', `${maps}/unused`)).toBe(403);
    expect(await status(node, 'GET', `${maps}?fieldSelector=metadata.name%3Dused`)).toBe(200);
    expect(await status(otherNode, 'GET', `${maps}/used`)).toBe(403);
    expect(await status(node, 'GET', '/api/v1/namespaces/default/pods/p')).toBe(200);
    expect(await status(otherNode, 'GET', '/api/v1/namespaces/default/pods/p')).toBe(403);
  });

  test('a node gets tokens for its pods only', async () => {
    const url = '/api/v1/namespaces/default/serviceaccounts/default/token';
    const ref = { kind: 'Pod', apiVersion: 'v1', name: 'p', uid: pod.metadata!.uid };
    expect(await status(node, 'POST', url, { spec: { boundObjectRef: ref } })).toBe(201);
    expect(await status(node, 'POST', url, { spec: {} })).toBe(403);
    expect(await status(otherNode, 'POST', url, { spec: { boundObjectRef: ref } })).toBe(403);
  });

  test('a node may not give itself taints, reserved labels or a second node', async () => {
    const patch = (body: object) => as(node, 'PATCH', '/api/v1/nodes/n1', body);
    expect((await patch({ metadata: { labels: { 'node.kubernetes.io/x': '1', mine: '2' } } })).status).toBe(200);
    const reserved = await patch({ metadata: { labels: { 'node-role.kubernetes.io/master': '', 'a.k8s.io/b': '' } } });
    expect(reserved).toMatchObject({ status: 403 });
    expect(reserved.body.message).toContain(
      'is not allowed to modify labels: a.k8s.io/b, node-role.kubernetes.io/master',
    );
    expect((await patch({ spec: { taints: [{ key: 'k', effect: 'NoExecute' }] } })).status).toBe(403);
    expect(await status(node, 'POST', '/api/v1/nodes', nodeObject('n3'))).toBe(403);
    expect(await status(node, 'DELETE', '/api/v1/nodes/n1')).toBe(403);
  });

  test('a node makes mirror pods of its own and reports on its own pods only', async () => {
    const uid = server.registry.get(nodes, { name: 'n1' })!.metadata!.uid;
    const owner = { apiVersion: 'v1', kind: 'Node', name: 'n1', uid, controller: true };
    const mirror = (extra: object, spec: object = {}) => ({
      metadata: {
        name: 'static-n1',
        annotations: { 'kubernetes.io/config.mirror': 'h' },
        ownerReferences: [owner],
        ...extra,
      },
      spec: { nodeName: 'n1', containers: [{ name: 'c', image: 'i' }], ...spec },
    });
    const url = '/api/v1/namespaces/default/pods';
    expect(await status(node, 'POST', url, mirror({ annotations: {} }))).toBe(403);
    expect(await status(node, 'POST', url, mirror({ ownerReferences: [] }))).toBe(403);
    expect(await status(node, 'POST', url, mirror({}, { nodeName: 'n2' }))).toBe(403);
    const secret = { volumes: [{ name: 's', secret: { secretName: 's' } }] };
    expect(await status(node, 'POST', url, mirror({}, secret))).toBe(403);
    expect(await status(node, 'POST', url, mirror({}))).toBe(201);
    const running = { status: { phase: 'Running' } };
    expect(await status(node, 'PATCH', `${url}/p/status`, running)).toBe(200);
    expect(await status(otherNode, 'PATCH', `${url}/p/status`, running)).toBe(403);
    expect(await status(otherNode, 'DELETE', `${url}/static-n1`)).toBe(403);
    expect(await status(node, 'DELETE', `${url}/static-n1?gracePeriodSeconds=0`)).toBe(200);
  });

  test('a node beats only its own lease', async () => {
    const url = '/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases';
    const lease = (name: string) => ({ metadata: { name }, spec: { holderIdentity: name, leaseDurationSeconds: 40 } });
    expect(await status(node, 'POST', url, lease('n1'))).toBe(201);
    expect(await status(node, 'POST', url, lease('n2'))).toBe(403);
    expect(await status(otherNode, 'GET', `${url}/n1`)).toBe(403);
  });

  test('a node asks for certificates in its own name', async () => {
    const url = '/apis/certificates.k8s.io/v1/certificatesigningrequests';
    const ask = (commonName: string) => {
      const { csr } = createCsr({ commonName, organizations: NODE_GROUP }, {});
      return as(node, 'POST', url, {
        metadata: { generateName: 'csr-' },
        spec: {
          request: Buffer.from(csr).toString('base64'),
          signerName: 'kubernetes.io/kube-apiserver-client-kubelet',
          usages: ['digital signature', 'client auth'],
        },
      });
    };
    expect((await ask('system:node:n1')).status).toBe(201);
    expect((await ask('system:node:n2')).body.message).toContain('can only create a node CSR with CN=system:node:n1');
  });
});

/** Debian 12 has kubectl 1.20, which knows neither `create token` (1.24) nor `auth whoami` (1.27). */
const kubectlVersion = await run('kubectl', ['version', '--client', '-o', 'json']).then(
  ({ stdout }) => JSON.parse(stdout).clientVersion.gitVersion as string,
  () => undefined,
);

const kubectlMinor = Number(/^v1\.(\d+)/.exec(kubectlVersion ?? '')?.[1] ?? 0);

describe.skipIf(kubectlVersion === undefined)(`kubectl ${kubectlVersion}`, () => {
  const kubectl = async (...args: string[]): Promise<string> => {
    const files = { ca: ca.cert, cert: admin.cert, key: admin.key };
    for (const [name, text] of Object.entries(files)) writeFileSync(path.join(dir, name), text);
    const at = (name: string): string => path.join(dir, name);
    const flags = [
      `--server=https://127.0.0.1:${server.port}`,
      `--certificate-authority=${at('ca')}`,
      `--client-certificate=${at('cert')}`,
      `--client-key=${at('key')}`,
      `--cache-dir=${at('cache')}`,
    ];
    const { stdout } = await run('kubectl', [...flags, ...args], { env: { ...process.env, KUBECONFIG: '/dev/null' } });
    return stdout;
  };

  test('create, which sends protobuf', async () => {
    expect(await kubectl('create', 'configmap', 'cm', '--from-literal=a=b')).toContain('configmap/cm created');
    expect(await kubectl('get', 'cm', 'cm', '-o', 'jsonpath={.data.a}')).toBe('b');
    expect(await kubectl('create', 'secret', 'generic', 's', '--from-literal=a=b')).toContain('secret/s created');
    expect(await kubectl('get', 'secret', 's', '-o', 'jsonpath={.data.a}')).toBe('Yg==');
    expect(await kubectl('create', 'serviceaccount', 'bot')).toContain('serviceaccount/bot created');
    expect(await kubectl('create', 'deployment', 'web', '--image=busybox', '--replicas=2')).toContain('web created');
    expect(await kubectl('get', 'deploy', 'web', '-o', 'jsonpath={.spec.replicas}')).toBe('2');
    expect(await kubectl('create', 'role', 'reader', '--verb=get,list', '--resource=pods')).toContain('reader created');
    await kubectl('create', 'rolebinding', 'bot-reads', '--role=reader', '--serviceaccount=default:bot');
  });

  test.skipIf(kubectlMinor < 24)(
    'create token, which is good for what its account may do',
    async () => {
      await kubectl('create', 'namespace', 'team');
      const token = (await kubectl('create', 'token', 'bot', '--duration=10m')).trim();
      expect((await as(token, 'GET', '/api/v1/namespaces/default/pods')).status).toBe(200);
      expect((await as(token, 'GET', '/api/v1/namespaces/team/pods')).status).toBe(403);
    },
    60_000,
  );

  test.skipIf(kubectlMinor < 27)(
    'auth whoami',
    async () => {
      expect(await kubectl('auth', 'whoami')).toMatch(/Username\s+admin/);
    },
    60_000,
  );

  test('auth can-i', async () => {
    expect((await kubectl('auth', 'can-i', 'delete', 'nodes')).trim()).toBe('yes');
    const denied = kubectl('auth', 'can-i', 'list', 'pods', '--as=system:serviceaccount:default:bot', '-n', 'team');
    await expect(denied).rejects.toMatchObject({ stdout: expect.stringContaining('no') });
    expect(await kubectl('auth', 'can-i', '--list')).toMatch(/\*\.\*/);
  });
});
