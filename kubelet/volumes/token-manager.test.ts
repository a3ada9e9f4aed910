import { beforeEach, expect, test } from 'vitest';
import type { TokenRequest } from '../../api/kinds.ts';
import { FakeApi } from '../../client/fake-client.ts';
import { AgentError } from '../../core/errors.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { TokenManager, type TokenSpec } from './token-manager.ts';

const spec: TokenSpec = {
  podName: 'p',
  podUid: 'u',
  namespace: 'default',
  serviceAccount: 'sa',
  audience: '',
  expirationSeconds: 3600,
};
const { signal } = new AbortController();

let clock: FakeClock;
let api: FakeApi;
let due: string[];
let tokens: TokenManager;

beforeEach(() => {
  clock = new FakeClock();
  api = new FakeApi();
  due = [];
  let issued = 0;
  api.onCreateSubresource('serviceaccounts', 'token', (_, body) => {
    const seconds = (body as TokenRequest).spec.expirationSeconds!;
    const expirationTimestamp = new Date(clock.now() + seconds * 1000).toISOString();
    return { ...body, status: { token: `t${++issued}`, expirationTimestamp } };
  });
  const onRefreshDue = (uid: string) => void due.push(uid);
  tokens = new TokenManager({ client: api, clock, log: silentLog, onRefreshDue, random: () => 0 });
});

test('a token is kept until 80 % of its life, then its pod is due and gets a new one', async () => {
  expect(await tokens.token(spec, signal)).toBe('t1');
  await clock.advance(2_879_999);
  expect(await tokens.token(spec, signal)).toBe('t1');
  expect(due).toEqual([]);
  await clock.advance(1);
  expect(due).toEqual(['u']);
  expect(await tokens.token(spec, signal)).toBe('t2');
});

test('a token of a week is renewed after a day', async () => {
  const week = { ...spec, expirationSeconds: 7 * 24 * 3600 };
  await tokens.token(week, signal);
  await clock.advance(24 * 3600 * 1000);
  expect(due).toEqual(['u']);
});

test('the request is bound to the pod', async () => {
  await tokens.token({ ...spec, audience: 'vault' }, signal);
  const request = api.requests.find((r) => r.verb === 'create');
  expect(request).toMatchObject({ plural: 'serviceaccounts', name: 'sa', subresource: 'token' });
  expect((request!.body as TokenRequest).spec).toMatchObject({
    audiences: ['vault'],
    boundObjectRef: { kind: 'Pod', name: 'p', uid: 'u' },
  });
});

test('a failed renewal keeps a good token, is tried again in half a minute, and refuses an expired one', async () => {
  await tokens.token(spec, signal);
  await clock.advance(3_000_000);
  due.length = 0;
  const failure = new AgentError('connection refused', { code: 'API_UNREACHABLE' });
  api.failNext('create', failure);
  expect(await tokens.token(spec, signal)).toBe('t1');
  await clock.advance(29_999);
  expect(due).toEqual([]);
  await clock.advance(1);
  expect(due).toEqual(['u']);
  await clock.advance(570_000);
  api.failNext('create', failure);
  await expect(tokens.token(spec, signal)).rejects.toThrow(/expired and refresh failed: connection refused/);
});

test('a node whose clock is hours ahead asks once a minute, not all the time', async () => {
  const answered = api.create.bind(api);
  api.create = async (type, name, object, opts) => {
    const answer = (await answered(type, name, object, opts)) as unknown as TokenRequest;
    const expirationTimestamp = new Date(clock.now() - 7_200_000).toISOString();
    return { ...answer, status: { token: answer.status!.token, expirationTimestamp } } as never;
  };
  await tokens.token(spec, signal);
  await clock.advance(59_999);
  expect(due).toEqual([]);
  await clock.advance(1);
  expect(due).toEqual(['u']);
});

test('a pod that is gone leaves neither token nor timer', async () => {
  await tokens.token(spec, signal);
  tokens.forgetPod('u');
  expect(clock.sleeping).toBe(0);
  expect(await tokens.token(spec, signal)).toBe('t2');
});
