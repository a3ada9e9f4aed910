import { generateKeyPairSync } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import { beforeEach, expect, test } from 'vitest';
import { type KubeObject, objectKey } from '../../api/meta.ts';
import type { ResourceType } from '../../api/resources.ts';
import type { ObjectReader } from '../registry/reader.ts';
import type { RequestInfo } from '../request.ts';
import { StatusError } from '../status-error.ts';
import type { CallContext, ObjectSubresource } from '../subresource.ts';
import { authenticate } from './authenticator.ts';
import { BearerAuthenticator, bearerToken, withoutTokenProtocol } from './bearer-tokens.ts';
import { BootstrapTokenAuthenticator } from './bootstrap-token.ts';
import { identityOf } from './client-certificate.ts';
import { signingKey, signJwt, verifyJwt } from './jwt.ts';
import { ServiceAccountTokens } from './service-account-tokens.ts';
import { parseTokenFile } from './static-tokens.ts';
import { tokenSubresource } from './token-request.ts';

class MemoryReader implements ObjectReader {
  readonly objects = new Map<string, KubeObject>();

  put(plural: string, object: object): void {
    this.objects.set(`${plural} ${objectKey(object as KubeObject)}`, object as KubeObject);
  }

  get<T extends KubeObject>(type: ResourceType<T>, name: { namespace?: string; name: string }): T | undefined {
    return this.objects.get(`${type.plural} ${name.namespace ? `${name.namespace}/` : ''}${name.name}`) as
      | T
      | undefined;
  }

  list<T extends KubeObject>(type: ResourceType<T>): readonly T[] {
    return [...this.objects].filter(([key]) => key.startsWith(`${type.plural} `)).map(([, object]) => object as T);
  }
}

const request = (headers: Record<string, string>): IncomingMessage =>
  ({ headers, socket: {} }) as unknown as IncomingMessage;
const START = Date.parse('2026-01-02T03:04:05Z');
const ISSUER = 'https://kubernetes.default.svc.cluster.local';
const ec = signingKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
const rsa = signingKey(generateKeyPairSync('rsa', { modulusLength: 2048 }).privateKey);

let nowMs: number;
let reader: MemoryReader;
let tokens: ServiceAccountTokens;
let tokenRequest: ObjectSubresource;
const warnings: string[] = [];

beforeEach(() => {
  nowMs = START;
  warnings.length = 0;
  reader = new MemoryReader();
  reader.put('serviceaccounts', { metadata: { namespace: 'ns', name: 'sa', uid: 'sa-1' } });
  reader.put('nodes', { metadata: { name: 'n1', uid: 'node-1' } });
  reader.put('pods', {
    metadata: { namespace: 'ns', name: 'p', uid: 'pod-1' },
    spec: { serviceAccountName: 'sa', nodeName: 'n1' },
  });
  const deps = { reader, nowMs: () => nowMs };
  tokens = new ServiceAccountTokens({ issuer: ISSUER, audiences: [ISSUER], signingKey: ec, otherKeys: [rsa] }, deps);
  tokenRequest = tokenSubresource({ tokens, ...deps });
});

async function requestToken(spec: object, name = 'sa'): Promise<{ token: string; expirationTimestamp: string }> {
  const info = { namespace: 'ns', name } as RequestInfo;
  const context: CallContext = {
    info,
    dryRun: false,
    signal: new AbortController().signal,
    warn: (t) => void warnings.push(t),
  };
  const { code, object } = await tokenRequest.create({ spec } as KubeObject, context);
  expect(code).toBe(201);
  return (object as { status: { token: string; expirationTimestamp: string } }).status;
}

const podBound = {
  boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: 'p', uid: 'pod-1' },
  expirationSeconds: 3607,
};

