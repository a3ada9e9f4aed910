// A node without an API server: the real agent with a real runtime runs what stands in a directory, and nothing else.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, readdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import https from 'node:https';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { createCa, issueClientCert } from '../../api/pki.ts';
import type { Container, Pod, Volume } from '../../api/pod.ts';
import { systemClock } from '../../core/clock.ts';
import { mountsUnder, parseMountInfo } from '../../host/mounts.ts';
import { freePort, NODELET } from '../harness/cluster.ts';
import { containerdMissing, TestContainerd } from '../harness/containerd.ts';
import { SLEEP } from '../harness/manifests.ts';

const missing = containerdMissing();
const DEADLINE_MS = 120_000;
const ASK_AGAIN_MS = 50;
const validity = { nowMs: Date.now(), lifetimeMs: 3_600_000 };
const ca = createCa('ca', validity);
const admin = issueClientCert(ca, { commonName: 'admin', organizations: ['system:masters'] }, validity);

describe.skipIf(missing !== undefined)('a node without an API server', () => {
  let containerd: TestContainerd;
  let config: string;
  let manifests: string;
  let rootDir: string;
  let port: number;
  let agent: ChildProcess | undefined;

  beforeAll(async () => {
    containerd = await TestContainerd.start();
    manifests = path.join(containerd.dir, 'manifests');
    rootDir = path.join(containerd.dir, 'kubelet');
    await mkdir(manifests);
    port = await freePort();
    config = path.join(containerd.dir, 'kubelet.yaml');
    const clientCAFile = path.join(containerd.dir, 'clients.crt');
    await writeFile(clientCAFile, ca.cert);
    const kubelet = {
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      authentication: { x509: { clientCAFile }, anonymous: { enabled: false }, webhook: { enabled: false } },
      authorization: { mode: 'AlwaysAllow' },
      address: '127.0.0.1',
      port,
      healthzPort: 0,
      cgroupRoot: containerd.cgroupParent,
      containerRuntimeEndpoint: containerd.endpoint,
      evictionHard: { 'nodefs.available': '0%' }, // the disk is the host's
      failCgroupV1: false,
      failSwapOn: false,
      imageGCHighThresholdPercent: 100,
      makeIPTablesUtilChains: false, // this node has the host's own network
      podLogsDir: path.join(containerd.dir, 'pods'),
      staticPodPath: manifests,
    };
    const nodelet = {
      apiVersion: 'nodelet.dev/v1alpha1',
      kind: 'NodeletConfiguration',
      containerLogsDir: path.join(containerd.dir, 'containers'),
      kernelParameters: 'leave',
    };
    await writeFile(config, [kubelet, nodelet].map((doc) => stringify(doc)).join('---\n'));
  });

  afterEach(async () => {
    await end('SIGKILL');
  });

  afterAll(async () => {
    await containerd?.[Symbol.asyncDispose]();
  });

  function start(): void {
    const args = [`--config=${config}`, '--hostname-override=alone', '--node-ip=127.0.0.1', `--root-dir=${rootDir}`];
    agent = spawn(NODELET, ['kubelet', ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    const log = createWriteStream(path.join(containerd.dir, 'agent.log'), { flags: 'a' });
    agent.stdout?.pipe(log, { end: false });
    agent.stderr?.pipe(log, { end: false });
  }

  async function end(signal: 'SIGTERM' | 'SIGKILL'): Promise<number | null> {
    if (agent === undefined) return null;
    const ending = agent;
    agent = undefined;
    if (ending.exitCode === null && ending.signalCode === null) {
      const ended = once(ending, 'exit');
      ending.kill(signal);
      await ended;
    }
    return ending.exitCode;
  }

  async function put(name: string, word: string, more: Partial<Container> = {}, volumes: Volume[] = []): Promise<void> {
    const manifest = {
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: {
        hostNetwork: true, // nobody makes a pod network here
        terminationGracePeriodSeconds: 1,
        volumes,
        containers: [
          { name: 'main', image: 'busybox:1.36', command: SLEEP, env: [{ name: 'WORD', value: word }], ...more },
        ],
      },
    };
    await writeFile(path.join(manifests, `.${name}`), stringify(manifest));
    await rename(path.join(manifests, `.${name}`), path.join(manifests, `${name}.yaml`));
  }

  /** What the agent's own server says; undefined while it does not answer. */
  async function listed(resource: 'pods' | 'runningpods/'): Promise<Pod[] | undefined> {
    return await new Promise((resolve, reject) => {
      const request = https.get(
        {
          host: '127.0.0.1',
          port,
          path: `/${resource}`,
          cert: admin.cert,
          key: admin.key,
          rejectUnauthorized: false,
          agent: false,
        },
        (response) => {
          let text = '';
          response.on('data', (chunk) => {
            text += chunk;
          });
          response.on('end', () => {
            if (response.statusCode === 200) resolve((JSON.parse(text) as { items: Pod[] }).items);
            else reject(new Error(`/${resource}: ${response.statusCode} ${text}`));
          });
          response.on('error', () => resolve(undefined));
        },
      );
      request.on('error', () => resolve(undefined));
    });
  }

  async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
    for (const endMs = Date.now() + DEADLINE_MS; Date.now() < endMs; ) {
      const found = await look();
      if (found !== undefined) return found;
      await systemClock.sleep(ASK_AGAIN_MS);
    }
    throw new Error(`${what}: not within ${DEADLINE_MS} ms, see ${containerd.logFile} and agent.log beside it`);
  }

  const runningPod = (name: string, word: string) =>
    until(`${name} runs with ${word}`, async () => {
      const pod = (await listed('pods'))?.find((p) => p.metadata?.name === `${name}-alone`);
      const isIt = pod?.spec?.containers[0]?.env?.[0]?.value === word;
      return isIt && pod?.status?.containerStatuses?.[0]?.ready === true ? pod : undefined;
    });

  const mounts = async () => parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8'));

  test('runs what stands in a directory, over killed agents, and ends what is taken out', async () => {
    await put('web', 'first');
    start();
    const first = await runningPod('web', 'first');
    expect(first.metadata?.annotations).toMatchObject({
      'kubernetes.io/config.source': 'file',
      'kubernetes.io/config.hash': first.metadata?.uid,
    });
    const container = first.status?.containerStatuses?.[0]?.containerID;
    expect((await listed('runningpods/'))?.map((p) => p.metadata?.name)).toEqual(['web-alone']);

    await end('SIGKILL');
    await put('more', 'first');
    start();
    await runningPod('more', 'first');
    expect((await runningPod('web', 'first')).status?.containerStatuses?.[0]?.containerID).toBe(container);

    const named = {
      name: 'name',
      downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] },
    };
    await put('web', 'second', { volumeMounts: [{ name: 'name', mountPath: '/name' }] }, [named]);
    const second = await runningPod('web', 'second');
    expect(second.metadata?.uid).not.toBe(first.metadata?.uid);

    expect(await end('SIGTERM')).toBe(0);
    const volumes = path.join(rootDir, 'pods', second.metadata!.uid!, 'volumes');
    const shown = async () => mountsUnder(await mounts(), volumes).map((m) => m.mountPoint);
    expect(await shown()).toEqual([path.join(volumes, 'kubernetes.io~downward-api/name')]); // a kubelet may come next
    await rm(path.join(manifests, 'more.yaml')); // while nobody looks
    start();
    await runningPod('web', 'second');
    await rm(path.join(manifests, 'web.yaml'));
    await until('nothing is left', async () => {
      const sandboxes = await containerd.runtime.listPodSandboxes();
      const dirs = await readdir(path.join(rootDir, 'pods'));
      return sandboxes.length === 0 && dirs.length === 0 ? true : undefined;
    });
    expect(await shown()).toEqual([]);
    expect(await end('SIGTERM')).toBe(0);
  }, 240_000);

  test('a pod may hand on what it mounts below the root directory, as CSI drivers do', async () => {
    const handsOn = { name: 'plugins', mountPath: '/plugins', mountPropagation: 'Bidirectional' };
    const script = `mkdir -p /plugins/made; mount -t tmpfs made /plugins/made; ${SLEEP[2]}`;
    const container = {
      command: ['sh', '-c', script],
      securityContext: { privileged: true },
      volumeMounts: [handsOn],
    };
    const at = path.join(rootDir, 'plugins');
    start();
    await put('driver', 'first', container, [{ name: 'plugins', hostPath: { path: at, type: 'DirectoryOrCreate' } }]);
    await runningPod('driver', 'first');
    await until('the mount shows outside', async () => {
      return (await mounts()).find((m) => m.mountPoint === path.join(at, 'made'));
    });
    await rm(path.join(manifests, 'driver.yaml'));
    await until('the pod has ended', async () =>
      (await containerd.runtime.listPodSandboxes()).length === 0 ? true : undefined,
    );
    expect(await end('SIGTERM')).toBe(0);
  }, 240_000);
});
