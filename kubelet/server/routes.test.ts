import { expect, test } from 'vitest';
import { subresourcesOf } from './auth.ts';
import { ALL_ENDPOINTS, containerPath, ENDPOINTS, parseRoute, podPath, splitTarget } from './routes.ts';

test.each([
  ['GET', '/healthz', 'healthz', {}],
  ['HEAD', '/healthz', 'healthz', {}],
  ['GET', '/healthz/ping', 'healthz', { check: 'ping' }],
  ['GET', '/pods', 'pods', {}],
  ['GET', '/pods/', 'pods', {}],
  ['GET', '/runningpods/', 'runningPods', {}],
  ['POST', '/stats/summary', 'statsSummary', {}],
  ['GET', '/stats/summary/', 'statsSummary', {}],
  ['GET', '/containerLogs/ns/p/c/', 'containerLogs', { namespace: 'ns', pod: 'p', container: 'c' }],
  ['POST', '/exec/ns/p/u/c/', 'exec', { namespace: 'ns', pod: 'p', uid: 'u', container: 'c' }],
  ['GET', '/metrics/cadvisor', 'cadvisorMetrics', {}],
  ['GET', '/containerLogs/ns/p/c', 'containerLogs', { namespace: 'ns', pod: 'p', container: 'c' }],
  ['POST', '/run/ns/p/c', 'run', { namespace: 'ns', pod: 'p', container: 'c' }],
  ['GET', '/exec/ns/p/c', 'exec', { namespace: 'ns', pod: 'p', container: 'c' }],
  ['POST', '/exec/ns/p/u/c', 'exec', { namespace: 'ns', pod: 'p', uid: 'u', container: 'c' }],
  ['POST', '/attach/ns/p/c', 'attach', { namespace: 'ns', pod: 'p', container: 'c' }],
  ['POST', '/portForward/ns/p', 'portForward', { namespace: 'ns', pod: 'p' }],
  ['POST', '/portForward/ns/p/u', 'portForward', { namespace: 'ns', pod: 'p', uid: 'u' }],
  ['GET', '/logs', 'nodeLogs', {}],
  ['GET', '/logs/', 'nodeLogs', { path: '' }],
  ['GET', '/logs/a/../b', 'nodeLogs', { path: 'a/../b' }],
  ['GET', '/debug/pprof/heap', 'profiles', { path: 'heap' }],
  ['DELETE', '/debug/flags/v', 'verbosity', {}],
])('%s %s', (method, path, kind, params) => {
  const route = parseRoute(method, path);
  expect({ kind: route.endpoint.kind, params: route.params }).toEqual({ kind, params });
});

test.each([
  ['GET', '/', 404],
  ['GET', '', 404],
  ['GET', '/runningpods', 404],
  ['GET', '/podsfoo', 404],
  ['GET', '/pods//', 404],
  ['GET', '/metrics/', 404],
  ['GET', '/healthz/', 404],
  ['GET', '/configz/', 404],
  ['GET', '/exec/ns/p/', 404],
  ['GET', '//pods', 404],
  ['GET', '/exec/ns/p', 404],
  ['GET', '/exec/ns//c', 404],
  ['GET', '/exec/ns/p/u/c/more', 404],
  ['GET', '/containerLogs/ns/p/u/c', 404],
  ['GET', '/healthz/a/b', 404],
  ['GET', '/pods/../exec/ns/p/c', 404],
  ['GET', 'http://node/pods', 404],
  ['POST', '/pods', 405],
  ['GET', '/run/ns/p/c', 405],
  ['DELETE', '/exec/ns/p/c', 405],
])('%s %s is refused with %i', (method, path, code) => {
  expect(() => parseRoute(method, path)).toThrow(expect.objectContaining({ code }));
});

test('a wrong method is told which are right', () => {
  expect(() => parseRoute('PUT', '/exec/ns/p/c')).toThrow(
    expect.objectContaining({ message: '405: Method Not Allowed', headers: { Allow: 'GET, POST' } }),
  );
});

test.each([
  ['/run/ns/p/c', 'Debug endpoints are disabled.\n'],
  ['/exec/anything', 'Debug endpoints are disabled.\n'],
  ['/attach/ns/p/c', 'Debug endpoints are disabled.\n'],
  ['/portForward/ns/p', 'Debug endpoints are disabled.\n'],
  ['/containerLogs/ns/p/c', 'Debug endpoints are disabled.\n'],
  ['/runningpods/', 'Debug endpoints are disabled.\n'],
  ['/debug/pprof/heap', 'Debug endpoints are disabled.\n'],
  ['/logs/syslog', 'Debug endpoints are disabled.\n'],
  ['/configz', '404: Page Not Found'],
  ['/checkpoint/ns/p/c', '404: Page Not Found'],
  ['/debug/flags/v', '404: Page Not Found'],
  ['/statusz', '404: Page Not Found'],
  ['/flagz', '404: Page Not Found'],
])('without debugging handlers, and on the read-only port, %s is answered with %s', (path, text) => {
  for (const switches of [
    { ...ALL_ENDPOINTS, debug: false },
    { ...ALL_ENDPOINTS, readOnlyPort: true },
  ]) {
    for (const method of ['GET', 'POST']) {
      const code = text.startsWith('404') ? 404 : 405;
      expect(() => parseRoute(method, path, switches)).toThrow(expect.objectContaining({ code, message: text }));
    }
  }
});

test.each([
  ['nodeLogs', '/logs/', 'logs endpoint is disabled.\n'],
  ['profiling', '/debug/pprof/', 'profiling endpoint is disabled.\n'],
  ['flags', '/debug/flags/v', 'flags endpoint is disabled.\n'],
])('with %s switched off %s is answered with 405', (name, path, message) => {
  expect(() => parseRoute('GET', path, { ...ALL_ENDPOINTS, [name]: false })).toThrow(
    expect.objectContaining({ code: 405, message }),
  );
});

test('the read-only port has what upstream has there', () => {
  const readable = ENDPOINTS.filter((e) => e.readOnly).map((e) => e.pattern);
  expect(readable).toEqual([
    '/healthz',
    '/healthz/{check}',
    '/pods',
    '/stats/summary',
    '/metrics',
    '/metrics/cadvisor',
    '/metrics/resource',
    '/metrics/probes',
    '/metrics/slis',
  ]);
});

test('a path is decoded once, so that access is given for what is then served', () => {
  const { path, query } = splitTarget('/lo%67s/%2e%2e/a%2Fb?query=x%20y&query=z');
  expect(path).toBe('/logs/../a/b');
  expect(subresourcesOf(path)).toEqual(['log']);
  expect(parseRoute('GET', path).params).toEqual({ path: '../a/b' });
  expect(query.getAll('query')).toEqual(['x y', 'z']);
  expect(splitTarget('/%2565xec').path).toBe('/%65xec');
  expect(() => splitTarget('/exec/ns/p/%zz')).toThrow(expect.objectContaining({ code: 400 }));
});

test('pods and containers of a path', () => {
  expect(containerPath({ namespace: 'ns', pod: 'p', container: 'c' })).toEqual({
    namespace: 'ns',
    pod: 'p',
    container: 'c',
  });
  expect(podPath({ namespace: 'ns', pod: 'p', uid: 'u' })).toEqual({ namespace: 'ns', pod: 'p', uid: 'u' });
});
