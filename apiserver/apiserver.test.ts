// The server as clients meet it: over HTTPS, with a store on disk.
import { mkdtempSync, rmSync } from 'node:fs';
import type { IncomingMessage } from 'node:http';
import { request as httpsRequest } from 'node:https';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createCa, issueServerCert, YEAR_MS } from '../api/pki.ts';
import { serviceAccounts } from '../api/resources.ts';
import { createApiServer } from '../test/harness/api-server.ts';
import type { ApiServer } from './apiserver.ts';
import { alwaysAllow } from './auth/authorizer.ts';

// biome-ignore lint/suspicious/noExplicitAny: answers of many kinds, looked at member by member.
type Json = any;

interface Reply {
  readonly status: number;
  readonly headers: IncomingMessage['headers'];
  readonly text: string;
  readonly body: Json;
}

let dir: string;
let server: ApiServer;

beforeAll(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'apiserver-test-'));
  const validity = { nowMs: Date.now(), lifetimeMs: YEAR_MS };
  const ca = createCa('test', validity);
  const tls = issueServerCert(ca, { commonName: 'apiserver' }, { ipAddresses: ['127.0.0.1'] }, validity);
  server = createApiServer(dir, tls);
  const admin = { name: 'admin', groups: ['system:masters'] };
  const authenticators = [
    { authenticate: (r: IncomingMessage) => (r.headers.authorization === 'Bearer bad' ? ('invalid' as const) : admin) },
  ];
  await server.start({ authenticators, authorizer: alwaysAllow });
  await server.client().create(serviceAccounts, { namespace: 'default' }, { metadata: { name: 'default' } });
});

afterAll(async () => {
  await server.close();
  rmSync(dir, { recursive: true });
});

function open(method: string, url: string, headers: Record<string, string>, body?: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port: server.port, method, path: url, headers, rejectUnauthorized: false };
    httpsRequest(options, resolve).on('error', reject).end(body);
  });
}

async function call(method: string, url: string, body?: unknown, headers: Record<string, string> = {}): Promise<Reply> {
  const type = method === 'PATCH' ? 'application/strategic-merge-patch+json' : 'application/json';
  const text = body === undefined ? undefined : typeof body === 'string' ? body : JSON.stringify(body);
  // Node frames the body of a DELETE only when told its length.
  const length = text === undefined ? {} : { 'content-length': String(Buffer.byteLength(text)) };
  const response = await open(method, url, { 'content-type': type, ...length, ...headers }, text);
  const chunks: Buffer[] = [];
  for await (const chunk of response) chunks.push(chunk as Buffer);
  const answer = Buffer.concat(chunks).toString();
  const isJson = String(response.headers['content-type']).startsWith('application/json');
  return {
    status: response.statusCode!,
    headers: response.headers,
    text: answer,
    body: isJson && answer !== '' ? JSON.parse(answer) : undefined,
  };
}

/** Events of a watch, one at a time. */
async function watch(url: string): Promise<{ next(): Promise<Json>; close(): void }> {
  const response = await open('GET', url, {});
  const lines = createInterface({ input: response })[Symbol.asyncIterator]();
  return {
    next: async () => JSON.parse((await lines.next()).value as string),
    close: () => response.destroy(),
  };
}

const PODS = '/api/v1/namespaces/default/pods';
const CONFIG_MAPS = '/api/v1/namespaces/default/configmaps';
const podBody = (name: string, spec: object = {}, meta: object = {}) => ({
  kind: 'Pod',
  apiVersion: 'v1',
  metadata: { name, ...meta },
  spec: { containers: [{ name: 'c', image: 'busybox' }], ...spec },
});
const configMap = (name: string, data: object = {}, meta: object = {}) => ({ metadata: { name, ...meta }, data });

