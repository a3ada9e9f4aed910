// A cluster whose nodes have nftables rules alone: Services as users see them, over their whole life, and a node that goes
// from one proxy mode to the other and back under running pods.
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { EndpointSlice, Service } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import type { LabNodeStatus } from '../../lab/status.ts';
import type { TraceReport } from '../../proxy/trace/report.ts';
import { labMissing, nodelet, type TestCluster } from '../harness/cluster.ts';
import { FaultNode } from '../harness/fault-node.ts';
import type { Kubectl } from '../harness/kubectl.ts';
import { pod, SLEEP } from '../harness/manifests.ts';

const WEB = path.resolve(import.meta.dirname, '../../deploy/examples/web.yaml');
const NODES = ['node-1', 'node-2'];
const TABLE = ['nft', 'list', 'table', 'ip', 'kube-proxy'] as const;

/** Addresses that the chains of a Service translate to. */
function targetsOf(service: string, rules: string): string[] {
  const chains = rules.split('\tchain ').filter((text) => /^\S+/.exec(text)![0].includes(`-default/${service}/`));
  const found = chains.flatMap((text) => [...text.matchAll(/(10\.\d+\.\d+\.\d+)(?: \. |:)8080\b/g)].map((m) => m[1]!));
  return [...new Set(found)].sort();
}

const missing = labMissing();
if (missing !== undefined) console.warn(`tests of the nftables mode are skipped: ${missing}`);

