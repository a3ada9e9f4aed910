import { mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { CriError } from '../../cri/errors.ts';
import { checkpointEndpoint } from './checkpoint.ts';
import { answerOf } from './fake-call.ts';
import { FakeServedPods } from './fake-served-pods.ts';
import { requestLabels } from './http-metrics.ts';
import { profilesEndpoint } from './profiles.ts';
import { tlsOptions } from './tls-options.ts';
import { verbosityEndpoint } from './verbosity.ts';

describe('checkpoints', () => {
  let dir: string;
  let calls: unknown[];
  let fault: Error | undefined;

  beforeEach(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'nodelet-checkpoint-'));
    calls = [];
    fault = undefined;
  });
  afterEach(() => rm(dir, { recursive: true }));

  function ask(below: string) {
    const handler = checkpointEndpoint({
      dir: path.join(dir, 'checkpoints'),
      pods: new FakeServedPods(),
      runtime: {
        checkpointContainer: async (...args: unknown[]) => {
          calls.push(args);
          if (fault !== undefined) throw fault;
        },
      },
      clock: new FakeClock(Date.parse('2026-01-02T03:04:05Z')),
    });
    return answerOf(handler, 'POST', `/checkpoint/${below}`);
  }

  test('are written for root alone, under the names of pod and container', async () => {
    const location = path.join(dir, 'checkpoints', 'checkpoint-web_default-main-2026-01-02T03:04:05Z.tar');
    const answer = await ask('default/web/main?timeout=5&timeout=7');
    expect(answer).toMatchObject({ code: 200, body: JSON.stringify({ items: [location] }) });
    expect(answer.headers['content-type']).toBe('application/json');
    expect(calls).toEqual([['id-main', location, 7]]);
    expect((await stat(path.join(dir, 'checkpoints'))).mode & 0o777).toBe(0o700);
  });

  test.each([
    ['default/gone/main', 404, 'pod does not exist'],
    ['default/web/other', 404, 'container other does not exist'],
    ['default/web/main?timeout=soon', 404, 'cannot parse value of timeout parameter'],
  ])('of %s: %i', async (below, code, body) => {
    expect(await ask(below)).toMatchObject({ code, body });
    expect(calls).toEqual([]);
  });

  test('a runtime that cannot is quoted', async () => {
    fault = new CriError('CheckpointContainer', 'UNIMPLEMENTED', 'unknown method CheckpointContainer');
    expect(await ask('default/web/main')).toMatchObject({
      code: 500,
      body: 'checkpointing of default/web/main failed (rpc error: code = Unimplemented desc = unknown method CheckpointContainer)',
    });
  });
});

describe('the verbosity of the log', () => {
  const set: number[] = [];
  const ask = (method: string, body?: string) =>
    answerOf(
      verbosityEndpoint((v) => set.push(v)),
      method,
      '/debug/flags/v',
      body === undefined ? {} : { body },
    );

  test('is set by a number', async () => {
    expect(await ask('PUT', '6')).toMatchObject({
      code: 200,
      body: 'successfully set klog.logging.verbosity to 6\n',
    });
    expect(set).toEqual([6]);
  });

  test.each([
    ['GET', undefined, 406, 'unsupported http method\n'],
    ['PUT', 'much', 400, /^failed set klog.logging.verbosity much: /],
    ['PUT', '', 400, /^failed set /],
    ['PUT', '1'.repeat(100_000), 400, /too long/],
  ])('%s %s is refused', async (method, body, code, message) => {
    const answer = await ask(method, body?.slice(0, 100_000));
    expect(answer.code).toBe(code);
    expect(answer.body).toMatch(message);
  });
});

describe('profiles', () => {
  const ask = (below: string) => answerOf(profilesEndpoint(), 'GET', `/debug/pprof/${below}`);

  test('of the CPU, in the format of V8', async () => {
    const { code, body } = await ask('profile?seconds=1');
    expect(code).toBe(200);
    expect((JSON.parse(body) as { nodes: unknown[] }).nodes.length).toBeGreaterThan(0);
  });

  test('an index, the command line, and what only Go has', async () => {
    expect((await ask('')).body).toContain('profile?seconds=30');
    expect((await ask('cmdline')).body.split('\0')[0]).toBe(process.argv[0]);
    expect(await ask('heap')).toMatchObject({ code: 501, body: 'heap: not available from a program on Node.js\n' });
    expect((await ask('nothing')).code).toBe(404);
    expect((await ask('profile?seconds=100000')).code).toBe(400);
  });
});

test.each([
  ['GET', '/pods', 'GET', 'pods', 'false'],
  ['POST', '/exec/a/b/c?x=1', 'POST', 'exec', 'true'],
  ['POST', '/portForward/a/b', 'POST', 'portForward', 'false'],
  ['GET', '/metrics/cadvisor', 'GET', 'metrics/cadvisor', 'false'],
  ['GET', '/metrics/other', 'GET', 'metrics', 'false'],
  ['BREW', '/coffee', 'other', 'other', 'false'],
  ['GET', '/debug/pprof/', 'GET', 'debug', 'true'],
])('%s %s counts as %s %s, long-running: %s', (method, target, labelled, path, longRunning) => {
  expect(requestLabels(method, target, 'readwrite')).toEqual({
    method: labelled,
    path,
    server_type: 'readwrite',
    long_running: longRunning,
  });
});

test("TLS in Go's words", () => {
  const settings = {
    minVersion: 'VersionTLS13',
    cipherSuites: ['TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256', 'TLS_AES_128_GCM_SHA256'],
    curves: [23, 29],
  };
  expect(tlsOptions(settings)).toEqual({
    minVersion: 'TLSv1.3',
    ciphers: 'ECDHE-RSA-AES128-GCM-SHA256',
    ecdhCurve: 'P-256:X25519',
  });
  expect(tlsOptions({ minVersion: '', cipherSuites: [], curves: [] })).toEqual({ minVersion: 'TLSv1.2' });
  expect(() => tlsOptions({ ...settings, cipherSuites: ['TLS_NULL'] })).toThrow('tlsCipherSuites: "TLS_NULL"');
  expect(() => tlsOptions({ ...settings, curves: [1] })).toThrow('tlsCurvePreferences: 1 is not supported');
});
