// The figures of a node, as operators read them: with kubectl, with promtool, and with a Prometheus that scrapes it.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import type { PodStats, Summary } from '../../kubelet/stats/summary-types.ts';
import { labMissing, TestCluster } from '../harness/cluster.ts';
import type { Kubectl } from '../harness/kubectl.ts';
import { documentedMetrics, servedMetrics } from '../harness/metrics-doc.ts';
import { checkMetrics, findPrometheus, TestPrometheus } from '../harness/prometheus.ts';

const missing = labMissing();
if (missing !== undefined) console.warn(`tests of metrics are skipped: ${missing}`);
const prometheus = missing === undefined ? await findPrometheus() : { missing };
if ('missing' in prometheus) console.warn(`tests with Prometheus are skipped: ${prometheus.missing}`);

const NODE = 'node-1';
const MIB = 2 ** 20;
const WAIT_MS = 120_000;
const ENDPOINTS = ['metrics', 'metrics/cadvisor', 'metrics/resource', 'metrics/probes', 'metrics/slis'];

/** What promtool's linter does not like about names; they are upstream's, and dashboards know them. */
const UPSTREAM_NAMES = [
  'cadvisor_version_info label names',
  'container_fs_inodes_total non-counter',
  'container_memory_failcnt counter',
  'kubelet_cpu_manager_exclusive_cpu_allocation_count non-histogram',
  'kubelet_topology_manager_admission_duration_ms metric names',
  'kubeproxy_sync_proxy_rules_iptables_total non-counter',
  'kubeproxy_sync_proxy_rules_no_local_endpoints_total non-counter',
];

/** A container that computes, one that holds memory, one that writes, logs and sends. */
const POD = {
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'worker' },
  spec: {
    terminationGracePeriodSeconds: 0,
    volumes: [
      { name: 'data', emptyDir: {} },
      { name: 'shared', emptyDir: { medium: 'Memory', sizeLimit: '8Mi' } },
      { name: 'claimed', persistentVolumeClaim: { claimName: 'disk' } },
    ],
    containers: [
      container('busy', 'while :; do :; done', { resources: { limits: { cpu: '100m', memory: '32Mi' } } }),
      // tail keeps what has no end of a line
      container('big', 'head -c 25000000 /dev/zero | tail | sleep 3600', {}),
      container(
        'writer',
        `dd if=/dev/zero of=/data/file bs=1M count=6; dd if=/dev/zero of=/layer bs=1M count=4
         dd if=/dev/zero of=/shared/file bs=1M count=2
         ping -c 3 "$(ip route | awk '/^default/ { print $3 }')"; seq 20000; touch /done; sleep 3600`,
        {
          volumeMounts: ['data', 'shared', 'claimed'].map((name) => ({ name, mountPath: `/${name}` })),
          readinessProbe: { exec: { command: ['test', '-e', '/done'] }, periodSeconds: 1, timeoutSeconds: 20 },
        },
      ),
    ],
  },
};

function container(name: string, script: string, more: object) {
  return { name, image: 'busybox:1.36', imagePullPolicy: 'IfNotPresent', command: ['sh', '-c', script], ...more };
}

/** A directory of the node as a volume, and a claim on it, bound as a controller would. */
async function bindDirectory(kubectl: Kubectl, dir: string): Promise<void> {
  const both = { accessModes: ['ReadWriteOnce'], storageClassName: '' };
  const storage = { storage: '1Gi' };
  const claimed = { ...both, resources: { requests: storage }, volumeName: 'disk' };
  await kubectl.apply({ apiVersion: 'v1', kind: 'PersistentVolumeClaim', metadata: { name: 'disk' }, spec: claimed });
  const uid = await kubectl.run('get', 'pvc/disk', '-o', 'jsonpath={.metadata.uid}');
  const terms = [{ matchExpressions: [{ key: 'kubernetes.io/hostname', operator: 'In', values: [NODE] }] }];
  const volume = {
    ...both,
    capacity: storage,
    local: { path: dir },
    nodeAffinity: { required: { nodeSelectorTerms: terms } },
    claimRef: { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace: 'default', name: 'disk', uid },
  };
  await kubectl.apply({ apiVersion: 'v1', kind: 'PersistentVolume', metadata: { name: 'disk' }, spec: volume });
  const status = JSON.stringify({ status: { phase: 'Bound', accessModes: ['ReadWriteOnce'], capacity: storage } });
  await kubectl.run('patch', 'pvc/disk', '--subresource=status', '--type=merge', `--patch=${status}`);
}