describe('create', () => {
  test('a pod is defaulted, admitted and pending', async () => {
    const { status, body } = await call('POST', PODS, podBody('created'));
    expect(status).toBe(201);
    expect(body.metadata).toMatchObject({
      generation: 1,
      namespace: 'default',
      uid: expect.stringMatching(/^[0-9a-f-]{36}$/),
    });
    expect(body.status).toEqual({ phase: 'Pending', qosClass: 'BestEffort' });
    expect(body.spec).toMatchObject({
      restartPolicy: 'Always',
      securityContext: {},
      serviceAccountName: 'default',
      priority: 0,
      tolerations: [
        { key: 'node.kubernetes.io/not-ready', tolerationSeconds: 300 },
        { key: 'node.kubernetes.io/unreachable' },
      ],
      containers: [
        { imagePullPolicy: 'Always', volumeMounts: [{ mountPath: '/var/run/secrets/kubernetes.io/serviceaccount' }] },
      ],
      volumes: [{ projected: { sources: [{ serviceAccountToken: { expirationSeconds: 3607 } }, {}, {}] } }],
    });
  });

  test('faults are named by field, all at once', async () => {
    const spec = {
      containers: [{ name: 'Bad' }, { name: 'c', image: 'x', volumeMounts: [{ name: 'v', mountPath: '/a' }] }],
    };
    const { status, body } = await call('POST', PODS, podBody('faulty', spec));
    expect(status).toBe(422);
    expect(body.reason).toBe('Invalid');
    expect(body.details.causes.map((c: Json) => c.field)).toEqual([
      'spec.containers[0].name',
      'spec.containers[0].image',
      'spec.containers[1].volumeMounts[0].name',
    ]);
  });

  test('unknown and doubled fields: refused, warned about, or dropped', async () => {
    const text = '{"metadata":{"name":"strict"},"data":{"a":"1","a":"2"},"foo":1}';
    const strict = await call('POST', `${CONFIG_MAPS}?fieldValidation=Strict`, text);
    expect(strict.status).toBe(400);
    expect(strict.body.message).toContain('strict decoding error: unknown field "foo", duplicate field "data.a"');
    const warn = await call('POST', CONFIG_MAPS, text);
    expect(warn.status).toBe(201);
    expect(warn.headers.warning).toContain('299 - "unknown field \\"foo\\""');
    expect(warn.body.foo).toBeUndefined();
  });

  test('YAML bodies, generated names, dry runs', async () => {
    const yaml = 'metadata:\n  generateName: gen-\ndata: {k: v}\n';
    const made = await call('POST', CONFIG_MAPS, yaml, { 'content-type': 'application/yaml' });
    expect(made.body.metadata.name).toMatch(/^gen-[a-z0-9]{5}$/);
    const tried = await call('POST', `${CONFIG_MAPS}?dryRun=All`, configMap('tried'));
    expect(tried.status).toBe(201);
    expect(tried.body.metadata.resourceVersion).toBeUndefined();
    expect((await call('GET', `${CONFIG_MAPS}/tried`)).status).toBe(404);
  });

  test('errors as clients know them', async () => {
    await call('POST', CONFIG_MAPS, configMap('twice'));
    const again = await call('POST', CONFIG_MAPS, configMap('twice'));
    expect(again.body).toMatchObject({
      code: 409,
      reason: 'AlreadyExists',
      message: 'configmaps "twice" already exists',
    });
    const lost = await call('POST', '/api/v1/namespaces/nowhere/configmaps', configMap('a'));
    expect(lost.body).toMatchObject({ code: 404, message: 'namespaces "nowhere" not found' });
    expect((await call('GET', '/api/v1/pods', undefined, { authorization: 'Bearer bad' })).body.reason).toBe(
      'Unauthorized',
    );
    expect((await call('GET', '/api/v1/nothing')).status).toBe(404);
    expect((await call('POST', PODS, '{', {})).body.reason).toBe('BadRequest');
    expect((await call('POST', PODS, 'x', { 'content-type': 'text/plain' })).status).toBe(415);
    expect((await call('POST', CONFIG_MAPS, `"${'x'.repeat(3 * 1024 * 1024)}"`)).status).toBe(413);
  });
});

