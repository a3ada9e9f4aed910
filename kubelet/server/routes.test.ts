import { expect, test } from 'vitest';
import { parseRoute } from './routes.ts';

test.each([
  ['GET', '/healthz/ping', { kind: 'healthz', check: 'ping' }],
  ['HEAD', '/healthz', { kind: 'healthz' }],
  ['GET', '/pods/', { kind: 'pods' }],
  ['GET', '/runningpods/', { kind: 'runningPods' }],
  ['GET', '/containerLogs/ns/p/c', { kind: 'logs', target: { namespace: 'ns', pod: 'p', container: 'c' } }],
  ['POST', '/run/ns/p/c', { kind: 'run', target: { namespace: 'ns', pod: 'p', container: 'c' } }],
  ['GET', '/exec/ns/p/c', { kind: 'exec', target: { namespace: 'ns', pod: 'p', container: 'c' } }],
  ['POST', '/exec/ns/p/u/c', { kind: 'exec', target: { namespace: 'ns', pod: 'p', uid: 'u', container: 'c' } }],
  ['POST', '/attach/ns/p/c', { kind: 'attach', target: { namespace: 'ns', pod: 'p', container: 'c' } }],
  ['POST', '/portForward/ns/p', { kind: 'portForward', target: { namespace: 'ns', pod: 'p' } }],
  ['POST', '/portForward/ns/p/u', { kind: 'portForward', target: { namespace: 'ns', pod: 'p', uid: 'u' } }],
])('%s %s', (method, path, route) => {
  expect(parseRoute(method, path)).toEqual(route);
});

test.each([
  ['GET', '/', 404],
  ['GET', '/runningpods', 404],
  ['GET', '/podsfoo', 404],
  ['GET', '/exec/ns/p', 404],
  ['GET', '/exec/ns//c', 404],
  ['GET', '/exec/ns/p/u/c/more', 404],
  ['GET', '/containerLogs/ns/p/u/c', 404],
  ['GET', '/healthz/a/b', 404],
  ['POST', '/pods', 405],
  ['GET', '/run/ns/p/c', 405],
  ['DELETE', '/exec/ns/p/c', 405],
  ['GET', '/exec/ns/p/%zz', 400],
])('%s %s is refused with %i', (method, path, code) => {
  expect(() => parseRoute(method, path)).toThrow(expect.objectContaining({ code }));
});

test('an encoded slash stays in its segment', () => {
  expect(parseRoute('GET', '/exec/ns/p/a%2Fb')).toMatchObject({ target: { container: 'a/b' } });
});
