// A node of both IP families, the whole agent: pods with two addresses, Services reached over each, in both proxy modes, told
// apart from others' traffic by the node's own ranges. The lab's control plane assigns IPv4 only: what a dual-stack one
// would have written is put into its store while it is off.
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import type { EndpointSlice, Node, Service } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import { SqliteStore } from '../../apiserver/store/sqlite.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { labMissing } from '../harness/cluster.ts';
import { FaultNode, NODE } from '../harness/fault-node.ts';
import type { Kubectl } from '../harness/kubectl.ts';
import { pod, SLEEP } from '../harness/manifests.ts';

const NODE_IP6 = 'fd00:29::10';
const PODS6 = 'fd00:244::/48';
const NODE_PODS6 = 'fd00:244:0:7::/64';
const CLUSTER_IP6 = 'fd00:96::80';
const NODE_PORT = 30_090;
const missing = labMissing();
if (missing !== undefined) console.warn(`dual-stack tests are skipped: ${missing}`);

describe.skipIf(missing !== undefined)('a dual-stack node', () => {
  let node: FaultNode;
  let kubectl: Kubectl;
  let nodeIp: string;
  let podCidr: string;
  let clusterIp: string;

  beforeAll(async () => {
    node = await FaultNode.start();
    kubectl = await node.cluster.kubectl();
    const status = await node.cluster.node(NODE);
    [nodeIp, podCidr] = [status.ip, status.podCIDR!];
    const ports = [{ name: 'http', port: 80, targetPort: 8080, nodePort: NODE_PORT }];
    await kubectl.apply({
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'dual' },
      spec: { type: 'NodePort', ports },
    });
    clusterIp = await kubectl.run('get', 'service', 'dual', '-o', 'jsonpath={.spec.clusterIP}');
    await node.killAgent();
    await assignBothFamilies();
    for (const line of [`address add ${NODE_IP6}/64 dev eth0 nodad`, 'route add default via fd00:29::1 dev eth0']) {
      await node.cluster.inNode(NODE, 'ip', '-6', ...line.split(' '));
    }
    await node.changeAgentConfig((text) =>
      text
        .replaceAll(/clusterCIDR: (\S+)/g, `clusterCIDR: $1,${PODS6}`)
        .replace('kind: KubeProxyConfiguration\n', 'kind: KubeProxyConfiguration\ndetectLocalMode: NodeCIDR\n'),
    );
    await startIn('iptables');
    await untilPodsHaveBoth();
    const serve = 'mkdir /w; hostname > /w/index.html; exec httpd -f -p 8080 -h /w';
    await kubectl.apply(pod('server', ['sh', '-c', serve], { nodeName: NODE }));
    await kubectl.apply(pod('client', SLEEP, { nodeName: NODE }));
    await kubectl.run('wait', '--for=condition=Ready', 'pod/server', 'pod/client', '--timeout=120s');
    for (const [family, ip] of Object.entries(await podIps('server'))) await kubectl.apply(sliceOf(family, ip));
  });
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
  });

  /** The node is Ready with the CNI configuration of its first run until the second one has written another. */
  async function untilPodsHaveBoth(): Promise<void> {
    const endMs = systemClock.monotonicMs() + 60_000;
    for (let i = 0; systemClock.monotonicMs() < endMs; i++) {
      await kubectl.apply(pod(`probe-${i}`, SLEEP, { nodeName: NODE }));
      await kubectl.run('wait', '--for=condition=Ready', `pod/probe-${i}`, '--timeout=120s');
      const { IPv6 } = await podIps(`probe-${i}`);
      await kubectl.run('delete', 'pod', `probe-${i}`);
      if (IPv6 !== undefined) return;
    }
    throw new Error(`pods have no IPv6 address:\n${await node.agentLog()}`);
  }

  /** As the controllers of a dual-stack control plane would. */
  async function assignBothFamilies(): Promise<void> {
    await node.cluster.lab('apiserver', 'stop');
    const deps = { clock: systemClock, log: silentLog };
    const store = new SqliteStore({ dir: path.join(node.cluster.dir, 'store') }, deps);
    const change = async <T extends object>(root: string, key: string, to: (object: T) => T) => {
      const item = store.get(root, key)!;
      const result = await store.put(root, key, to(JSON.parse(item.body) as T), { expected: item.revision });
      expect(result.ok).toBe(true);
    };
    try {
      await change<Node>('/registry/minions/', NODE, (n) => ({
        ...n,
        spec: { ...n.spec, podCIDRs: [podCidr, NODE_PODS6] },
      }));
      await change<Service>('/registry/services/specs/', 'default/dual', (s) => ({
        ...s,
        spec: {
          ...s.spec,
          clusterIPs: [clusterIp, CLUSTER_IP6],
          ipFamilies: ['IPv4', 'IPv6'],
          ipFamilyPolicy: 'RequireDualStack',
        },
      }));
    } finally {
      await store.close();
    }
    await node.cluster.lab('apiserver', 'start');
  }

  async function startIn(mode: string): Promise<void> {
    const flags = [`--node-ip=${nodeIp},${NODE_IP6}`, `--proxy-mode=${mode}`];
    const ready = await node.startAgent((args) => [...args.filter((a) => !a.startsWith('--node-ip')), ...flags]);
    await ready();
  }

  async function podIps(name: string): Promise<{ IPv4: string; IPv6: string }> {
    const { status } = await kubectl.json<Pod>('get', 'pod', name);
    const ips = (status?.podIPs ?? []).map((p) => p.ip ?? '');
    return { IPv4: ips.find((ip) => !ip.includes(':'))!, IPv6: ips.find((ip) => ip.includes(':'))! };
  }

  function sliceOf(addressType: string, ip: string): EndpointSlice {
    return {
      apiVersion: 'discovery.k8s.io/v1',
      kind: 'EndpointSlice',
      metadata: { name: `dual-${addressType.toLowerCase()}`, labels: { 'kubernetes.io/service-name': 'dual' } },
      addressType,
      ports: [{ name: 'http', port: 8080, protocol: 'TCP' }],
      endpoints: [{ addresses: [ip], nodeName: NODE, conditions: { ready: true } }],
    } as EndpointSlice;
  }

  const urls = () =>
    [clusterIp, `[${CLUSTER_IP6}]`, `${nodeIp}:${NODE_PORT}`, `[${NODE_IP6}]:${NODE_PORT}`].map(
      (at) => `http://${at}/`,
    );

  /** Waits until the Service is reached from a pod and from the node, through each of its addresses. */
  async function untilServed(): Promise<void> {
    for (const url of urls()) {
      await vi.waitFor(
        async () => {
          expect(await kubectl.run('exec', 'client', '--', 'timeout', '5', 'wget', '-qO-', url)).toBe('server\n');
          expect(await node.cluster.inNode(NODE, 'busybox', 'wget', '-qO-', url)).toBe('server\n');
        },
        { timeout: 120_000, interval: 500 },
      );
    }
  }

  const saved = async (tool: string) => await node.cluster.inNode(NODE, tool);

  test('pods and the Node have an address of each family', async () => {
    for (const name of ['server', 'client']) {
      const { IPv4, IPv6 } = await podIps(name);
      expect(IPv4.startsWith(podCidr.replace(/\.0\/24$/, '.'))).toBe(true);
      expect(IPv6.startsWith(NODE_PODS6.replace('::/64', ':'))).toBe(true);
    }
    const { status } = await kubectl.json<Node>('get', 'node', NODE);
    const internal = status?.addresses?.filter((a) => a.type === 'InternalIP').map((a) => a.address);
    expect(internal).toEqual([nodeIp, NODE_IP6]);
  });

  test('iptables mode: a Service is reached over each family; local traffic is that of the node’s own ranges', async () => {
    await untilServed();
    expect(await saved('iptables-save')).toContain(`! -s ${podCidr} -d ${clusterIp}/32`);
    expect(await saved('ip6tables-save')).toContain(`! -s ${NODE_PODS6} -d ${CLUSTER_IP6}/128`);
  });

  test('nftables mode, taken by the running node: the same, and nothing of iptables is left in either family', async () => {
    await node.killAgent();
    await startIn('nftables');
    await untilServed();
    const ofIptables = /KUBE-(SERVICES|SVC|SEP|EXT|NODEPORTS|POSTROUTING|FORWARD)|FLANNEL/g;
    for (const tool of ['iptables-save', 'ip6tables-save']) {
      await vi.waitFor(async () => expect((await saved(tool)).match(ofIptables)).toBeNull(), {
        timeout: 120_000,
        interval: 250,
      });
    }
    await untilServed();
    const tables = await node.cluster.inNode(NODE, 'nft', 'list', 'tables');
    for (const table of ['ip kube-proxy', 'ip6 kube-proxy', 'ip flannel-ipv4', 'ip6 flannel-ipv6']) {
      expect(tables).toContain(`table ${table}\n`);
    }
    const services = await node.cluster.inNode(NODE, 'nft', 'list', 'chain', 'ip6', 'kube-proxy', 'services');
    expect(services).toContain(`ip6 saddr != ${NODE_PODS6}`);
  });
});