describe('update and patch', () => {
  test('a stale version is refused, a write that changes nothing is none', async () => {
    const { body: made } = await call('POST', CONFIG_MAPS, configMap('cas', { a: '1' }));
    const next = { ...made, data: { a: '2' } };
    const { body: updated } = await call('PUT', `${CONFIG_MAPS}/cas`, next);
    const stale = await call('PUT', `${CONFIG_MAPS}/cas`, { ...next, data: { a: '3' } });
    expect(stale.body).toMatchObject({ code: 409, reason: 'Conflict' });
    const same = await call('PATCH', `${CONFIG_MAPS}/cas`, { data: { a: '2' } });
    expect(same.body.metadata.resourceVersion).toBe(updated.metadata.resourceVersion);
  });

  test('of concurrent patches none is lost', async () => {
    await call('POST', CONFIG_MAPS, configMap('race'));
    const keys = Array.from({ length: 8 }, (_, i) => `k${i}`);
    await Promise.all(keys.map((key) => call('PATCH', `${CONFIG_MAPS}/race`, { data: { [key]: 'x' } })));
    const { body } = await call('GET', `${CONFIG_MAPS}/race`);
    expect(Object.keys(body.data).sort()).toEqual(keys);
  });

  test('status and spec are written by their own endpoints', async () => {
    await call('POST', PODS, podBody('split', {}, { labels: { a: '1' } }));
    const { body: made } = await call('GET', `${PODS}/split`);
    const patch = { metadata: { uid: made.metadata.uid }, status: { phase: 'Running' }, spec: { nodeName: 'x' } };
    const { body } = await call('PATCH', `${PODS}/split/status`, patch);
    expect(body.status.phase).toBe('Running');
    expect(body.spec.nodeName).toBeUndefined();
    expect(body.metadata.generation).toBe(1);
    const main = await call('PATCH', `${PODS}/split`, {
      metadata: { labels: { b: '2' } },
      status: { phase: 'Failed' },
    });
    expect(main.body.status.phase).toBe('Running');
  });

  test('an object that is put is meant to be that one, a patch with another uid asks to change it', async () => {
    const { body: made } = await call('POST', PODS, podBody('meant'));
    const other = { metadata: { uid: 'other' }, status: {} };
    const patched = await call('PATCH', `${PODS}/meant/status`, other);
    expect(patched.body).toMatchObject({ code: 422, reason: 'Invalid', details: { name: 'meant', kind: 'Pod' } });
    expect(patched.body.message).toBe(
      'Pod "meant" is invalid: metadata.uid: Invalid value: "other": field is immutable',
    );
    // Who knows an earlier version is told that first: there may be another object by that name.
    const stale = { ...other, metadata: { uid: 'other', resourceVersion: '1' } };
    expect((await call('PATCH', `${PODS}/meant/status`, stale)).body).toMatchObject({ code: 409, reason: 'Conflict' });
    const put = await call('PUT', `${PODS}/meant/status`, { ...made, metadata: { ...made.metadata, uid: 'other' } });
    expect(put.body).toMatchObject({ code: 409, reason: 'Conflict' });
    expect(put.body.message).toContain('Precondition failed: UID in precondition: other');
  });

  test('a PUT that changes nothing begins no generation, with or without the kind', async () => {
    const { body: made } = await call('POST', PODS, podBody('again'));
    const { kind: _k, apiVersion: _a, ...bare } = made;
    for (const body of [made, bare]) {
      const { metadata } = (await call('PUT', `${PODS}/again`, body)).body;
      expect([metadata.generation, metadata.resourceVersion]).toEqual([1, made.metadata.resourceVersion]);
    }
  });

  test('what is immutable stays', async () => {
    await call('POST', PODS, podBody('fixed'));
    const moved = await call('PATCH', `${PODS}/fixed`, { spec: { hostNetwork: true } });
    expect(moved.body.message).toContain('spec: Forbidden: pod updates may not change fields other than');
    const image = await call('PATCH', `${PODS}/fixed`, { spec: { containers: [{ name: 'c', image: 'busybox:2' }] } });
    expect(image.body.metadata.generation).toBe(2);
  });

  test('JSON patch and merge patch', async () => {
    await call('POST', CONFIG_MAPS, configMap('patched', { a: '1', b: '2' }));
    const at = `${CONFIG_MAPS}/patched`;
    const json = [
      { op: 'test', path: '/data/a', value: '1' },
      { op: 'remove', path: '/data/b' },
    ];
    const done = await call('PATCH', at, json, { 'content-type': 'application/json-patch+json' });
    expect(done.body.data).toEqual({ a: '1' });
    const failed = await call('PATCH', at, json, { 'content-type': 'application/json-patch+json' });
    expect(failed.status).toBe(422);
    const merged = await call(
      'PATCH',
      at,
      { data: { a: null, c: '3' } },
      { 'content-type': 'application/merge-patch+json' },
    );
    expect(merged.body.data).toEqual({ c: '3' });
    expect((await call('PATCH', at, {}, { 'content-type': 'application/json' })).status).toBe(415);
  });
});