test('a token asked for a pod names account, pod and node, and works until it runs out', async () => {
  const { token, expirationTimestamp } = await requestToken(podBound);
  expect(expirationTimestamp).toBe('2026-01-02T04:04:12Z');
  expect(verifyJwt([ec], token)).toMatchObject({
    aud: [ISSUER],
    exp: START / 1000 + 3607,
    sub: 'system:serviceaccount:ns:sa',
    'kubernetes.io': { pod: { name: 'p', uid: 'pod-1' }, node: { name: 'n1', uid: 'node-1' } },
  });
  const user = await authenticate([new BearerAuthenticator([tokens])], request({ authorization: `Bearer ${token}` }));
  expect(user).toMatchObject({
    name: 'system:serviceaccount:ns:sa',
    uid: 'sa-1',
    groups: ['system:serviceaccounts', 'system:serviceaccounts:ns', 'system:authenticated'],
    extra: { 'authentication.kubernetes.io/pod-name': ['p'], 'authentication.kubernetes.io/node-uid': ['node-1'] },
  });
  nowMs = START + (3607 + 61) * 1000;
  expect(() => tokens.authenticateToken(token, [])).toThrow('expired');
});

test('a token dies with its pod, and with an account made anew under the same name', async () => {
  const { token } = await requestToken(podBound);
  expect(tokens.authenticateToken(token, [])).toBeDefined();
  reader.put('pods', { metadata: { namespace: 'ns', name: 'p', uid: 'pod-2' } });
  expect(() => tokens.authenticateToken(token, [])).toThrow('service account token has been invalidated');
  const plain = (await requestToken({})).token;
  reader.put('serviceaccounts', { metadata: { namespace: 'ns', name: 'sa', uid: 'sa-2' } });
  expect(() => tokens.authenticateToken(plain, [])).toThrow('invalidated');
});

test('a token for another audience does not open the API server, but reviews for that audience see it', async () => {
  const { token } = await requestToken({ audiences: ['vault'] });
  expect(() => tokens.authenticateToken(token, [])).toThrow('audiences');
  expect(tokens.authenticateToken(token, ['vault', 'other'])?.audiences).toEqual(['vault']);
});

test('what may not be asked', async () => {
  const refuses = async (spec: object, code: number, name = 'sa'): Promise<void> => {
    await expect(requestToken(spec, name)).rejects.toMatchObject({ code });
    await expect(requestToken(spec, name)).rejects.toBeInstanceOf(StatusError);
  };
  await refuses({ expirationSeconds: 599 }, 422);
  await refuses({ expirationSeconds: 2 ** 33 }, 422);
  await refuses({}, 404, 'missing');
  await refuses({ boundObjectRef: { kind: 'ConfigMap', apiVersion: 'v1', name: 'p' } }, 400);
  await refuses({ boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: 'gone' } }, 404);
  await refuses({ boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: 'p', uid: 'other' } }, 409);
  reader.put('serviceaccounts', { metadata: { namespace: 'ns', name: 'other', uid: 'o' } });
  await refuses(podBound, 400, 'other');
  await requestToken({ expirationSeconds: 2 ** 31 });
  expect(warnings).toEqual([expect.stringContaining('shortened')]);
});

test('forged, foreign and broken tokens are refused', async () => {
  const { token } = await requestToken({});
  const [head, , signature] = token.split('.');
  const forgedClaims = Buffer.from(
    JSON.stringify({ iss: ISSUER, sub: 'system:serviceaccount:kube-system:x' }),
  ).toString('base64url');
  expect(() => tokens.authenticateToken(`${head}.${forgedClaims}.${signature}`, [])).toThrow('signature');
  const none = Buffer.from('{"alg":"none"}').toString('base64url');
  expect(() => tokens.authenticateToken(`${none}.${forgedClaims}.`, [])).toThrow('signature');
  // HS256 with the public key as the secret: the algorithm of the key counts, not that of the token.
  expect(() =>
    tokens.authenticateToken(token.replace(head!, Buffer.from('{"alg":"HS256"}').toString('base64url')), []),
  ).toThrow();
  expect(tokens.authenticateToken('abc', [])).toBeUndefined();
  const strange = signingKey(generateKeyPairSync('ec', { namedCurve: 'P-256' }).privateKey);
  expect(() => tokens.authenticateToken(signJwt(strange, { iss: ISSUER }), [])).toThrow('signature');
  const bearer = [new BearerAuthenticator([tokens])];
  expect(await authenticate(bearer, request({ authorization: 'Bearer abc' }))).toBe('invalid');
  expect(await authenticate(bearer, request({}))).toMatchObject({ name: 'system:anonymous' });
});

