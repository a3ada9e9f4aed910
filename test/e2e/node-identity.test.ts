// A node that kubeadm has set up: it gets its certificate with a bootstrap token, and renews both of its certificates
// while everything goes on. Certificates live 36 s here.
import { X509Certificate } from 'node:crypto';
import { readlink } from 'node:fs/promises';
import path from 'node:path';
import { connect } from 'node:tls';
import type { CertificateSigningRequest } from 'kubernetes-types/certificates/v1.js';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { createCsr } from '../../api/pki.ts';
import { labMissing } from '../harness/cluster.ts';
import { FaultNode, NODE, until } from '../harness/fault-node.ts';
import { bootstrapTokenSecret, layKubeadmFiles, readOnNode } from '../harness/kubeadm-files.ts';
import type { Kubectl } from '../harness/kubectl.ts';
import { pod } from '../harness/manifests.ts';
import { unitCommand } from '../harness/systemd-unit.ts';

const missing = labMissing();
const DEPLOY = path.resolve(import.meta.dirname, '../../deploy/kubeadm');
const ROTATION_MS = 90_000;

/** What `kubectl create` is given to get a user's certificate. */
function userRequest(user: string, organizations = ['people']): object {
  const request = Buffer.from(createCsr({ commonName: user, organizations }).csr).toString('base64');
  return {
    apiVersion: 'certificates.k8s.io/v1',
    kind: 'CertificateSigningRequest',
    metadata: { name: user },
    spec: {
      request,
      signerName: 'kubernetes.io/kube-apiserver-client',
      usages: ['client auth'],
      expirationSeconds: 600,
    },
  };
}