describe('delete', () => {
  test('a pod on a node stays for its grace, and goes when the node says so', async () => {
    await call('POST', PODS, podBody('graceful', { nodeName: 'n', terminationGracePeriodSeconds: 40 }));
    const first = await call('DELETE', `${PODS}/graceful`);
    expect(first.body.metadata).toMatchObject({ deletionGracePeriodSeconds: 40, generation: 2 });
    const longer = await call('DELETE', `${PODS}/graceful`, { gracePeriodSeconds: 60 });
    expect(longer.body.metadata.resourceVersion).toBe(first.body.metadata.resourceVersion);
    const wrong = await call('DELETE', `${PODS}/graceful`, { gracePeriodSeconds: 0, preconditions: { uid: 'other' } });
    expect(wrong.status).toBe(409);
    const { uid } = first.body.metadata;
    expect((await call('DELETE', `${PODS}/graceful`, { gracePeriodSeconds: 0, preconditions: { uid } })).status).toBe(
      200,
    );
    expect((await call('GET', `${PODS}/graceful`)).status).toBe(404);
  });

  test('a pod that is going and is then deleted by force is first seen to end at once', async () => {
    const { body: made } = await call('POST', PODS, podBody('forced', { nodeName: 'n' }));
    const { resourceVersion } = (await call('DELETE', `${PODS}/forced`)).body.metadata;
    const at = `${PODS}?watch=1&fieldSelector=metadata.name%3Dforced&resourceVersion=${resourceVersion}`;
    const events = await watch(at);
    const preconditions = { uid: made.metadata.uid, resourceVersion };
    const now = { gracePeriodSeconds: 0, preconditions };
    const tried = await call('DELETE', `${PODS}/forced?dryRun=All`, { ...now, dryRun: ['All'] });
    expect(tried.status).toBe(200);
    expect((await call('DELETE', `${PODS}/forced`, now)).status).toBe(200);
    const told = await events.next();
    expect(told).toMatchObject({ type: 'MODIFIED', object: { metadata: { deletionGracePeriodSeconds: 0 } } });
    const gone = await events.next();
    expect(gone).toMatchObject({ type: 'DELETED', object: { metadata: { deletionGracePeriodSeconds: 0 } } });
    expect(Number(gone.object.metadata.resourceVersion)).toBeGreaterThan(Number(told.object.metadata.resourceVersion));
    events.close();
  });

  test('a finalizer holds the object until it is removed', async () => {
    await call('POST', CONFIG_MAPS, configMap('held', {}, { finalizers: ['example.com/wait'] }));
    const deleted = await call('DELETE', `${CONFIG_MAPS}/held`);
    expect(deleted.body.metadata.deletionTimestamp).toBeDefined();
    const added = await call('PATCH', `${CONFIG_MAPS}/held`, { metadata: { finalizers: ['example.com/more'] } });
    expect(added.status).toBe(422);
    await call('PATCH', `${CONFIG_MAPS}/held`, { metadata: { finalizers: null } });
    expect((await call('GET', `${CONFIG_MAPS}/held`)).status).toBe(404);
  });

  test('a namespace goes when its finalizer is taken away; the system ones never', async () => {
    await call('POST', '/api/v1/namespaces', { metadata: { name: 'brief' } });
    const going = await call('DELETE', '/api/v1/namespaces/brief');
    expect(going.body).toMatchObject({ status: { phase: 'Terminating' }, spec: { finalizers: ['kubernetes'] } });
    const late = await call('POST', '/api/v1/namespaces/brief/configmaps', configMap('late'));
    expect(late.body.details.causes[0].reason).toBe('NamespaceTerminating');
    await call('PUT', '/api/v1/namespaces/brief/finalize', { ...going.body, spec: {} });
    expect((await call('GET', '/api/v1/namespaces/brief')).status).toBe(404);
    expect((await call('DELETE', '/api/v1/namespaces/default')).body.message).toContain(
      'this namespace may not be deleted',
    );
  });

  test('a collection by label', async () => {
    for (const name of ['x1', 'x2']) await call('POST', CONFIG_MAPS, configMap(name, {}, { labels: { batch: 'x' } }));
    await call('DELETE', `${CONFIG_MAPS}?labelSelector=batch%3Dx`);
    expect((await call('GET', `${CONFIG_MAPS}?labelSelector=batch%3Dx`)).body.items).toEqual([]);
  });
});

