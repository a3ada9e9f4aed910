// A node of a lab whose agent tells all it can (-v=10), with pods that hold secrets: what of them is where it must not be,
// and what the node asked for that it may not have (docs/security.md).
import { lstat, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { configMaps, pods, secrets, serviceAccounts } from '../../api/resources.ts';
import { labMissing } from '../harness/cluster.ts';
import { FaultNode, NODE } from '../harness/fault-node.ts';
import { LabPods } from '../harness/lab-pods.ts';
import { nodeDenials } from '../harness/node-denials.ts';

const missing = labMissing();
if (missing !== undefined) console.warn(`security tests are skipped: ${missing}`);

const PASSWORD = 'correct-horse-battery-staple';
const PULL_PASSWORD = 'of-the-registry-7f3a';
const base64 = (text: string) => Buffer.from(text).toString('base64');

describe.skipIf(missing !== undefined)('a node that knows secrets', () => {
  let node: FaultNode;
  let lab: LabPods;
  let pod: Pod;
  let token: string;
  let limits: string;
  let denials: string[] | undefined;

  beforeAll(async () => {
    node = await FaultNode.start();
    limits = await readFile(`/proc/${node.agentPid}/limits`, 'utf8'); // of an agent as it is installed
    await node.killAgent();
    await (await node.startAgent((args) => [...args, '--v=10']))();
    lab = await LabPods.create(node, 'security');
    await lab.make(secrets, { metadata: { name: 'password' }, data: { password: base64(PASSWORD) } });
    const auths = {
      'registry.example': { username: 'u', password: PULL_PASSWORD, auth: base64(`u:${PULL_PASSWORD}`) },
    };
    await lab.make(secrets, {
      metadata: { name: 'pull' },
      type: 'kubernetes.io/dockerconfigjson',
      data: { '.dockerconfigjson': base64(JSON.stringify({ auths })) },
    });
    await lab.make(configMaps, { metadata: { name: 'plain' }, data: { key: 'value' } });
    await lab.make(serviceAccounts, { metadata: { name: 'holder' } });
    const probe = { exec: { command: ['test', '-e', '/s/password'] }, periodSeconds: 1, timeoutSeconds: 20 };
    pod = await lab.start(
      'holder',
      {
        env: [{ name: 'PASSWORD', valueFrom: { secretKeyRef: { name: 'password', key: 'password' } } }],
        envFrom: [{ secretRef: { name: 'password' } }, { configMapRef: { name: 'plain' } }],
        volumeMounts: [
          { name: 's', mountPath: '/s' },
          { name: 't', mountPath: '/t' },
        ],
        readinessProbe: probe,
        livenessProbe: probe,
        lifecycle: { postStart: { exec: { command: ['true'] } } },
      },
      {
        serviceAccountName: 'holder',
        imagePullSecrets: [{ name: 'pull' }],
        volumes: [
          { name: 's', secret: { secretName: 'password' } },
          { name: 't', projected: { sources: [{ serviceAccountToken: { path: 'token', audience: 'someone' } }] } },
        ],
      },
    );
    token = await lab.exec(pod, 'cat /t/token');
  });

  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
  });

  const call = (method: string, below: string, accept = '*/*') =>
    node.client.raw(method, `/api/v1/nodes/${NODE}/proxy${below}`, { accept });

  test('the container has them', async () => {
    expect(await lab.exec(pod, 'echo $PASSWORD $password $key $(cat /s/password)')).toBe(
      `${PASSWORD} ${PASSWORD} value ${PASSWORD}`,
    );
    expect(token.split('.')).toHaveLength(3);
  });

  test('what the API server proxies to: configuration, logs of the node, checkpoint, pages', async () => {
    const configz = JSON.parse((await call('GET', '/configz')).body.toString()) as { kubeletconfig: object };
    expect(configz.kubeletconfig).toMatchObject({ kind: 'KubeletConfiguration', enableServer: true });
    expect((await call('GET', '/logs/')).body.toString()).toContain('<pre>');
    expect((await call('GET', '/statusz')).body.toString()).toContain('kubelet statusz');
    expect((await call('GET', '/flagz')).body.toString()).toContain('\nv=10\n');
    const refused = await call('POST', '/checkpoint/security/holder/main').catch((err: Error) => err);
    // containerd 1.6 does not know the call.
    expect(JSON.stringify(refused instanceof Error ? refused.message : refused.body.toString())).toContain(
      'checkpointing of security/holder/main failed (rpc error: code = Unimplemented desc = ',
    );
  });

  test('secrets lie in memory and nowhere on disk, and keys are for root alone', async () => {
    const types = await lab.exec(pod, `awk '$2 == "/s" || $2 == "/t" { print $3 }' /proc/mounts`);
    expect(types).toBe('tmpfs\ntmpfs');
    const wrong: string[] = [];
    for (const dir of [node.paths.pki, node.paths.kubeletRoot]) {
      // As the host sees it, which is not in the node's mount namespace: the disk below the mounts.
      for (const file of await filesBelow(dir)) {
        const text = await readFile(file, 'latin1');
        if (text.includes(PASSWORD) || text.includes(PULL_PASSWORD) || text.includes(token)) wrong.push(file);
        if (text.includes('PRIVATE KEY') && ((await lstat(file)).mode & 0o077) !== 0) wrong.push(file);
      }
    }
    expect(wrong).toEqual([]);
  });

  test("where plugins register and pods' files lie, nobody but root may write", async () => {
    for (const below of ['', 'pods', 'plugins_registry']) {
      const { mode, uid } = await lstat(path.join(node.paths.kubeletRoot, below));
      expect(`${below} of ${uid}: ${(mode & 0o022).toString(8)}`).toBe(`${below} of 0: 0`);
    }
  });

  test('neither the arguments nor the environment of the agent hold any, and it leaves no core', async () => {
    const proc = `/proc/${node.agentPid}`;
    const told = `${await readFile(`${proc}/cmdline`, 'utf8')}${await readFile(`${proc}/environ`, 'utf8')}`;
    for (const secret of [PASSWORD, PULL_PASSWORD, token, 'PRIVATE KEY']) expect(told).not.toContain(secret);
    expect(limits).toMatch(/^Max core file size +0 /m);
  });

  test('over a change, a restart of the agent and the end of the pod, no secret is logged', async () => {
    await lab.patch(secrets, 'password', { data: { password: base64(`${PASSWORD}-2`) } });
    await node.killAgent();
    await (await node.startAgent((args) => [...args, '--v=10']))();
    await lab.untilExec(pod, 'cat /s/password', `${PASSWORD}-2`);
    // Of a pod that is deleted, kubelets may ask for objects a moment too long.
    denials = await nodeDenials(node.cluster.dir);
    // NodeRestriction refuses as well, and only the caller counts that.
    const metrics = (await call('GET', '/metrics')).body.toString();
    expect(metrics).toMatch(/^rest_client_requests_total\{.*code="20\d"/m);
    denials.push(...(metrics.match(/^rest_client_requests_total\{.*code="40[13]".*$/gm) ?? []));
    await lab.delete(pods, 'holder');
    await node.untilClean(60_000);
    const log = await readFile(node.paths.agentLog, 'latin1');
    expect(log).toContain(pod.metadata!.uid!); // it tells of the pod
    const [header, , signature] = token.split('.');
    const held = [PASSWORD, base64(PASSWORD), PULL_PASSWORD, base64(`u:${PULL_PASSWORD}`), signature!, 'PRIVATE KEY'];
    expect(held.filter((secret) => log.includes(secret))).toEqual([]);
    expect(log).not.toContain(`Bearer ${header}`);
  });

  test('the node asked for nothing that the Node authorizer refuses', async () => {
    expect(denials).toEqual([]);
  });
});

/** Regular files, of directories that can be read. */
async function filesBelow(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true, recursive: true }).catch(() => []);
  return entries.filter((e) => e.isFile()).map((e) => path.join(e.parentPath, e.name));
}
