// Settings of the kubelet part on the real program: what a file, drop-ins and flags come to, and what they do.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream } from 'node:fs';
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { createCa, issueClientCert } from '../../api/pki.ts';
import type { Finding } from '../../cmd/doctor-finding.ts';
import { systemClock } from '../../core/clock.ts';
import { freePort, NODELET } from '../harness/cluster.ts';
import { containerdMissing, TestContainerd } from '../harness/containerd.ts';

const missing = containerdMissing();
const DEADLINE_MS = 120_000;
const ASK_AGAIN_MS = 50;
const validity = { nowMs: Date.now(), lifetimeMs: 3_600_000 };
const ca = createCa('ca', validity);
const admin = issueClientCert(ca, { commonName: 'admin', organizations: ['system:masters'] }, validity);

describe.skipIf(missing !== undefined)('settings of the kubelet', () => {
  let containerd: TestContainerd;
  let dropIns: string;
  let args: string[];
  let log: string;
  let [port, healthzPort] = [0, 0];
  let agent: ChildProcess | undefined;

  beforeAll(async () => {
    containerd = await TestContainerd.start();
    [port, healthzPort] = [await freePort(), await freePort()];
    dropIns = path.join(containerd.dir, 'kubelet.d');
    log = path.join(containerd.dir, 'settings.log');
    await mkdir(dropIns);
    await writeFile(path.join(containerd.dir, 'ca.crt'), ca.cert);
    const kubelet = {
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      kind: 'KubeletConfiguration',
      authentication: { x509: { clientCAFile: 'ca.crt' }, webhook: { enabled: false } },
      authorization: { mode: 'AlwaysAllow' },
      address: '127.0.0.1',
      port,
      healthzPort,
      cgroupRoot: containerd.cgroupParent,
      kubeletCgroups: `${containerd.cgroupParent}/agent`,
      containerRuntimeEndpoint: containerd.endpoint,
      failCgroupV1: false,
      failSwapOn: false,
      podLogsDir: path.join(containerd.dir, 'pods'),
      maxPods: 20,
      makeIPTablesUtilChains: false, // this node has the host's own network
      // What every process may do to itself: fewer files, sooner killed.
      maxOpenFiles: 4096,
      oomScoreAdj: 100,
      logging: { format: 'text', vmodule: [{ filePattern: 'node-st?tus', verbosity: 4 }] },
    };
    const nodelet = {
      apiVersion: 'nodelet.dev/v1alpha1',
      kind: 'NodeletConfiguration',
      containerLogsDir: path.join(containerd.dir, 'containers'),
      kernelParameters: 'leave',
    };
    const config = path.join(containerd.dir, 'kubelet.yaml');
    await writeFile(config, [kubelet, nodelet].map((doc) => stringify(doc)).join('---\n'));
    await writeFile(
      path.join(dropIns, '10-pods.conf'),
      stringify({
        apiVersion: kubelet.apiVersion,
        kind: kubelet.kind,
        maxPods: 30,
        evictionHard: { 'memory.available': '5%' },
      }),
    );
    args = [
      'kubelet',
      `--config=${config}`,
      `--config-dir=${dropIns}`,
      '--hostname-override=set',
      '--node-ip=127.0.0.1',
      `--root-dir=${path.join(containerd.dir, 'kubelet')}`,
      `--cert-dir=${path.join(containerd.dir, 'pki')}`,
      '--pods-per-core=3',
      `--runtime-cgroups=${containerd.cgroupParent}/agent`, // one that is there
    ];
  });

  afterEach(async () => {
    if (agent === undefined || agent.exitCode !== null || agent.signalCode !== null) return;
    const ended = once(agent, 'exit');
    agent.kill('SIGKILL');
    await ended;
  });

  afterAll(async () => {
    await containerd?.[Symbol.asyncDispose]();
  });

  function start(...more: string[]): ChildProcess {
    agent = spawn(NODELET, [...args, ...more], { stdio: ['ignore', 'ignore', 'pipe'] });
    agent.stderr?.pipe(createWriteStream(log, { flags: 'a' }), { end: false });
    return agent;
  }

  async function until<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
    for (const endMs = Date.now() + DEADLINE_MS; Date.now() < endMs; ) {
      const found = await look();
      if (found !== undefined) return found;
      await systemClock.sleep(ASK_AGAIN_MS);
    }
    throw new Error(`${what}: not within ${DEADLINE_MS} ms; the agent said ${await readFile(log, 'utf8')}`);
  }

  /** The body of an answer 200; undefined while nobody answers. */
  async function answer(url: string): Promise<string | undefined> {
    const get = url.startsWith('https:') ? https.get : http.get;
    return await new Promise((resolve) => {
      const options = { cert: admin.cert, key: admin.key, rejectUnauthorized: false, agent: false as const };
      const request = get(url, options, (response) => {
        let text = '';
        response.on('data', (chunk) => {
          text += chunk;
        });
        response.on('end', () => resolve(response.statusCode === 200 ? text : undefined));
        response.on('error', () => resolve(undefined));
      });
      request.on('error', () => resolve(undefined));
    });
  }

  test('file, drop-in and flag are told by /configz, and what they set is done', async () => {
    const { pid } = start();
    const text = await until('/configz', () => answer(`https://127.0.0.1:${port}/configz`));
    const { kubeletconfig } = JSON.parse(text) as { kubeletconfig: Record<string, unknown> };
    expect(kubeletconfig).toMatchObject({
      kind: 'KubeletConfiguration',
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      maxPods: 30,
      podsPerCore: 3,
      cgroupDriver: 'cgroupfs',
      evictionHard: { 'memory.available': '5%', 'nodefs.available': '10%' },
      authentication: { x509: { clientCAFile: path.join(containerd.dir, 'ca.crt') } },
      nodeStatusUpdateFrequency: '10s',
    });
    await until('/healthz', () => answer(`http://127.0.0.1:${healthzPort}/healthz`));

    const limits = await readFile(`/proc/${pid}/limits`, 'utf8');
    expect(/^Max open files\s+(\d+)\s+(\d+)/m.exec(limits)?.slice(1)).toEqual(['4096', '4096']);
    expect((await readFile(`/proc/${pid}/oom_score_adj`, 'utf8')).trim()).toBe('100');

    const lines = await until('a line of the log', async () => {
      const written = (await readFile(log, 'utf8')).trim().split('\n');
      return written.length > 2 ? written : undefined;
    });
    expect(lines.filter((line) => !/^[IWEF]\d{4} \d\d:\d\d:\d\d\.\d{6} +\d+ [\w-]+\] "/.test(line))).toEqual([]);
    expect(lines.join('\n')).toContain('--pods-per-core (set podsPerCore in the file of --config)');
  });

  test('the agent moves itself into its cgroup, and shows what it and the runtime use there', async () => {
    const { pid } = start();
    const group = `${containerd.cgroupParent}/agent`;
    // Of v1 each of these; beside them the tree of v2 is empty.
    const controllers = /^\d+:(cpu|cpuset|memory|pids)[,:]|^0::\/./;
    await until('the move', async () => {
      const groups = (await readFile(`/proc/${pid}/cgroup`, 'utf8'))
        .split('\n')
        .filter((line) => controllers.test(line));
      return groups.length > 0 && groups.every((line) => line.endsWith(`:${group}`)) ? true : undefined;
    });
    const text = await until('/stats/summary', () => answer(`https://127.0.0.1:${port}/stats/summary`));
    const { node } = JSON.parse(text) as { node: { systemContainers: { name: string; memory?: object }[] } };
    expect(node.systemContainers.map(({ name }) => name).sort()).toEqual(
      expect.arrayContaining(['kubelet', 'runtime']),
    );
    const figures = await until('/metrics/cadvisor', () => answer(`https://127.0.0.1:${port}/metrics/cadvisor`));
    expect(figures).toContain(`id="${group}"`);
  });

  /** What `nodelet doctor` finds for the configuration of this node, by check. */
  async function doctor(): Promise<{ code: number; canRun: boolean; found: Map<string, Finding> }> {
    const flags = args.filter((word) => /^--(config|config-dir|cert-dir|root-dir|hostname-override)=/.test(word));
    const child = spawn(NODELET, ['doctor', ...flags, '-o', 'json'], { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.on('data', (chunk) => {
      text += chunk;
    });
    const [code] = (await once(child, 'close')) as [number];
    const { canRun, findings } = JSON.parse(text) as { canRun: boolean; findings: Finding[] };
    return { code, canRun, found: new Map(findings.map((one) => [one.check, one])) };
  }

  test('the doctor looks at the host for this configuration', async () => {
    start();
    await until('/configz', () => answer(`https://127.0.0.1:${port}/configz`));
    const running = await doctor();
    expect(running.code).toBe(running.canRun ? 0 : 1);
    expect(running.found.get('container runtime')).toMatchObject({ level: 'ok' });
    expect(running.found.get('cgroup driver')).toMatchObject({ level: 'ok' });
    expect(running.found.get(`port ${port}`)).toBeUndefined(); // a node that runs has its ports itself
    expect(running.found.get('node name')).toMatchObject({ message: 'set' });
    agent!.kill('SIGKILL');
    await once(agent!, 'exit');

    const other = http.createServer().listen(port, '127.0.0.1');
    await once(other, 'listening');
    const taken = await doctor();
    other.close();
    expect(taken).toMatchObject({ code: 1, canRun: false });
    expect(taken.found.get(`port ${port}`)).toMatchObject({ level: 'fail' });
    expect(taken.found.get(`port ${port}`)?.message).toContain(`(pid ${process.pid})`);
  });

  test('a setting that is refused ends it before anything is done, with its place and reason', async () => {
    await writeFile(
      path.join(dropIns, '20-no.conf'),
      'kind: KubeletConfiguration\napiVersion: kubelet.config.k8s.io/v1beta1\nrunOnce: true\n',
    );
    const refused = start('--max-pods=many');
    let told = '';
    refused.stderr?.on('data', (chunk) => {
      told += chunk;
    });
    const [code] = (await once(refused, 'close')) as [number];
    expect(code).toBe(1);
    expect(told).toContain('invalid configuration: 2 faults:');
    expect(told).toContain('--max-pods=many: expected a whole number of at least 0');
    expect(told).toContain('20-no.conf: runOnce: cannot be set: running once was taken away upstream as well');
  });
});
