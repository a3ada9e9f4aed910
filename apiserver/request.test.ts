import { expect, test } from 'vitest';
import { tooLargeVersion } from './query-options.ts';
import { parsePath } from './request.ts';

const parse = (method: string, url: string) => {
  const [path = '', query = ''] = url.split('?');
  return parsePath(method, path, new URLSearchParams(query));
};

test.each([
  ['GET', '/api/v1/pods', { verb: 'list', resource: 'pods', namespace: '', name: '' }],
  ['GET', '/api/v1/namespaces/a/pods?watch=true', { verb: 'watch', resource: 'pods', namespace: 'a' }],
  ['GET', '/api/v1/namespaces/a/pods?watch=0', { verb: 'list' }],
  ['POST', '/apis/apps/v1/namespaces/a/deployments', { verb: 'create', group: 'apps', version: 'v1' }],
  ['PATCH', '/api/v1/namespaces/a/pods/p/status', { verb: 'patch', name: 'p', subresource: 'status' }],
  ['DELETE', '/api/v1/nodes', { verb: 'deletecollection', resource: 'nodes' }],
  ['GET', '/api/v1/namespaces/a', { verb: 'get', resource: 'namespaces', name: 'a', namespace: 'a' }],
  ['PUT', '/api/v1/namespaces/a/finalize', { resource: 'namespaces', name: 'a', subresource: 'finalize' }],
  ['GET', '/api/v1/namespaces/a/status', { resource: 'namespaces', name: 'a', subresource: 'status' }],
  ['GET', '/apis/rbac.authorization.k8s.io/v1/clusterroles/system%3Anode', { name: 'system:node' }],
  ['GET', '/apis/apps/v1', { isResource: false, path: '/apis/apps/v1', verb: 'get' }],
  ['GET', '/api/v1/nodes/n/proxy/a%2Fb/c', { subresource: 'proxy', name: 'n', subpath: 'a%2Fb/c' }],
  ['GET', '/api/v1/namespaces/x/pods/http:p:80/proxy/m', { name: 'http:p:80', namespace: 'x', subpath: 'm' }],
])('%s %s', (method, url, expected) => {
  expect(parse(method, url)).toMatchObject(expected);
});

test.each([
  '/api/v1/pods/..',
  '/api/v1/namespaces/%2e%2e/pods',
  '/api/v1/nodes/a%2Fb',
  '/api/v1/nodes/%zz',
  '/api/v1/namespaces/a/pods/p/log/more',
])('refuses %s', (url) => {
  expect(parse('GET', url)).toBeUndefined();
});

// client-go waits and asks again when it finds this cause, and kubectl shows the text.
test('a version that the store has not reached is told as kube-apiserver tells it', () => {
  const { code, reason, message, details } = tooLargeVersion(9, 7).toStatus();
  expect({ code, reason, message }).toEqual({
    code: 504,
    reason: 'Timeout',
    message: 'Timeout: Too large resource version: 9, current: 7',
  });
  expect(details?.causes).toEqual([{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }]);
});
