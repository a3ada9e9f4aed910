// Pods and Services as their users see them: reached from pods and from nodes, restarted, replaced, taken out of rotation.
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { EndpointSlice } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import type { NetworkStatus } from '../../cni/status/network-status.ts';
import type { TraceReport } from '../../proxy/trace/report.ts';
import { labMissing, nodelet, TestCluster } from '../harness/cluster.ts';
import type { Kubectl } from '../harness/kubectl.ts';
import { pod, SLEEP } from '../harness/manifests.ts';

const WEB = path.resolve(import.meta.dirname, '../../deploy/examples/web.yaml');
const missing = labMissing();
if (missing !== undefined) console.warn(`service tests are skipped: ${missing}`);

describe.skipIf(missing !== undefined)('services', () => {
  let cluster: TestCluster;
  let kubectl: Kubectl;

  beforeAll(async () => {
    cluster = await TestCluster.start();
    kubectl = await cluster.kubectl();
    await kubectl.run('apply', '-f', WEB);
    await kubectl.apply(pod('client', SLEEP, { nodeName: 'node-1' }));
    await kubectl.run('wait', '--for=condition=Ready', 'pod/client', '--timeout=120s');
    await kubectl.run('rollout', 'status', 'deployment/web', '--timeout=120s');
  });
  afterAll(async () => {
    await cluster?.[Symbol.asyncDispose]();
  });

  const livingPods = async (selector: string): Promise<Pod[]> => {
    const { items } = await kubectl.json<{ items: Pod[] }>('get', 'pods', '-l', selector);
    return items.filter((p) => p.metadata?.deletionTimestamp === undefined);
  };
  const namesOf = (pods: readonly Pod[]) => pods.map((p) => p.metadata?.name ?? '').sort();

  const readyAddresses = async (service: string): Promise<string[]> => {
    const slices = await kubectl.json<{ items: EndpointSlice[] }>(
      ...['get', 'endpointslices', '-l', `kubernetes.io/service-name=${service}`],
    );
    const endpoints = slices.items.flatMap((s) => s.endpoints ?? []);
    return endpoints.filter((e) => e.conditions?.ready !== false).flatMap((e) => e.addresses);
  };

  /** Waits until both nodes send the connections of Service web to exactly these pods. */
  const untilRouted = async (pods: readonly Pod[]): Promise<void> => {
    const wanted = pods.map((p) => `${p.status?.podIP}:8080`).sort();
    const routed = (rules: string) => [...rules.matchAll(/default\/web:http -> ([\d.]+:\d+)/g)].map((m) => m[1]).sort();
    for (const node of ['node-1', 'node-2']) {
      await cluster.untilRules(node, (rules) => JSON.stringify(routed(rules)) === JSON.stringify(wanted));
    }
  };

  /** Names of the pods that answer, as `client` gets them over `count` connections. Every one of these must be answered. */
  const answersInPod = async (url: string, count: number): Promise<string[]> => {
    const script = `for i in $(seq ${count}); do timeout 5 wget -qO- ${url} || echo FAILED; done`;
    const out = await kubectl.run('exec', 'client', '--', 'sh', '-c', script);
    return [...new Set(out.trim().split('\n'))].sort();
  };

  test('the ClusterIP reaches pods of both nodes from a pod, a NodePort from each node and from the host', async () => {
    const pods = await livingPods('app=web');
    expect(pods.map((p) => p.spec?.nodeName).sort()).toEqual(['node-1', 'node-1', 'node-2', 'node-2']);
    const ip = await kubectl.run('get', 'service', 'web', '-o', 'jsonpath={.spec.clusterIP}');
    await untilRouted(pods);
    // Four pods, each of 40 picks is random: one is never picked in one of 25,000 runs.
    expect(await answersInPod(`http://${ip}/`, 40)).toEqual(namesOf(pods));
    for (const node of (await cluster.status()).nodes) {
      expect(namesOf(pods)).toEqual(expect.arrayContaining(await answersInPod(`http://${node.ip}:30080/`, 4)));
      const fromHost = await fetch(`http://${node.ip}:30080/`);
      expect(namesOf(pods)).toContain((await fromHost.text()).trim());
    }
  });

  /** The JSON that a command prints about node-1; both exit codes are answers. */
  const askAboutNode = async <T>(...command: string[]): Promise<T> => {
    const { netns } = await cluster.node('node-1');
    const args = [...command, '-o', 'json', '--netns', netns, '--kubeconfig', cluster.kubeconfig];
    const r = await nodelet(args, cluster.dir);
    if (r.stdout === '') throw new Error(`nodelet ${args.join(' ')}: exit ${r.code}\n${r.stderr}`);
    return JSON.parse(r.stdout) as T;
  };

  test('nodelet proxy trace names the pods that each client of a Service reaches', async () => {
    const pods = await livingPods('app=web');
    await untilRouted(pods);
    const { traces, addressesFrom } = await askAboutNode<TraceReport>('proxy', 'trace', 'web');
    expect(addressesFrom).toBe('api');
    expect(traces.map((t) => `${t.frontend?.kind} from ${t.from.place}`).sort()).toEqual(
      ['cluster IP', 'node port'].flatMap((f) => ['node', 'outside', 'pod'].map((p) => `${f} from ${p}`)),
    );
    for (const { ways, from, frontend } of traces) {
      expect(ways.map((w) => w.endpoint.pod).sort()).toEqual(namesOf(pods).map((name) => `default/${name}`));
      const isKept = from.place === 'pod' && frontend?.kind === 'cluster IP';
      for (const way of ways) {
        expect(way).toMatchObject({ outcome: 'delivered', source: isKept ? 'kept' : 'masqueraded' });
        expect(way.share).toBeCloseTo(1 / 4, 3);
      }
    }
  });

  test('nodelet network status finds the other node over the tunnel', async () => {
    const [own, other] = [await cluster.node('node-1'), await cluster.node('node-2')];
    const status = await askAboutNode<NetworkStatus>('network', 'status', '--timeout-ms', '20000');
    expect(status).toMatchObject({
      node: 'node-1',
      backend: 'vxlan',
      subnets: [own.podCIDR],
      healthy: true,
      warnings: [],
    });
    expect(status.devices).toMatchObject([{ name: 'flannel.1', vni: 1, isUp: true, local: own.ip }]);
    expect(status.peers).toMatchObject([
      {
        node: 'node-2',
        subnet: other.podCIDR,
        address: other.ip,
        way: 'vxlan',
        problems: [],
        probe: { answers: true },
      },
    ]);
  });

  test('a deleted pod is replaced, and no connection goes to it any more', async () => {
    const before = await livingPods('app=web');
    const gone = before[0]!.metadata!.name!;
    await kubectl.run('delete', 'pod', gone);
    await kubectl.run('rollout', 'status', 'deployment/web', '--timeout=120s');
    await kubectl.until('deployment/web', '{.status.readyReplicas}', /^4$/);
    const after = await livingPods('app=web');
    expect(after).toHaveLength(4);
    expect(namesOf(after)).not.toContain(gone);
    await untilRouted(after);
    expect((await readyAddresses('web')).sort()).toEqual(after.map((p) => p.status?.podIP).sort());
    const ip = await kubectl.run('get', 'service', 'web', '-o', 'jsonpath={.spec.clusterIP}');
    expect(await answersInPod(`http://${ip}/`, 40)).toEqual(namesOf(after));
  });

  test('a pod that is not ready gets no connections, and is told apart in its EndpointSlice', async () => {
    const spec = pod('x').spec!;
    const serve = 'mkdir /w; hostname > /w/index.html; touch /w/ready; exec httpd -f -p 8080 -h /w';
    const readinessProbe = {
      exec: { command: ['test', '-f', '/w/ready'] },
      periodSeconds: 1,
      timeoutSeconds: 20,
      failureThreshold: 1,
    };
    const containers = [{ ...spec.containers[0]!, command: ['sh', '-c', serve], readinessProbe }];
    for (const name of ['ready-1', 'ready-2']) {
      await kubectl.apply({ ...pod(name, SLEEP, { containers }), metadata: { name, labels: { app: 'rotation' } } });
    }
    await kubectl.run('wait', '--for=condition=Ready', 'pod', '-l', 'app=rotation', '--timeout=120s');
    await kubectl.apply({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'rotation' },
      spec: { selector: { app: 'rotation' }, ports: [{ port: 80, targetPort: 8080 }] },
    });
    const ip = await kubectl.run('get', 'service', 'rotation', '-o', 'jsonpath={.spec.clusterIP}');
    await using slices = kubectl.follow(
      ...['get', 'endpointslices', '-l', 'kubernetes.io/service-name=rotation', '--watch'],
      ...['-o', 'jsonpath={.endpoints[*].conditions.ready}{"\\n"}'],
    );
    await slices.untilLine(/^true true$/);
    await kubectl.run('exec', 'ready-1', '--', 'rm', '/w/ready');
    await slices.untilLine(/^(true false|false true)$/);
    await kubectl.until('pod/ready-1', '{.status.conditions[?(@.type=="Ready")].status}', /^False$/);
    await cluster.untilRules('node-1', (rules) => rules.split('default/rotation -> ').length === 2);
    expect(await answersInPod(`http://${ip}/`, 10)).toEqual(['ready-2']);
    await kubectl.run('exec', 'ready-1', '--', 'touch', '/w/ready');
    await kubectl.run('wait', '--for=condition=Ready', 'pod/ready-1', '--timeout=120s');
    expect(await readyAddresses('rotation')).toHaveLength(2);
  });

  test('a Service without pods refuses at once', async () => {
    await kubectl.run('create', 'service', 'clusterip', 'empty', '--tcp=80:8080');
    const ip = await kubectl.run('get', 'service', 'empty', '-o', 'jsonpath={.spec.clusterIP}');
    await cluster.untilRules('node-1', (rules) => rules.includes('default/empty'));
    const r = await kubectl.result(['exec', 'client', '--', 'timeout', '5', 'wget', '-qO-', `http://${ip}/`]);
    expect(r.stderr).toContain('Connection refused');
  });

  test('a crashing container restarts at once, then after 10 s, and says CrashLoopBackOff between', async () => {
    const name = 'crashing';
    await using states = kubectl.follow('get', 'pods', '--watch', `--field-selector=metadata.name=${name}`);
    await kubectl.apply(pod(name, ['sh', '-c', 'echo $HOSTNAME; exit 3']));
    await states.untilLine(/\s0\/1\s+CrashLoopBackOff\s+1 /);
    await states.untilLine(/\s(Error|CrashLoopBackOff)\s+2 /);
    await kubectl.until(
      `pod/${name}`,
      '{.status.containerStatuses[0].state.waiting.message}',
      /^back-off 20s restarting failed container=main pod=crashing_default/,
    );
    const crashed = await kubectl.json<Pod>('get', 'pod', name);
    const last = crashed.status?.containerStatuses?.[0]?.lastState?.terminated;
    expect(last).toMatchObject({ exitCode: 3, reason: 'Error' });
    await expect
      .poll(() => kubectl.run('get', 'events', `--field-selector=involvedObject.name=${name}`), { timeout: 120_000 })
      .toMatch(/Warning\s+BackOff\s+pod\/crashing\s+Back-off restarting failed container main in pod crashing_default/);
    // First start to third: one restart without a wait, one after 10 s and not more than half of it again.
    const startedMs = Date.parse(last!.startedAt ?? '');
    const sinceMs = startedMs - Date.parse(crashed.status?.startTime ?? '');
    expect(sinceMs).toBeGreaterThanOrEqual(10_000);
    expect(sinceMs).toBeLessThan(120_000); // on a busy machine, too
  });

  test('a process killed from outside is restarted at once, in the same pod', async () => {
    await kubectl.apply(pod('killed', ['sh', '-c', 'sleep 100000']));
    await kubectl.run('wait', '--for=condition=Ready', 'pod/killed', '--timeout=120s');
    const before = await kubectl.json<Pod>('get', 'pod', 'killed');
    const id = before.status!.containerStatuses![0]!.containerID!.replace('containerd://', '');
    await cluster.ctr(before.spec!.nodeName!, 'tasks', 'kill', '--signal', 'SIGKILL', id);
    await kubectl.until(
      'pod/killed',
      '{.status.containerStatuses[0].restartCount} {.status.containerStatuses[0].ready}',
      /^1 true$/,
    );
    const after = await kubectl.json<Pod>('get', 'pod', 'killed');
    expect(after.status?.podIP).toBe(before.status?.podIP);
    expect(after.status?.containerStatuses?.[0]?.lastState?.terminated?.exitCode).toBe(137);
  });
});
