import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { ApiError, connectionError, statusOf } from '../../client/errors.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { Gate, type KubeletUser } from './auth.ts';
import { takeBearerToken } from './bearer-token.ts';
import { ReviewCache } from './review-cache.ts';
import { AccessReviewAuthorizer, alwaysAllow, TokenReviewAuthenticator } from './webhook-auth.ts';

/** An API server that answers what `answer` says and remembers what it was asked. */
function fakeReviews(answer: (spec: Record<string, unknown>) => object) {
  const asked: Record<string, unknown>[] = [];
  const client = {
    create: async (_type: unknown, _name: unknown, review: { spec: Record<string, unknown> }) => {
      asked.push(review.spec);
      return { ...review, status: answer(review.spec) };
    },
  };
  return { asked, client: client as never };
}

function requestWith(headers: Record<string, string>): IncomingMessage {
  const request = new IncomingMessage(new Socket());
  request.method = 'GET';
  request.headers = headers;
  request.rawHeaders = Object.entries(headers).flat();
  return request;
}

const bearer = (token: string) => requestWith({ authorization: `Bearer ${token}` });
const ANN = { username: 'ann', uid: '7', groups: ['dev', 'system:authenticated'], extra: { scope: ['a'] } };
const USER: KubeletUser = { name: 'ann', groups: ['dev'] };
const ATTRIBUTES = { verb: 'get', subresource: 'pods', node: 'node-1' };

function tokenGate(answer: Parameters<typeof fakeReviews>[0], anonymous = false) {
  const clock = new FakeClock();
  const api = fakeReviews(answer);
  const seen: KubeletUser[] = [];
  const gate = new Gate(
    { nodeName: 'node-1', anonymous },
    {
      authenticators: [new TokenReviewAuthenticator(120_000, { client: api.client, clock })],
      authorizer: {
        isAllowed: async (user) => {
          seen.push(user);
          return true;
        },
      },
      log: silentLog,
    },
  );
  return { gate, clock, seen, asked: api.asked };
}

test('a token is whose the API server says, and is asked about once in its time', async () => {
  const { gate, clock, seen, asked } = tokenGate(() => ({ authenticated: true, user: ANN }));
  await gate.admit(bearer('t'), '/pods');
  await clock.advance(119_999);
  await gate.admit(bearer('t'), '/pods');
  expect(asked).toEqual([{ token: 't' }]);
  const { username: name, ...rest } = ANN;
  expect(seen).toEqual([
    { name, ...rest },
    { name, ...rest },
  ]);
  await clock.advance(1);
  await gate.admit(bearer('t'), '/pods');
  await gate.admit(bearer('other'), '/pods');
  expect(asked.length).toBe(3);
});

test('many requests with one token make one question', async () => {
  const { gate, asked } = tokenGate(() => ({ authenticated: true, user: ANN }));
  await Promise.all(Array.from({ length: 50 }, () => gate.admit(bearer('t'), '/pods')));
  expect(asked.length).toBe(1);
});

test.each([
  ['nobody', { authenticated: false }, 1],
  ['a reason', { authenticated: false, error: 'token has expired' }, 2],
])('a wrong token (%s) is refused even where strangers may come', async (_what, status, questions) => {
  const { gate, asked } = tokenGate(() => status, true);
  for (let i = 0; i < 2; i++) {
    await expect(gate.admit(bearer('t'), '/pods')).rejects.toMatchObject({ code: 401, message: 'Unauthorized' });
  }
  expect(asked.length).toBe(questions); // what may be a passing error is not kept
  await expect(gate.admit(requestWith({}), '/pods')).resolves.toMatchObject({ name: 'system:anonymous' });
});

test('an API server that cannot be reached leaves tokens unknown, and certificates of use', async () => {
  const clock = new FakeClock();
  const client = { create: () => Promise.reject(new Error('connection refused')) };
  const authenticator = new TokenReviewAuthenticator(1, { client, clock });
  await expect(authenticator.authenticate(bearer('t'))).rejects.toThrow('connection refused');
  await expect(authenticator.authenticate(requestWith({}))).resolves.toBeUndefined();
});

test('an API server that hung up on the question is asked again', async () => {
  const clock = new FakeClock();
  const hungUp = Object.assign(new Error('socket hang up'), { code: 'ECONNRESET' });
  let asked = 0;
  const client = {
    create: async () => {
      if (++asked === 1) throw connectionError(hungUp, 'POST /apis/authorization.k8s.io/v1/subjectaccessreviews');
      return { status: { allowed: true } };
    },
  };
  const options = { allowedMs: 1, deniedMs: 1 };
  const authorizer = new AccessReviewAuthorizer(options, { client: client as never, clock, random: () => 0 });
  const allowed = authorizer.isAllowed(USER, ATTRIBUTES);
  await clock.advance(500);
  expect(await allowed).toBe(true);
  expect(asked).toBe(2);
});