test('the priorities of the system are there from the first moment', async () => {
  const { body } = await call('GET', '/apis/scheduling.k8s.io/v1/priorityclasses');
  expect(body.items.map((c: Json) => [c.metadata.name, c.value])).toEqual([
    ['system-cluster-critical', 2_000_000_000],
    ['system-node-critical', 2_000_001_000],
  ]);
});

describe('quotas', () => {
  const base = '/api/v1/namespaces/kube-node-lease';
  const small = { containers: [{ name: 'c', image: 'busybox', resources: { requests: { cpu: '300m' } } }] };

  test('are charged for what is made, and refuse what is too much, however many ask at once', async () => {
    await call('POST', `${base}/serviceaccounts`, { metadata: { name: 'default' } });
    const hard = { cpu: '1', 'count/configmaps': '1' };
    await call('POST', `${base}/resourcequotas`, { metadata: { name: 'q' }, spec: { hard } });
    const status = { hard, used: { cpu: '0', 'count/configmaps': '0' } }; // as the controller finds it
    await call('PATCH', `${base}/resourcequotas/q/status`, { status });
    expect((await call('POST', `${base}/pods`, podBody('silent'))).body.message).toBe(
      'pods "silent" is forbidden: failed quota: q: must specify cpu for: c',
    );
    expect((await call('POST', `${base}/pods?dryRun=All`, podBody('tried', small))).status).toBe(201);
    const names = ['a', 'b', 'c', 'd', 'e'];
    const replies = await Promise.all(names.map((name) => call('POST', `${base}/pods`, podBody(name, small))));
    expect(replies.map((r) => r.status).sort()).toEqual([201, 201, 201, 403, 403]);
    expect(replies.find((r) => r.status === 403)!.body.message).toContain(
      'is forbidden: exceeded quota: q, requested: cpu=300m, used: cpu=900m, limited: cpu=1',
    );
    const { name } = replies.find((r) => r.status === 201)!.body.metadata;
    const more = { spec: { containers: [{ name: 'c', resources: { requests: { cpu: '401m' } } }] } };
    expect((await call('PATCH', `${base}/pods/${name}/resize`, more)).body.message).toBe(
      `pods "${name}" is forbidden: exceeded quota: q, requested: cpu=101m, used: cpu=900m, limited: cpu=1`,
    );
    const { body: quota } = await call('GET', `${base}/resourcequotas/q`);
    expect(quota.status.used).toEqual({ cpu: '900m', 'count/configmaps': '0' });
    expect((await call('POST', `${base}/configmaps`, configMap('one'))).status).toBe(201);
    expect((await call('POST', `${base}/configmaps`, configMap('two'))).body.message).toContain(
      'requested: count/configmaps=1, used: count/configmaps=1, limited: count/configmaps=1',
    );
  });
});

