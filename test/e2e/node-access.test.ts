// Who may call a node of a lab: tokens and access that the lab's own API server reviews, with the roles of RBAC, and what
// the node does while that server is away.
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { text } from 'node:stream/consumers';
import type { TokenRequest } from 'kubernetes-types/authentication/v1.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { serviceAccounts } from '../../api/resources.ts';
import { labMissing } from '../harness/cluster.ts';
import { FaultNode, NODE } from '../harness/fault-node.ts';
import { LabPods } from '../harness/lab-pods.ts';

const missing = labMissing();
if (missing !== undefined) console.warn(`tests of access to nodes are skipped: ${missing}`);

const NAMESPACE = 'access';
/** Service accounts and the subresources of `nodes` that their role has. */
const ROLES: Readonly<Record<string, readonly string[]>> = {
  nobody: [],
  scraper: ['metrics', 'stats'],
  lister: ['pods'],
  checker: ['healthz'],
  admin: ['proxy', 'log'],
};

describe.skipIf(missing !== undefined)('a node and its callers', () => {
  let node: FaultNode;
  let host: string;
  const tokens: Record<string, string> = {};

  beforeAll(async () => {
    node = await FaultNode.start();
    host = (await node.cluster.node(NODE)).ip;
    const lab = await LabPods.create(node, NAMESPACE);
    for (const [name, subresources] of Object.entries(ROLES)) {
      await lab.make(serviceAccounts, { metadata: { name } });
      if (subresources.length > 0) await grant(name, subresources);
      const asked = { spec: { audiences: [], expirationSeconds: 3600 } } as TokenRequest;
      const { status } = await node.client.create(serviceAccounts, { namespace: NAMESPACE, name }, asked, {
        subresource: 'token',
      });
      tokens[name] = status!.token;
    }
  });

  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
  });

  async function grant(name: string, subresources: readonly string[]): Promise<void> {
    const group = 'rbac.authorization.k8s.io';
    const base = `/apis/${group}/v1`;
    const resources = subresources.map((s) => `nodes/${s}`);
    const rules = [{ apiGroups: [''], resources, verbs: ['get', 'create'] }];
    await node.client.raw('POST', `${base}/clusterroles`, { body: { metadata: { name: `access-${name}` }, rules } });
    await node.client.raw('POST', `${base}/clusterrolebindings`, {
      body: {
        metadata: { name: `access-${name}` },
        roleRef: { apiGroup: group, kind: 'ClusterRole', name: `access-${name}` },
        subjects: [{ kind: 'ServiceAccount', name, namespace: NAMESPACE }],
      },
    });
  }

  async function call(path: string, token?: string): Promise<{ code: number; body: string }> {
    const headers = token === undefined ? {} : { authorization: `Bearer ${token}` };
    const sent = request({ host, port: 10_250, path, headers, rejectUnauthorized: false, agent: false }).end();
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    return { code: response.statusCode!, body: await text(response) };
  }

  test('who proves nothing, or something wrong, is told no more than that', async () => {
    const refused = { code: 401, body: 'Unauthorized' };
    expect(await call('/pods')).toEqual(refused);
    expect(await call('/pods', 'not-a-token')).toEqual(refused);
    const [header, payload] = tokens.admin!.split('.');
    expect(await call('/pods', `${header}.${payload}.${'A'.repeat(342)}`)).toEqual(refused);
  });

  test('a role opens what it names, in the order of upstream', async () => {
    const user = `user=system:serviceaccount:${NAMESPACE}:nobody, verb=get, resource=nodes`;
    expect(await call('/pods', tokens.nobody)).toEqual({
      code: 403,
      body: `Forbidden (${user}, subresource(s)=[pods proxy])\n`,
    });
    const codes = async (name: string) => {
      const paths = ['/pods', '/healthz', '/metrics', '/configz', '/logs/', '/containerLogs/a/b/c'];
      return await Promise.all(paths.map(async (path) => (await call(path, tokens[name])).code));
    };
    expect(await codes('scraper')).toEqual([403, 403, 200, 403, 403, 403]);
    expect(await codes('lister')).toEqual([200, 403, 403, 403, 403, 403]);
    expect(await codes('checker')).toEqual([403, 200, 403, 403, 403, 403]);
    expect(await codes('admin')).toEqual([200, 200, 403, 200, 200, 404]);
  });

  test('while the API server is away, what was found out holds, and nothing else is found out', async () => {
    expect((await call('/metrics', tokens.scraper)).code).toBe(200);
    await node.killApiServer();
    try {
      expect((await call('/metrics', tokens.scraper)).code).toBe(200);
      expect(await call('/stats/summary', tokens.scraper)).toEqual({
        code: 500,
        body: `Authorization error (user=system:serviceaccount:${NAMESPACE}:scraper, verb=get, resource=nodes, subresource=stats)`,
      });
      expect(await call('/pods', 'a-token-never-seen')).toEqual({ code: 401, body: 'Unauthorized' });
    } finally {
      await node.cluster.lab('apiserver', 'start');
    }
  });
});