test('a busy API server is asked again, five times at most', async () => {
  const clock = new FakeClock();
  let calls = 0;
  const client = {
    create: async () => {
      calls++;
      throw new ApiError(statusOf(503, 'busy'));
    },
  };
  const authorizer = new AccessReviewAuthorizer({ allowedMs: 1, deniedMs: 1 }, { client, clock, random: () => 0 });
  const gate = new Gate({ nodeName: 'node-1', anonymous: true }, { authenticators: [], authorizer, log: silentLog });
  const refused = expect(gate.admit(requestWith({}), '/metrics')).rejects.toMatchObject({
    code: 500,
    message: 'Authorization error (user=system:anonymous, verb=get, resource=nodes, subresource=metrics)',
  });
  for (const [delayMs, made] of [
    [500, 2],
    [750, 3],
    [1125, 4],
    [1687.5, 5],
  ] as const) {
    await clock.advance(delayMs);
    expect(calls).toBe(made);
  }
  await refused;
  expect(clock.sleeping).toBe(0);
});

test('access is asked for as a SubjectAccessReview, and kept by its answer', async () => {
  const clock = new FakeClock();
  let allowed = false;
  const api = fakeReviews(() => ({ allowed }));
  const authorizer = new AccessReviewAuthorizer(
    { allowedMs: 300_000, deniedMs: 30_000 },
    { client: api.client, clock },
  );
  const ask = (user = USER) => authorizer.isAllowed(user, ATTRIBUTES);
  expect(await ask()).toBe(false);
  expect(api.asked).toEqual([
    {
      user: 'ann',
      groups: ['dev'],
      resourceAttributes: { verb: 'get', version: 'v1', resource: 'nodes', subresource: 'pods', name: 'node-1' },
    },
  ]);
  allowed = true;
  await clock.advance(29_999);
  expect(await ask()).toBe(false);
  await clock.advance(1);
  expect(await ask()).toBe(true);
  allowed = false;
  await clock.advance(299_999);
  expect(await ask()).toBe(true);
  expect(api.asked.length).toBe(2);
  expect(await ask({ ...USER, groups: ['dev', 'ops'] })).toBe(false); // another caller, another answer
  await clock.advance(1);
  expect(await ask()).toBe(false);
});

test('answers without a time are not kept', async () => {
  const api = fakeReviews(() => ({ allowed: true }));
  const authorizer = new AccessReviewAuthorizer(
    { allowedMs: 0, deniedMs: 0 },
    { client: api.client, clock: new FakeClock() },
  );
  await authorizer.isAllowed(USER, ATTRIBUTES);
  await authorizer.isAllowed(USER, ATTRIBUTES);
  expect(api.asked.length).toBe(2);
});

test('AlwaysAllow asks nobody', async () => {
  expect(await alwaysAllow.isAllowed(USER, ATTRIBUTES)).toBe(true);
});

const encoded = (token: string) => `base64url.bearer.authorization.k8s.io.${Buffer.from(token).toString('base64url')}`;

test('a token among the sub-protocols of a WebSocket is taken out of them', () => {
  const request = requestWith({
    upgrade: 'websocket',
    'sec-websocket-protocol': `v5.channel.k8s.io, ${encoded('secret')}, v4.channel.k8s.io`,
  });
  expect(takeBearerToken(request)).toBe('secret');
  expect(request.headers['sec-websocket-protocol']).toBe('v5.channel.k8s.io, v4.channel.k8s.io');
  expect(request.rawHeaders).toEqual([
    'upgrade',
    'websocket',
    'sec-websocket-protocol',
    'v5.channel.k8s.io, v4.channel.k8s.io',
  ]);
});

test.each([
  [encoded('a'), 'missing additional subprotocol'],
  [`${encoded('a')}, ${encoded('b')}, v4.channel.k8s.io`, 'multiple'],
  ['base64url.bearer.authorization.k8s.io.a+b=, v4.channel.k8s.io', 'base64url'],
])('sub-protocols %s are no token', (value, message) => {
  expect(() => takeBearerToken(requestWith({ upgrade: 'websocket', 'sec-websocket-protocol': value }))).toThrow(
    message,
  );
});

test.each([
  [{ authorization: 'bearer t' }, 't'],
  [{ authorization: 'Bearer ' }, undefined],
  [{ authorization: 'Basic dTpw' }, undefined],
  [{}, undefined],
  [{ 'sec-websocket-protocol': encoded('a') }, undefined],
])('the token of %j is %s', (headers, token) => {
  expect(takeBearerToken(requestWith(headers as Record<string, string>))).toBe(token);
});

test('a token that no issuer would write is not carried to the API server', () => {
  expect(() => takeBearerToken(bearer('t'.repeat(65 * 1024)))).toThrow('too long');
});

test('so many answers are kept, and the oldest goes first', async () => {
  const answers = new ReviewCache<string>(new FakeClock(), 2);
  const asked: string[] = [];
  const ask = (key: string) =>
    answers.get(key, async () => {
      asked.push(key);
      return { value: key, ttlMs: 1_000 };
    });
  for (const key of ['a', 'b', 'a', 'c', 'b', 'c', 'a']) await ask(key);
  expect(asked).toEqual(['a', 'b', 'c', 'a']);
});