describe('list and watch', () => {
  const base = '/api/v1/namespaces/kube-public/configmaps';

  test('pages show one revision, whatever is written between them', async () => {
    for (const name of ['p1', 'p2', 'p3']) await call('POST', base, configMap(name, {}, { labels: { page: 'y' } }));
    const first = await call('GET', `${base}?limit=2`);
    expect(first.body.metadata.remainingItemCount).toBe(1);
    await call('DELETE', `${base}/p3`);
    await call('POST', base, configMap('p2b'));
    const rest = await call('GET', `${base}?limit=2&continue=${first.body.metadata.continue}`);
    expect(rest.body.items.map((i: Json) => i.metadata.name)).toEqual(['p3']);
    expect(rest.body.metadata.resourceVersion).toBe(first.body.metadata.resourceVersion);
    const whole = await call('GET', `${base}?limit=-1`);
    expect(whole.body.metadata.continue).toBeUndefined();
    expect((await call('GET', `${base}?limit=two`)).status).toBe(400);
  });

  test('a watch from a list misses nothing and sees the selection change', async () => {
    const { body: list } = await call('GET', base);
    const from = `${base}?watch=1&labelSelector=on%3Dyes&resourceVersion=${list.metadata.resourceVersion}`;
    const events = await watch(from);
    await call('POST', base, configMap('w', { v: '1' }));
    await call('PATCH', `${base}/w`, { metadata: { labels: { on: 'yes' } } });
    const added = await events.next();
    expect(added).toMatchObject({ type: 'ADDED', object: { data: { v: '1' } } });
    await call('PATCH', `${base}/w`, { data: { v: '2' } });
    expect((await events.next()).type).toBe('MODIFIED');
    const { body: left } = await call('PATCH', `${base}/w`, { metadata: { labels: { on: 'no' } }, data: { v: '3' } });
    expect(await events.next()).toMatchObject({
      type: 'DELETED',
      object: { data: { v: '2' }, metadata: { labels: { on: 'yes' }, resourceVersion: left.metadata.resourceVersion } },
    });
    events.close();
  });

  test('initial events end with a marked bookmark', async () => {
    await call('POST', base, configMap('init', {}, { labels: { init: 'z' } }));
    const query = 'watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan';
    const events = await watch(`${base}?${query}&labelSelector=init%3Dz`);
    expect((await events.next()).type).toBe('ADDED');
    const bookmark = await events.next();
    expect(bookmark).toMatchObject({
      type: 'BOOKMARK',
      object: { kind: 'ConfigMap', metadata: { annotations: { 'k8s.io/initial-events-end': 'true' } } },
    });
    events.close();
    expect((await call('GET', `${base}?watch=1&sendInitialEvents=true`)).status).toBe(422);
  });

  test('a version from before the history is Expired', async () => {
    const events = await watch(`${base}?watch=1&resourceVersion=5`);
    expect(await events.next()).toMatchObject({ type: 'ERROR', object: { code: 410, reason: 'Expired' } });
  });

  test('a timed watch ends by itself', async () => {
    const { text, status } = await call(
      'GET',
      `${base}?watch=1&timeoutSeconds=1&resourceVersion=0&fieldSelector=metadata.name%3Dnone`,
    );
    expect([status, text]).toEqual([200, '']);
  });

  test('field selectors with empty values and negation; unknown fields are refused', async () => {
    const names = (r: Reply) => r.body.items.map((i: Json) => i.metadata.name);
    await call('POST', PODS, podBody('on-node', { nodeName: 'far' }));
    expect(names(await call('GET', '/api/v1/pods?fieldSelector=spec.nodeName%3Dfar,status.phase!%3DFailed'))).toEqual([
      'on-node',
    ]);
    expect(names(await call('GET', '/api/v1/pods?fieldSelector=spec.nodeName%3D'))).not.toContain('on-node');
    expect((await call('GET', '/api/v1/pods?fieldSelector=spec.foo%3D1')).body.message).toBe(
      'field label not supported: spec.foo',
    );
  });
});