test('a token signed by an older RSA key still works', () => {
  const old = new ServiceAccountTokens(
    { issuer: ISSUER, audiences: [ISSUER], signingKey: rsa },
    { reader, nowMs: () => nowMs },
  );
  const token = old.issue({ namespace: 'ns', serviceaccount: { name: 'sa', uid: 'sa-1' } }, [ISSUER], nowMs + 60_000);
  expect(tokens.authenticateToken(token, [])?.user.uid).toBe('sa-1');
});

test('bootstrap tokens follow their Secret', () => {
  const authenticator = new BootstrapTokenAuthenticator(reader, () => nowMs);
  const put = (data: Record<string, string>): void => {
    const all = {
      'token-id': 'abcdef',
      'token-secret': '0123456789abcdef',
      'usage-bootstrap-authentication': 'true',
      'auth-extra-groups': 'system:bootstrappers:nodes',
      ...data,
    };
    const encoded = Object.fromEntries(Object.entries(all).map(([k, v]) => [k, Buffer.from(v).toString('base64')]));
    const metadata = { namespace: 'kube-system', name: 'bootstrap-token-abcdef' };
    reader.put('secrets', { metadata, type: 'bootstrap.kubernetes.io/token', data: encoded });
  };
  const good = 'abcdef.0123456789abcdef';
  expect(authenticator.authenticateToken(good)).toBeUndefined();
  put({ expiration: '2026-01-02T04:00:00Z' });
  expect(authenticator.authenticateToken(good)?.user).toEqual({
    name: 'system:bootstrap:abcdef',
    groups: ['system:bootstrappers', 'system:bootstrappers:nodes'],
  });
  expect(() => authenticator.authenticateToken('abcdef.0123456789abcdee')).toThrow('wrong secret');
  nowMs += 3600_000;
  expect(() => authenticator.authenticateToken(good)).toThrow('expired');
  put({ expiration: 'soon' });
  expect(() => authenticator.authenticateToken(good)).toThrow('expired');
  put({ 'auth-extra-groups': 'system:masters' });
  expect(() => authenticator.authenticateToken(good)).toThrow('groups');
});

test('token files', () => {
  const users = parseTokenFile('# people\nt1,jane,u1,"dev,ops"\n\nt2,joe,\n');
  expect(users.authenticateToken('t1')?.user).toEqual({ name: 'jane', uid: 'u1', groups: ['dev', 'ops'] });
  expect(users.authenticateToken('t2')?.user).toEqual({ name: 'joe', groups: [] });
  expect(users.authenticateToken('t3')).toBeUndefined();
  expect(() => parseTokenFile('t1,jane,u1\nbroken')).toThrow('line 2');
});

test('a WebSocket carries its token as a protocol, which goes no further', () => {
  const protocol = `base64url.bearer.authorization.k8s.io.${Buffer.from('tok').toString('base64url')}`;
  expect(bearerToken(request({ 'sec-websocket-protocol': `${protocol}, v5.channel.k8s.io` }))).toBe('tok');
  expect(bearerToken(request({ 'sec-websocket-protocol': protocol }))).toBeUndefined();
  expect(withoutTokenProtocol(`${protocol}, v5.channel.k8s.io`)).toBe('v5.channel.k8s.io');
});

test('who a client certificate names', () => {
  const raw = Buffer.from('der');
  expect(identityOf({}, false)).toBeUndefined();
  expect(identityOf({ raw, subject: { CN: 'jane', O: 'dev' } }, true)).toMatchObject({ name: 'jane', groups: ['dev'] });
  expect(identityOf({ raw, subject: { CN: 'jane', O: ['a', 'b'] } }, true)).toMatchObject({ groups: ['a', 'b'] });
  expect(identityOf({ raw, subject: { CN: 'jane' } }, false)).toBe('invalid');
  expect(identityOf({ raw, subject: { CN: 's' }, ext_key_usage: ['1.3.6.1.5.5.7.3.1'] }, true)).toBe('invalid');
  expect(identityOf({ raw, subject: { O: 'dev' } }, true)).toBeUndefined();
});