describe.skipIf(missing !== undefined)('a node of kubeadm', () => {
  let node: FaultNode;
  let kubectl: Kubectl;
  let command: readonly string[];

  const startAgent = () =>
    node.startAgent((args) => [...args.slice(0, args.indexOf('agent')), 'kubelet', ...command.slice(1)]);

  const requests = async () =>
    (await kubectl.json<{ items: CertificateSigningRequest[] }>('get', 'csr')).items.sort((a, b) =>
      (a.metadata?.name ?? '').localeCompare(b.metadata?.name ?? ''),
    );

  /** File that the link to the newest pair names. */
  const current = (prefix: string) => readlink(`/proc/${node.initPid}/root/var/lib/kubelet/pki/${prefix}-current.pem`);

  /** Serial number of what the node shows on 10250. */
  async function shownSerial(): Promise<string> {
    const address = await kubectl.run(
      ...['get', 'node', NODE, '-o', 'jsonpath={.status.addresses[?(@.type=="InternalIP")].address}'],
    );
    return await new Promise((resolve, reject) => {
      const socket = connect({ host: address.trim(), port: 10_250, rejectUnauthorized: false }, () => {
        resolve(socket.getPeerCertificate().serialNumber);
        socket.destroy();
      });
      socket.once('error', reject);
    });
  }

  beforeAll(async () => {
    node = await FaultNode.start({ nodes: 1, arguments: ['--apiserver-arg=--cluster-signing-duration=36s'] });
    kubectl = await node.cluster.kubectl();
    const lab = parse((await readOnNode(node, node.paths.agentConfig)).split('---')[0]!) as Record<string, unknown>;
    await node.killAgent();
    await kubectl.run('delete', 'node', NODE);
    await kubectl.apply(bootstrapTokenSecret());
    await layKubeadmFiles(node, {
      cgroupRoot: lab.cgroupRoot, // several labs share this machine's cgroups
      failCgroupV1: false,
      failSwapOn: false,
      imageGCHighThresholdPercent: 100,
      resolvConf: lab.resolvConf,
      serverTLSBootstrap: true,
    });
    const units = [path.join(DEPLOY, 'kubelet.service'), path.join(DEPLOY, '10-kubeadm.conf')];
    command = (await unitCommand(units, (file) => readOnNode(node, file))).argv;
    await (await startAgent())();
  });
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
  });

  test("starts with the drop-in's command line and gets its certificate with the token", async () => {
    expect(command).toEqual([
      '/usr/bin/kubelet',
      '--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf',
      '--kubeconfig=/etc/kubernetes/kubelet.conf',
      '--config=/var/lib/kubelet/config.yaml',
      `--container-runtime-endpoint=unix://${node.paths.containerdSocket}`,
    ]);
    const kubeconfig = parse(await readOnNode(node, '/etc/kubernetes/kubelet.conf')) as { users: unknown };
    const pem = '/var/lib/kubelet/pki/kubelet-client-current.pem';
    expect(kubeconfig.users).toEqual([
      { name: 'default-auth', user: { 'client-certificate': pem, 'client-key': pem } },
    ]);
    const table = await kubectl.run('get', 'csr', '--sort-by=.metadata.creationTimestamp');
    expect(table).toMatch(
      /csr-\S+ +\S+ +kubernetes\.io\/kube-apiserver-client-kubelet +system:bootstrap:abcdef +<none> +Approved,Issued\n/,
    );
    expect(await node.cluster.inNode(NODE, 'curl', '-fsS', 'http://127.0.0.1:10248/healthz')).toBe('ok');
    expect(await kubectl.run('get', 'node', NODE, '-o', 'jsonpath={.metadata.name}')).toBe(NODE);
  });

  test('serves kubectl with a certificate that the cluster signed for its addresses', async () => {
    await kubectl.apply(pod('talker', ['sh', '-c', 'echo hello; exec sleep 1000000']));
    await kubectl.until('pod/talker', '{.status.phase}', /Running/);
    const logs = await until(
      () => kubectl.result(['logs', 'talker']),
      (r) => r.code === 0,
      ROTATION_MS,
    );
    expect([logs.stdout, logs.stderr]).toEqual(['hello\n', '']); // the API server verifies the node's certificate
    expect(await kubectl.run('get', 'csr')).toMatch(/kubernetes\.io\/kubelet-serving +system:node:node-1 +/);
  });

  test('people approve and deny what users ask for, with kubectl', async () => {
    await kubectl.apply(userRequest('alice'));
    await kubectl.apply(userRequest('mallory'));
    expect(await kubectl.run('certificate', 'approve', 'alice')).toContain('alice approved');
    expect(await kubectl.run('certificate', 'deny', 'mallory')).toContain('mallory denied');
    const issued = await kubectl.until('csr/alice', '{.status.certificate}', /./);
    const leaf = new X509Certificate(Buffer.from(issued, 'base64'));
    expect(leaf.subject).toBe('O=people\nCN=alice');
    expect(await kubectl.run('get', 'csr', 'mallory', '--no-headers')).toMatch(
      /^mallory +\S+ +kubernetes\.io\/kube-apiserver-client +kubernetes-admin +10m +Denied\n$/,
    );
    expect(await kubectl.refused(undefined, 'certificate', 'approve', 'mallory')).toMatch(/is already Denied/);
  });

  test('only who may approve for a signer does', async () => {
    await kubectl.apply(userRequest('bob'));
    const may = {
      apiGroups: ['certificates.k8s.io'],
      resources: ['certificatesigningrequests/approval'],
      verbs: ['*'],
    };
    const read = {
      apiGroups: ['certificates.k8s.io'],
      resources: ['certificatesigningrequests'],
      verbs: ['get', 'list'],
    };
    const approve = {
      apiGroups: ['certificates.k8s.io'],
      resources: ['signers'],
      resourceNames: ['kubernetes.io/*'],
      verbs: ['approve'],
    };
    const role = (rules: object[]) => ({
      apiVersion: 'rbac.authorization.k8s.io/v1',
      kind: 'ClusterRole',
      metadata: { name: 'approver' },
      rules,
    });
    await kubectl.apply(role([may, read]));
    await kubectl.run('create', 'clusterrolebinding', 'approver', '--clusterrole=approver', '--user=carol');
    const asCarol = ['certificate', 'approve', 'bob', '--as=carol'];
    expect(await kubectl.refused(undefined, ...asCarol)).toMatch(/not permitted to approve requests with signerName/);
    await kubectl.apply(role([may, read, approve]));
    await kubectl.run(...asCarol);
    await kubectl.until('csr/bob', '{.status.certificate}', /./);
    const masters = userRequest('eve', ['system:masters']);
    expect(await kubectl.refused(JSON.stringify(masters), 'create', '-f', '-')).toMatch(/system:masters/);
  });

  test('renews both certificates; watches, logs and its own restart notice nothing', async () => {
    const before = { client: await current('kubelet-client'), server: await current('kubelet-server') };
    const serial = await shownSerial();
    const seen = await until(
      async () => ({ client: await current('kubelet-client'), server: await current('kubelet-server') }),
      (now) => now.client !== before.client && now.server !== before.server,
      ROTATION_MS,
    );
    expect(seen.client).not.toBe(before.client);
    expect(seen.server).not.toBe(before.server);
    expect(await until(shownSerial, (s) => s !== serial, ROTATION_MS)).not.toBe(serial);
    // Asked for as itself, not with the token.
    const own = (r: CertificateSigningRequest) =>
      r.spec.signerName.endsWith('client-kubelet') && r.spec.username === `system:node:${NODE}`;
    expect((await until(requests, (all) => all.some(own), ROTATION_MS)).some(own)).toBe(true);
    await kubectl.apply(pod('later'));
    await kubectl.until('pod/later', '{.status.phase}', /Running/);
    expect(await kubectl.run('logs', 'talker')).toBe('hello\n');
    const restarts = await kubectl.run(
      'get',
      'pods',
      '-o',
      'jsonpath={.items[*].status.containerStatuses[*].restartCount}',
    );
    expect(restarts).toBe('0 0');
    expect(await node.agentRuns()).toBe(true);
  });

  test('is killed and started again without the bootstrap kubeconfig, as kubeadm leaves it', async () => {
    await node.cluster.inNode(NODE, 'rm', '/etc/kubernetes/bootstrap-kubelet.conf');
    const bootstrapped = async () =>
      (await requests()).filter((r) => r.spec.username?.startsWith('system:bootstrap:')).length;
    const before = await bootstrapped();
    await node.killAgent();
    await (await startAgent())();
    expect(await bootstrapped()).toBeLessThanOrEqual(before); // those whose certificate has ended are removed
    await kubectl.run('delete', 'pod', 'talker', 'later', '--wait');
    await node.untilClean(60_000);
  });
});