describe('forms', () => {
  const TABLE = { accept: 'application/json;as=Table;v=v1;g=meta.k8s.io,application/json' };

  test('tables, metadata only, YAML, and what cannot be met', async () => {
    const table = await call('GET', '/api/v1/namespaces', undefined, TABLE);
    expect(table.body.columnDefinitions.map((c: Json) => c.name)).toEqual(['Name', 'Status', 'Age']);
    expect(table.body.rows[0]).toMatchObject({
      cells: ['default', 'Active', expect.any(String)],
      object: { kind: 'PartialObjectMetadata' },
    });
    const partial = { accept: 'application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1' };
    const metas = await call('GET', '/api/v1/namespaces', undefined, partial);
    expect(Object.keys(metas.body.items[0]).sort()).toEqual(['apiVersion', 'kind', 'metadata']);
    const yaml = await call('GET', '/api/v1/namespaces/default', undefined, { accept: 'application/yaml' });
    expect(yaml.text).toContain('kind: Namespace\n');
    expect((await call('GET', '/api/v1/pods', undefined, { accept: 'text/html' })).status).toBe(406);
  });

  test('events are one object under two names', async () => {
    const at = '/namespaces/default/events';
    const regarding = { kind: 'Pod', namespace: 'default', name: 'p' };
    await call('POST', `/apis/events.k8s.io/v1${at}`, {
      metadata: { name: 'e' },
      regarding,
      note: 'hello',
      type: 'Normal',
    });
    const core = await call('GET', `/api/v1${at}?fieldSelector=involvedObject.name%3Dp`);
    expect(core.body.items[0]).toMatchObject({ message: 'hello', involvedObject: regarding, apiVersion: 'v1' });
    const fresh = await call('PATCH', `/apis/events.k8s.io/v1${at}/e`, { note: 'again' });
    expect(fresh.body).toMatchObject({ note: 'again', apiVersion: 'events.k8s.io/v1' });
  });

  test('discovery in both forms, and the OpenAPI that kubectl asks for', async () => {
    const aggregated = {
      accept: 'application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json',
    };
    const core = await call('GET', '/api', undefined, aggregated);
    expect(core.headers['content-type']).toBe('application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList');
    const pods = core.body.items[0].versions[0].resources.find((r: Json) => r.resource === 'pods');
    expect(pods.subresources).toContainEqual({
      subresource: 'eviction',
      responseKind: { group: 'policy', version: 'v1', kind: 'Eviction' },
      verbs: ['create'],
    });
    expect((await call('GET', '/api', undefined, { ...aggregated, 'if-none-match': core.headers.etag! })).status).toBe(
      304,
    );
    const { body: groups } = await call('GET', '/apis');
    for (const group of groups.groups) {
      const { status } = await call('GET', `/apis/${group.preferredVersion.groupVersion}`);
      expect(status).toBe(200);
    }
    const index = await call('GET', '/openapi/v3');
    const apps = await call('GET', index.body.paths['apis/apps/v1'].serverRelativeURL);
    const { schemas } = apps.body.components;
    const named = (name: string) => ({ $ref: `#/components/schemas/io.k8s.${name}` });
    expect(schemas['io.k8s.api.apps.v1.Deployment']).toMatchObject({
      properties: {
        metadata: named('apimachinery.pkg.apis.meta.v1.ObjectMeta'),
        spec: named('api.apps.v1.DeploymentSpec'),
      },
      'x-kubernetes-group-version-kind': [{ group: 'apps', kind: 'Deployment', version: 'v1' }],
    });
    const container = schemas['io.k8s.api.core.v1.Container'].properties;
    expect(container.args).toEqual({ type: 'array', items: { type: 'string' } });
    const quantities = { type: 'object', additionalProperties: named('apimachinery.pkg.api.resource.Quantity') };
    expect(schemas['io.k8s.api.core.v1.ResourceRequirements'].properties.limits).toEqual(quantities);
    const references = [...apps.text.matchAll(/"#\/components\/schemas\/([^"]+)"/g)].map(([, name]) => name!);
    expect(references.filter((name) => schemas[name] === undefined)).toEqual([]);
    // kubectl finds the kind of a resource by its GET.
    expect(apps.body.paths['/apis/apps/v1/namespaces/{namespace}/deployments/{name}'].get).toMatchObject({
      'x-kubernetes-group-version-kind': { group: 'apps', kind: 'Deployment', version: 'v1' },
    });
    const v2 = await call('GET', '/openapi/v2', undefined, {
      accept: 'application/com.github.proto-openapi.spec.v2@v1.0+protobuf',
    });
    expect(v2.text).toMatch(
      /\/apis\/apps\/v1\/namespaces\/\{namespace\}\/deployments\/\{name\}[^/]*dryRun[^/]*kind: Deployment/,
    );
  });
});

