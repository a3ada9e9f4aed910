import { IncomingMessage } from 'node:http';
import { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { silentLog } from '../../core/log.ts';
import {
  adminAuthorizer,
  Gate,
  type KubeletUser,
  type NodeAttributes,
  subresourcesOf,
  userOfCertificate,
} from './auth.ts';

const NOW = Date.parse('2026-01-01T00:00:00Z');
const USER: KubeletUser = { name: 'ann', groups: ['dev'] };

function requestWith(method: string): IncomingMessage {
  const request = new IncomingMessage(new Socket());
  request.method = method;
  return request;
}

/** A gate whose callers are what `who` says; remembers what the authorizer was asked. */
function gate(who: () => KubeletUser | undefined, allow: readonly string[], anonymous = false) {
  const asked: NodeAttributes[] = [];
  const seen: KubeletUser[] = [];
  const made = new Gate(
    { nodeName: 'node-1', anonymous },
    {
      authenticators: [{ authenticate: async () => undefined }, { authenticate: async () => who() }],
      authorizer: {
        isAllowed: async (user, attributes) => {
          asked.push(attributes);
          seen.push(user);
          if (attributes.subresource === 'metrics') throw new Error('the API server is away');
          return allow.includes(attributes.subresource);
        },
      },
      log: silentLog,
    },
  );
  return { admit: (method: string, path: string) => made.admit(requestWith(method), path), asked, seen };
}

test.each([
  ['/pods', ['pods', 'proxy']],
  ['/pods/', ['pods', 'proxy']],
  ['/podsfoo', ['proxy']],
  ['/runningpods/', ['pods', 'proxy']],
  ['/healthz/syncloop', ['healthz', 'proxy']],
  ['/metrics/cadvisor', ['metrics']],
  ['/metricsx', ['proxy']],
  ['/stats/summary', ['stats']],
  ['/logs/syslog', ['log']],
  ['/Pods', ['proxy']],
  ['/exec/ns/p/c', ['proxy']],
  ['/no/such/path', ['proxy']],
])('%s needs one of nodes/%s', (path, subresources) => {
  expect(subresourcesOf(path)).toEqual(subresources);
});

test('the first subresource that is allowed opens the path', async () => {
  const { admit, asked, seen } = gate(() => USER, ['proxy']);
  await admit('GET', '/pods');
  expect(asked).toEqual([
    { verb: 'get', subresource: 'pods', node: 'node-1' },
    { verb: 'get', subresource: 'proxy', node: 'node-1' },
  ]);
  expect(seen[0]).toEqual({ name: 'ann', groups: ['dev', 'system:authenticated'] });
});

test('who is known but not allowed is told what would be needed', async () => {
  const { admit } = gate(() => USER, []);
  await expect(admit('POST', '/pods')).rejects.toMatchObject({
    code: 403,
    message: 'Forbidden (user=ann, verb=create, resource=nodes, subresource(s)=[pods proxy])\n',
  });
});

test('an authorizer that cannot answer gives 500, never access', async () => {
  const { admit } = gate(() => USER, ['metrics']);
  await expect(admit('GET', '/metrics')).rejects.toMatchObject({
    code: 500,
    message: 'Authorization error (user=ann, verb=get, resource=nodes, subresource=metrics)',
  });
});

test('without a proof a caller is anonymous where that is on, else refused', async () => {
  const open = gate(() => undefined, ['healthz'], true);
  await expect(open.admit('GET', '/healthz')).resolves.toEqual({
    name: 'system:anonymous',
    groups: ['system:unauthenticated'],
  });
  await expect(gate(() => undefined, ['healthz']).admit('GET', '/healthz')).rejects.toMatchObject({ code: 401 });
});

test('a wrong proof is refused even where anonymous callers are welcome', async () => {
  const wrong = gate(
    () => {
      throw new Error('bad token');
    },
    ['healthz'],
    true,
  );
  await expect(wrong.admit('GET', '/healthz')).rejects.toMatchObject({ code: 401, message: 'Unauthorized' });
});

test('a certificate gives user and groups', () => {
  const peer = { raw: Buffer.of(1), subject: { CN: 'ann', O: ['dev', 'ops'] } };
  expect(userOfCertificate(peer, true, NOW)).toEqual({ name: 'ann', groups: ['dev', 'ops'] });
  expect(userOfCertificate({}, false, NOW)).toBeUndefined();
});

test.each([
  ['of another CA', {}, false],
  ['for servers', { ext_key_usage: ['1.3.6.1.5.5.7.3.1'] }, true],
  ['that ran out', { valid_to: 'Dec 31 00:00:00 2025 GMT' }, true],
])('a certificate %s proves nothing', (_what, more, verified) => {
  const peer = { raw: Buffer.of(1), subject: { CN: 'ann' }, ...more };
  expect(() => userOfCertificate(peer, verified, NOW)).toThrow();
});

test('the API server and administrators may do everything, others nothing', async () => {
  const attributes = { verb: 'create', subresource: 'proxy', node: 'node-1' };
  const allowed = (name: string, groups: string[]) => adminAuthorizer.isAllowed({ name, groups }, attributes);
  expect(await allowed('kube-apiserver-kubelet-client', [])).toBe(true);
  expect(await allowed('root', ['system:masters'])).toBe(true);
  expect(await allowed('system:node:node-2', ['system:nodes', 'system:authenticated'])).toBe(false);
});