describe.skipIf(missing !== undefined)('figures of a node', { timeout: 300_000 }, () => {
  let cluster: TestCluster;
  let kubectl: Kubectl;

  const raw = (endpoint: string) => kubectl.run('get', '--raw', `/api/v1/nodes/${NODE}/proxy/${endpoint}`);
  const summary = async (query = ''): Promise<Summary> => JSON.parse(await raw(`stats/summary${query}`)) as Summary;

  /** The figures once they are as wanted; the runtime looks at layers every ten seconds, and rates need two looks. */
  async function summaryOnce(wanted: (all: Summary, worker: PodStats) => boolean) {
    const endMs = Date.now() + WAIT_MS;
    for (;;) {
      const all = await summary();
      const worker = all.pods.find((p) => p.podRef.name === 'worker');
      if (worker !== undefined && wanted(all, worker)) return { node: all.node, worker };
      if (Date.now() > endMs) throw new Error(`the figures stay as they are: ${JSON.stringify(all, null, 1)}`);
      await systemClock.sleep(1_000);
    }
  }

  beforeAll(async () => {
    cluster = await TestCluster.start({ nodes: 1 });
    kubectl = await cluster.kubectl();
    const dir = path.join(cluster.dir, 'claimed');
    await mkdir(dir);
    await writeFile(path.join(dir, 'file'), Buffer.alloc(MIB));
    await bindDirectory(kubectl, dir);
    await kubectl.apply(POD);
    const ready = '{.status.conditions[?(@.type=="Ready")].status}';
    await kubectl.until('pod/worker', ready, /^True$/, WAIT_MS);
  });
  afterAll(async () => await cluster?.[Symbol.asyncDispose]());

  test('what containers do shows in the summary: CPU, memory, layers, logs, volumes, network', async () => {
    const of = (pod: PodStats, name: string) => pod.containers.find((c) => c.name === name);
    const { worker: pod } = await summaryOnce(
      (_all, p) =>
        (of(p, 'busy')?.cpu?.usageNanoCores ?? 0) > 20_000_000 &&
        (of(p, 'big')?.memory?.workingSetBytes ?? 0) > 25_000_000 &&
        (of(p, 'writer')?.rootfs?.usedBytes ?? 0) >= 4 * MIB &&
        p.volume?.length === 4,
    );
    const [busy, big, writer] = [of(pod, 'busy')!, of(pod, 'big')!, of(pod, 'writer')!];
    expect(busy.cpu!.usageCoreNanoSeconds).toBeGreaterThan(20_000_000);
    expect(busy.memory!.availableBytes).toBe(32 * MIB - busy.memory!.workingSetBytes!);
    expect(big.memory!.availableBytes).toBeUndefined(); // no limit, so nothing is left of it
    expect(big.memory!.rssBytes).toBeGreaterThan(20_000_000);
    expect(writer.logs!.usedBytes).toBeGreaterThan(100_000);
    expect(writer.logs!.inodesUsed).toBe(1);
    expect(pod.memory!.workingSetBytes).toBeGreaterThan(big.memory!.workingSetBytes!);
    expect(pod.network).toMatchObject({ name: 'eth0', rxErrors: 0, txErrors: 0 });
    expect(pod.network!.txBytes).toBeGreaterThan(200);
    expect(pod.process_stats!.process_count).toBeGreaterThanOrEqual(3);
    const volumes = new Map(pod.volume!.map((v) => [v.name, v]));
    expect(volumes.get('data')!.usedBytes).toBeGreaterThanOrEqual(6 * MIB);
    expect(volumes.get('shared')).toMatchObject({ capacityBytes: 8 * MIB, usedBytes: 2 * MIB });
    expect(volumes.get('claimed')).toMatchObject({ pvcRef: { name: 'disk', namespace: 'default' } });
    expect(volumes.get('claimed')!.usedBytes).toBeGreaterThanOrEqual(MIB);
    const onDisk = writer.rootfs!.usedBytes! + writer.logs!.usedBytes! + volumes.get('data')!.usedBytes!;
    expect(pod['ephemeral-storage']!.usedBytes).toBeGreaterThanOrEqual(onDisk);
  });

  test('the node has figures of its own, and the reduced summary only CPU, memory and swap', async () => {
    const { node } = await summaryOnce(({ node }) => (node.runtime?.imageFs?.usedBytes ?? 0) > MIB);
    expect(node).toMatchObject({ nodeName: NODE });
    expect(node.systemContainers.map((c) => c.name)).toContain('pods');
    expect(node.cpu!.usageNanoCores).toBeGreaterThan(0);
    expect(node.memory!.availableBytes).toBeGreaterThan(0);
    expect(node.fs!.capacityBytes).toBeGreaterThan(node.fs!.usedBytes!);
    expect(node.runtime!.containerFs).toBeDefined();
    expect(node.network!.interfaces.map((i) => i.name)).toContain('eth0');
    expect(node.rlimit!.curproc).toBeGreaterThan(0);

    const reduced = await summary('?only_cpu_and_memory=true');
    const pod = reduced.pods.find((p) => p.podRef.name === 'worker')!;
    expect(Object.keys(pod).sort()).toEqual(['containers', 'cpu', 'memory', 'podRef', 'startTime', 'swap']);
    expect(Object.keys(pod.containers[0]!).sort()).toEqual(['cpu', 'memory', 'name', 'startTime', 'swap']);
    expect(Object.keys(reduced.node).sort()).toEqual([
      'cpu',
      'memory',
      'nodeName',
      'startTime',
      'swap',
      'systemContainers',
    ]);
  });

  test('what metrics-server reads is there, with its times', async () => {
    const text = await raw('metrics/resource');
    const labels = 'container="busy",namespace="default",pod="worker"';
    for (const pattern of [
      /^node_cpu_usage_seconds_total [\d.]+ \d{13}$/m,
      /^node_memory_working_set_bytes \d+ \d{13}$/m,
      new RegExp(`^container_cpu_usage_seconds_total\\{${labels}\\} [\\d.]+ \\d{13}$`, 'm'),
      new RegExp(`^container_memory_working_set_bytes\\{${labels}\\} \\d+ \\d{13}$`, 'm'),
      new RegExp(`^container_start_time_seconds\\{${labels}\\} [\\d.]+$`, 'm'),
      /^pod_cpu_usage_seconds_total\{namespace="default",pod="worker"\} [\d.]+ \d{13}$/m,
      /^resource_scrape_error 0$/m,
    ]) {
      expect(text).toMatch(pattern);
    }
  });

  test('docs/metrics.md names every metric that is served, and nothing that never is', async () => {
    const doc = documentedMetrics(await readFile(path.resolve(import.meta.dirname, '../../docs/metrics.md'), 'utf8'));
    await raw('healthz'); // the health checks show in their metrics once somebody asked
    for (const endpoint of ENDPOINTS) {
      const served = servedMetrics(await raw(endpoint));
      const known = doc.get(`/${endpoint}`) ?? new Map();
      const withoutWord = [...served].filter((name) => !known.has(name));
      expect(withoutWord, `served at /${endpoint}, not in docs/metrics.md`).toEqual([]);
      const always = [...known].filter(([, when]) => when === '').map(([name]) => name);
      expect(
        always.filter((name) => !served.has(name)),
        `not served at /${endpoint}`,
      ).toEqual([]);
    }
    const own = servedMetrics(await raw('metrics'));
    const proxy = servedMetrics(await cluster.inNode(NODE, 'curl', '-sSf', 'http://127.0.0.1:10249/metrics'));
    expect(new Set([...proxy, ...own])).toEqual(own); // one process, one set
  });

  describe.skipIf('missing' in prometheus)('with Prometheus', () => {
    test.each(ENDPOINTS)('promtool can read %s and has nothing against it but names of upstream', async (endpoint) => {
      if ('missing' in prometheus) return;
      const complaints = await checkMetrics(prometheus, await raw(endpoint));
      expect(complaints.filter((line) => !UPSTREAM_NAMES.some((name) => line.startsWith(name)))).toEqual([]);
    });

    test('it scrapes every endpoint, and the queries of the dashboards find something', async () => {
      if ('missing' in prometheus) return;
      const { ip } = await cluster.node(NODE);
      await using server = await TestPrometheus.start(prometheus, {
        dir: cluster.dir,
        target: `${ip}:10250`,
        kubeconfig: cluster.kubeconfig,
      });
      for (const query of QUERIES) expect(await server.untilFound(query), query).toBeGreaterThan(0);
    });
  });
});

