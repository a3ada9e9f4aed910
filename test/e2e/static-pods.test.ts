// Static pods and their mirrors, as the owner of a node and a user of its cluster see them.
import { mkdir, rename, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { labMissing } from '../harness/cluster.ts';
import { FaultNode, until } from '../harness/fault-node.ts';
import type { Kubectl } from '../harness/kubectl.ts';
import { SLEEP } from '../harness/manifests.ts';

const missing = labMissing();

describe.skipIf(missing !== undefined)('static pods', () => {
  let node: FaultNode;
  let kubectl: Kubectl;
  let manifests: string;

  /** Written beside and renamed into place, as careful owners do. */
  async function put(name: string, manifest: string | object): Promise<void> {
    const text = typeof manifest === 'string' ? manifest : stringify(manifest);
    await writeFile(path.join(manifests, `.${name}`), text);
    await rename(path.join(manifests, `.${name}`), path.join(manifests, name));
  }

  const manifest = (name: string, extra: { env?: string; grace?: number } = {}) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      terminationGracePeriodSeconds: extra.grace ?? 0,
      containers: [
        {
          name: 'main',
          image: 'busybox:1.36',
          command: SLEEP,
          env: [{ name: 'WORD', value: extra.env ?? 'first' }],
        },
      ],
    },
  });

  const get = (pod: string, jsonpath: string) => kubectl.run('get', 'pod', pod, '-o', `jsonpath=${jsonpath}`);

  beforeAll(async () => {
    node = await FaultNode.start();
    kubectl = await node.cluster.kubectl();
    manifests = path.join(node.cluster.dir, 'manifests');
    await mkdir(manifests);
    await put('early.yaml', manifest('early'));
    await node.changeAgentConfig((text) =>
      text.replace('kind: KubeletConfiguration\n', `$&staticPodPath: ${manifests}\n`),
    );
    await node.killAgent();
    await (await node.startAgent())();
  });
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
  });

  test('run without being asked for, and show in the API with their owner', async () => {
    await kubectl.until('pod/early-node-1', '{.status.phase}', /^Running$/);
    await kubectl.until('pod/early-node-1', '{.status.containerStatuses[0].ready}', /^true$/);
    expect(await get('early-node-1', '{.metadata.annotations}')).toContain('"kubernetes.io/config.source":"file"');
    expect(await get('early-node-1', '{.metadata.ownerReferences[0].kind}/{.metadata.ownerReferences[0].name}')).toBe(
      'Node/node-1',
    );
    expect(await kubectl.run('exec', 'early-node-1', '--', 'sh', '-c', 'echo $WORD')).toBe('first\n');
  });

  test('a deleted mirror comes back, and the pod does not notice', async () => {
    const before = await get('early-node-1', '{.metadata.uid} {.status.containerStatuses[0].containerID}');
    const [uid, container] = before.split(' ');
    await kubectl.run('delete', 'pod', 'early-node-1', '--wait=false');
    await kubectl.until('pod/early-node-1', '{.metadata.uid}', new RegExp(`^(?!${uid}$).+`));
    await kubectl.until('pod/early-node-1', '{.status.containerStatuses[0].containerID}', new RegExp(`^${container}$`));
  });

  test('a changed manifest is a new pod, after the old one has ended', async () => {
    await put('changing.yaml', manifest('changing', { grace: 2 }));
    await kubectl.until('pod/changing-node-1', '{.status.phase}', /^Running$/);
    const hash = '{.metadata.annotations.kubernetes\\.io/config\\.hash}';
    const before = await get('changing-node-1', hash);
    await put('changing.yaml', manifest('changing', { env: 'second' }));
    await kubectl.until('pod/changing-node-1', hash, new RegExp(`^(?!${before}$).+`));
    await kubectl.until('pod/changing-node-1', '{.status.phase}', /^Running$/);
    expect(await kubectl.run('exec', 'changing-node-1', '--', 'sh', '-c', 'echo $WORD')).toBe('second\n');
  });

  test('broken manifests leave the others alone', async () => {
    const restarts = await get('early-node-1', '{.status.containerStatuses[0].containerID}');
    await put('broken.yaml', '{ half of a manif');
    await put('secret.yaml', {
      ...manifest('secret'),
      spec: { containers: [{ name: 'main', image: 'busybox:1.36', envFrom: [{ secretRef: { name: 'keys' } }] }] },
    });
    await put('twin.yaml', manifest('early')); // the name is taken
    await put('good.yaml', manifest('good')); // read after them
    await kubectl.until('pod/good-node-1', '{.status.phase}', /^Running$/);
    expect(await kubectl.run('get', 'pods', '-o', 'name')).not.toMatch(/broken|secret/);
    expect(await get('early-node-1', '{.status.containerStatuses[0].containerID}')).toBe(restarts);
    const log = await node.agentLog();
    expect(log).toContain('broken.yaml');
    expect(log).toContain('static pods may not reference secrets');
    await kubectl.until('events', '{.items[*].message}', /due to duplicate pod name "early-node-1", ignoring/);
  });

  test('live on when the agent is killed, and go while it is away', async () => {
    const container = await get('good-node-1', '{.status.containerStatuses[0].containerID}');
    await node.killAgent();
    await rm(path.join(manifests, 'changing.yaml'));
    await (await node.startAgent())();
    await kubectl.run('wait', '--for=delete', 'pod/changing-node-1', '--timeout=120s');
    expect(await get('good-node-1', '{.status.containerStatuses[0].containerID}')).toBe(container);
  });

  test('start with an agent that finds no API server, and show once there is one', async () => {
    await node.killApiServer();
    await node.killAgent();
    await put('alone.yaml', manifest('alone'));
    const ready = await node.startAgent();
    const found = await until(
      () => node.runtime.listContainers({ state: { state: 'CONTAINER_RUNNING' } }),
      (containers) => containers.some((c) => c.labels['io.kubernetes.pod.name'] === 'alone-node-1'),
      60_000,
    );
    const alone = found.find((c) => c.labels['io.kubernetes.pod.name'] === 'alone-node-1');
    expect(alone).toBeDefined();
    await node.cluster.lab('apiserver', 'start');
    await ready();
    await kubectl.until('pod/alone-node-1', '{.status.containerStatuses[0].ready}', /^true$/);
    expect(await get('alone-node-1', '{.status.containerStatuses[0].containerID}')).toBe(`containerd://${alone?.id}`);
  });

  test('end with their manifests, mirror and all', async () => {
    for (const name of ['early', 'twin', 'good', 'broken', 'secret', 'alone'])
      await rm(path.join(manifests, `${name}.yaml`));
    for (const name of ['early', 'good', 'alone']) {
      await kubectl.run('wait', '--for=delete', `pod/${name}-node-1`, '--timeout=120s');
    }
    await node.untilClean(90_000);
  });
});
