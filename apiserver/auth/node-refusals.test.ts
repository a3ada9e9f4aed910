import { expect, test } from 'vitest';
import type { RequestInfo } from '../request.ts';
import { badRequest, conflict, forbidden, notFound, StatusError } from '../status-error.ts';
import { nodeRefusal } from './node-refusals.ts';

const pods = { group: '', resource: 'pods' };
const NODE = { name: 'system:node:n1', groups: ['system:nodes'] };
const request = (user = NODE) =>
  ({
    user,
    verb: 'patch',
    resource: 'pods',
    subresource: 'status',
    namespace: 'ns',
    name: 'p',
  }) as unknown as RequestInfo;

test('what a node writes against the rules is told with the rule', () => {
  expect(nodeRefusal(request(), forbidden(pods, 'p', 'no'))).toEqual({
    node: 'n1',
    verb: 'patch',
    resource: 'pods',
    subresource: 'status',
    namespace: 'ns',
    name: 'p',
    code: 403,
    reason: 'pods "p" is forbidden: no',
  });
  expect(nodeRefusal(request(), badRequest('what?'))).toMatchObject({ code: 400 });
  expect(nodeRefusal(request(), new StatusError(422, 'Invalid', 'wrong'))).toMatchObject({ code: 422 });
});

test('what may happen to anybody is not, nor what others do', () => {
  const terminating = new StatusError(403, 'Forbidden', 'no', { causes: [{ reason: 'NamespaceTerminating' }] });
  for (const err of [notFound(pods, 'p'), conflict(pods, 'p'), terminating, new Error('bug')]) {
    expect(nodeRefusal(request(), err)).toBeUndefined();
  }
  expect(nodeRefusal(request({ name: 'jane', groups: [] }), badRequest('what?'))).toBeUndefined();
});