const K = 'job="kubelet", metrics_path="/metrics"';
const C = 'job="kubelet", metrics_path="/metrics/cadvisor"';

/** As in kubernetes-mixin's rules, alerts and dashboards, and those of metrics-server's kind. */
const QUERIES = [
  'count(up{job="kubelet"} == 1) == 4',
  `kubelet_node_name{${K}}`,
  `sum(kubelet_running_pods{${K}}) > 0`,
  `sum(kubelet_running_containers{${K}, container_state="running"}) >= 3`,
  `sum(rate(kubelet_runtime_operations_total{${K}}[1m])) by (operation_type)`,
  `histogram_quantile(0.99, sum(rate(kubelet_runtime_operations_duration_seconds_bucket{${K}}[1m])) by (le))`,
  `histogram_quantile(0.99, sum(kubelet_pod_start_duration_seconds_bucket{${K}}) by (le))`,
  `histogram_quantile(0.99, sum(kubelet_pod_worker_duration_seconds_bucket{${K}}) by (le))`,
  `histogram_quantile(0.99, sum(kubelet_pleg_relist_duration_seconds_bucket{${K}}) by (le))`,
  `histogram_quantile(0.99, sum(kubelet_cgroup_manager_duration_seconds_bucket{${K}}) by (le))`,
  `sum(storage_operation_duration_seconds_count{${K}}) by (operation_name, volume_plugin)`,
  `sum(volume_manager_total_volumes{${K}}) by (plugin_name, state)`,
  `kubelet_volume_stats_available_bytes{${K}, persistentvolumeclaim="disk"} / kubelet_volume_stats_capacity_bytes{${K}}`,
  `kubelet_volume_stats_inodes_used{${K}} / kubelet_volume_stats_inodes{${K}}`,
  `sum(rate(rest_client_requests_total{${K}}[1m])) by (code, method)`,
  `histogram_quantile(0.99, sum(rate(rest_client_request_duration_seconds_bucket{${K}}[1m])) by (verb, le))`,
  `process_resident_memory_bytes{${K}} > 0 and rate(process_cpu_seconds_total{${K}}[1m]) > 0`,
  `count by (git_version) (kubernetes_build_info{${K}})`,
  `sum by (namespace, pod, container) (irate(container_cpu_usage_seconds_total{${C}, image!="", container!=""}[2m])) > 0`,
  `container_memory_working_set_bytes{${C}, container!="", image!=""} > 0`,
  `container_memory_rss{${C}, container!="", image!=""}`,
  `container_memory_cache{${C}, container!="", image!=""}`,
  `container_memory_swap{${C}, container!="", image!=""}`,
  `sum by (pod) (irate(container_network_transmit_bytes_total{${C}, namespace="default", image!=""}[2m])) >= 0`,
  `sum(increase(container_cpu_cfs_throttled_periods_total{${C}, container="busy"}[2m])) / sum(increase(container_cpu_cfs_periods_total{${C}, container="busy"}[2m])) > 0`,
  `machine_cpu_cores{${C}} > 0 and machine_memory_bytes{${C}} > 0`,
  `container_fs_usage_bytes{${C}, id="/"} / container_fs_limit_bytes{${C}, id="/"}`,
  'rate(container_cpu_usage_seconds_total{metrics_path="/metrics/resource", container="busy"}[2m]) > 0',
  'sum(prober_probe_total{metrics_path="/metrics/probes", probe_type="Readiness", result="successful"}) > 0',
];