describe.skipIf(missing !== undefined)('a cluster in nftables mode', () => {
  let faults: FaultNode;
  let cluster: TestCluster;
  let kubectl: Kubectl;
  let nodes: readonly LabNodeStatus[];
  let webIp: string;

  beforeAll(async () => {
    faults = await FaultNode.start({ nodes: 2, arguments: ['--proxy-mode=nftables'] });
    cluster = faults.cluster;
    kubectl = await cluster.kubectl();
    nodes = (await cluster.status()).nodes;
    await kubectl.run('apply', '-f', WEB);
    await kubectl.apply(pod('client', SLEEP, { nodeName: 'node-1' }));
    await kubectl.run('wait', '--for=condition=Ready', 'pod/client', '--timeout=120s');
    await kubectl.run('rollout', 'status', 'deployment/web', '--timeout=120s');
    webIp = await clusterIp('web');
  });
  afterAll(async () => {
    await faults?.[Symbol.asyncDispose]();
  });

  const clusterIp = (name: string) => kubectl.run('get', 'service', name, '-o', 'jsonpath={.spec.clusterIP}');

  const webPods = async (): Promise<string[]> => {
    const { items } = await kubectl.json<{ items: Pod[] }>('get', 'pods', '-l', 'app=web');
    return items.map((p) => p.metadata?.name ?? '').sort();
  };

  /** Waits until every node leads connections of the Service to exactly these addresses. */
  const untilRouted = async (service: string, addresses: readonly string[]): Promise<void> => {
    const wanted = JSON.stringify(addresses.toSorted());
    for (const node of NODES) {
      await cluster.untilRules(node, (rules) => JSON.stringify(targetsOf(service, rules)) === wanted, TABLE);
    }
  };

  const readyAddresses = async (service: string): Promise<string[]> => {
    const { items } = await kubectl.json<{ items: EndpointSlice[] }>(
      ...['get', 'endpointslices', '-l', `kubernetes.io/service-name=${service}`],
    );
    const ready = items.flatMap((s) => s.endpoints ?? []).filter((e) => e.conditions?.ready !== false);
    return ready.flatMap((e) => e.addresses);
  };

  /** What `client` gets over `count` connections, without repetition. */
  const answersInPod = async (url: string, count: number): Promise<string[]> => {
    const script = `for i in $(seq ${count}); do timeout 5 wget -qO- ${url} || echo FAILED; done`;
    const out = await kubectl.run('exec', 'client', '--', 'sh', '-c', script);
    return [...new Set(out.trim().split('\n'))].sort();
  };

  const answerOutside = async (url: string): Promise<string> => (await (await fetch(url)).text()).trim();

  test('a ClusterIP reaches pods of both nodes, from a pod and from a node; a NodePort every node, from outside too', async () => {
    const pods = await webPods();
    await untilRouted('web', await readyAddresses('web'));
    // Four pods, each of 40 picks is random: one is never picked in one of 25,000 runs.
    expect(await answersInPod(`http://${webIp}/`, 40)).toEqual(pods);
    for (const { name, ip } of nodes) {
      expect(pods).toContain((await cluster.inNode(name, 'busybox', 'wget', '-qO-', `http://${webIp}/`)).trim());
      expect(pods).toEqual(expect.arrayContaining(await answersInPod(`http://${ip}:30080/`, 4)));
      expect(pods).toContain(await answerOutside(`http://${ip}:30080/`));
    }
  });

  test('no rule of a Service or of the pod network is written by iptables', async () => {
    for (const node of NODES) {
      const rules = await cluster.inNode(node, 'iptables-save');
      expect(rules.split('\n').filter((line) => /KUBE-(SERVICES|SVC|SEP|EXT|NODEPORTS)|FLANNEL/.test(line))).toEqual(
        [],
      );
      expect(await cluster.inNode(node, 'nft', 'list', 'tables')).toContain('table ip flannel-ipv4');
    }
  });

  test('nodelet proxy trace follows the maps to the pods', async () => {
    const { netns } = await cluster.node('node-1');
    const args = ['proxy', 'trace', 'web', '--from', 'pod', '-o', 'json', '--netns', netns];
    const r = await nodelet([...args, '--kubeconfig', cluster.kubeconfig], cluster.dir);
    const { traces } = JSON.parse(r.stdout) as TraceReport;
    expect(traces.map((t) => t.frontend?.kind)).toEqual(['cluster IP', 'node port']);
    const pods = (await webPods()).map((name) => `default/${name}`);
    for (const t of traces) expect(t.ways.map((w) => w.endpoint.pod).sort()).toEqual(pods);
  });

  test('with session affinity a client stays with one pod, until that pod is gone', async () => {
    const spec = { selector: { app: 'web' }, sessionAffinity: 'ClientIP', ports: [{ port: 80, targetPort: 8080 }] };
    await kubectl.apply({ apiVersion: 'v1', kind: 'Service', metadata: { name: 'sticky' }, spec });
    await kubectl.until(
      'endpointslices',
      '{.items[?(@.metadata.generateName=="sticky-")].endpoints[*].addresses}',
      /./,
    );
    const url = `http://${await clusterIp('sticky')}/`;
    await untilRouted('sticky', await readyAddresses('web'));
    const first = await answersInPod(url, 10);
    expect(first).toHaveLength(1);
    await kubectl.run('delete', 'pod', first[0]!);
    await kubectl.run('rollout', 'status', 'deployment/web', '--timeout=120s');
    await kubectl.until('deployment/web', '{.status.readyReplicas}', /^4$/);
    await untilRouted('sticky', await readyAddresses('web'));
    const second = await answersInPod(url, 10);
    expect(second).toHaveLength(1);
    expect(await webPods()).toEqual(expect.arrayContaining(second));
    expect(second).not.toEqual(first);
  });

  test('a Service without endpoints refuses, serves when a pod comes, and when it is deleted nothing of it stays', async () => {
    const service: Service = {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'late' },
      spec: { type: 'NodePort', selector: { app: 'late' }, ports: [{ port: 80, targetPort: 8080, nodePort: 30_081 }] },
    };
    await kubectl.apply(service);
    const ip = await clusterIp('late');
    for (const node of NODES) await cluster.untilRules(node, (rules) => rules.includes('default/late'), TABLE);
    const wget = (url: string) => kubectl.result(['exec', 'client', '--', 'timeout', '3', 'wget', '-qO-', url]);
    for (const url of [`http://${ip}/`, `http://${nodes[1]!.ip}:30081/`]) {
      expect((await wget(url)).stderr).toContain('Connection refused');
    }
    const serve = 'mkdir /w; hostname > /w/index.html; exec httpd -f -p 8080 -h /w';
    await kubectl.apply(pod('late', ['sh', '-c', serve], { nodeName: 'node-2' }));
    await kubectl.run('wait', '--for=condition=Ready', 'pod/late', '--timeout=120s');
    await untilRouted('late', [await kubectl.run('get', 'pod', 'late', '-o', 'jsonpath={.status.podIP}')]);
    expect(await answersInPod(`http://${ip}/`, 4)).toEqual(['late']);
    for (const node of nodes) expect(await answerOutside(`http://${node.ip}:30081/`)).toBe('late');
    await kubectl.run('delete', 'service', 'late');
    for (const node of NODES) await cluster.untilRules(node, (rules) => !rules.includes('default/late'), TABLE);
    expect((await wget(`http://${ip}/`)).stderr).toContain('exit code 143'); // silence, until timeout ends it
    expect((await wget(`http://${nodes[1]!.ip}:30081/`)).stderr).toContain('Connection refused');
  });

  /** Starts the agent of node-1 in another mode, over whatever the one before left. */
  const restartAs = async (mode: string): Promise<void> => {
    if (await faults.agentRuns()) await faults.killAgent();
    const ready = await faults.startAgent((args) =>
      args.map((a) => a.replace(/^--proxy-mode=.*/, `--proxy-mode=${mode}`)),
    );
    await ready();
  };
  const rulesOfServices = async () => {
    const saved = await Promise.all(['iptables-save', 'ip6tables-save'].map((tool) => cluster.inNode('node-1', tool)));
    const tables = await cluster.inNode('node-1', 'nft', 'list', 'tables');
    return {
      iptables: saved.join('\n').match(/KUBE-(SERVICES|SVC|SEP|EXT|NODEPORTS|POSTROUTING|FORWARD)/g)?.length ?? 0,
      nftables: tables.match(/kube-proxy/g)?.length ?? 0,
    };
  };

  /** An agent that starts probes pods anew that are younger than ten seconds, and they are no endpoints until then. */
  const untilAnswering = async (wanted: readonly string[]) =>
    await vi.waitFor(async () => expect(await answersInPod(`http://${webIp}/`, 40)).toEqual(wanted), 120_000);

  test('a node that changes to iptables mode and back leaves nothing of the other one, and serves on', async () => {
    const wanted = await webPods();
    await restartAs('iptables');
    await cluster.untilRules('node-1', (rules) => rules.split('default/web:http -> ').length === 5);
    // The rules of the other mode go once there are rules of the new one.
    await vi.waitFor(async () => expect(await rulesOfServices()).toMatchObject({ nftables: 0 }), {
      timeout: 120_000,
      interval: 250,
    });
    expect((await rulesOfServices()).iptables).toBeGreaterThan(0);
    await untilAnswering(wanted);
    await restartAs('nftables');
    await untilRouted('web', await readyAddresses('web'));
    const only = { iptables: 0, nftables: 2 }; // the table of the other family may come later
    await vi.waitFor(async () => expect(await rulesOfServices()).toEqual(only), { timeout: 120_000, interval: 250 });
    await untilAnswering(wanted);
    expect(wanted).toContain(await answerOutside(`http://${nodes[0]!.ip}:30080/`));
  });

  test.each(['nftables', 'iptables'])('agent --cleanup leaves nothing of a node that ran in %s mode', async (mode) => {
    await restartAs(mode);
    const tool = mode === 'nftables' ? TABLE : (['iptables-save'] as const);
    await cluster.untilRules(
      'node-1',
      (rules) => targetsOf('web', rules).length > 0 || rules.includes('KUBE-SVC-'),
      tool,
    );
    await faults.killAgent();
    const [program, ...args] = faults.command;
    await cluster.inNode('node-1', program!, ...args, '--cleanup');
    const inNode = async (...command: [string, ...string[]]) => await cluster.inNode('node-1', ...command);
    for (const save of ['iptables-save', 'ip6tables-save']) expect(await inNode(save)).not.toMatch(/KUBE-|FLANNEL/);
    expect(await inNode('nft', 'list', 'tables')).not.toMatch(/kube-proxy|flannel/);
    expect(await inNode('ip', '-o', 'link')).not.toContain('flannel');
    expect(await inNode('ip', 'route')).not.toContain(nodes[1]!.podCIDR);
  });
});