describe('subresources', () => {
  test('binding gives a node once', async () => {
    await call('POST', PODS, podBody('bound'));
    const binding = { metadata: { name: 'bound' }, target: { kind: 'Node', name: 'n1' } };
    expect((await call('POST', `${PODS}/bound/binding`, binding)).status).toBe(201);
    const { body } = await call('GET', `${PODS}/bound`);
    expect(body.spec.nodeName).toBe('n1');
    expect(body.status.conditions).toMatchObject([{ type: 'PodScheduled', status: 'True' }]);
    const again = await call('POST', `${PODS}/bound/binding`, binding);
    expect(again.body.message).toContain('pod bound is already assigned to node "n1"');
  });

  test('scale changes replicas and nothing else', async () => {
    const labels = { app: 's' };
    const spec = { selector: { matchLabels: labels }, template: { metadata: { labels }, spec: podBody('x').spec } };
    const at = '/apis/apps/v1/namespaces/default/deployments';
    await call('POST', at, { metadata: { name: 's' }, spec });
    const scale = await call(
      'PATCH',
      `${at}/s/scale`,
      { spec: { replicas: 7 } },
      { 'content-type': 'application/merge-patch+json' },
    );
    expect(scale.body).toMatchObject({ kind: 'Scale', spec: { replicas: 7 }, status: { selector: 'app=s' } });
    expect((await call('GET', `${at}/s`)).body.spec.replicas).toBe(7);
  });

  test('eviction spends the budget, then refuses', async () => {
    const labels = { app: 'guarded' };
    const budgets = '/apis/policy/v1/namespaces/default/poddisruptionbudgets';
    await call('POST', budgets, {
      metadata: { name: 'b' },
      spec: { minAvailable: 1, selector: { matchLabels: labels } },
    });
    const status = {
      observedGeneration: 1,
      disruptionsAllowed: 1,
      currentHealthy: 2,
      desiredHealthy: 1,
      expectedPods: 2,
    };
    await call('PATCH', `${budgets}/b/status`, { status }, { 'content-type': 'application/merge-patch+json' });
    for (const name of ['g1', 'g2']) {
      await call('POST', PODS, podBody(name, { nodeName: 'n' }, { labels }));
      const conditions = [{ type: 'Ready', status: 'True' }];
      await call('PATCH', `${PODS}/${name}/status`, { status: { phase: 'Running', conditions } });
    }
    const evict = (name: string) =>
      call('POST', `${PODS}/${name}/eviction`, { kind: 'Eviction', apiVersion: 'policy/v1', metadata: { name } });
    expect((await evict('g1')).status).toBe(201);
    expect((await call('GET', `${PODS}/g1`)).body.metadata.deletionTimestamp).toBeDefined();
    const refused = await evict('g2');
    expect(refused.body).toMatchObject({ code: 429, details: { causes: [{ reason: 'DisruptionBudget' }] } });
  });
});
