// What kubeadm v1.36 writes on a node, taken as it is; drop-ins; and the configuration as it is told back.
import { describe, expect, test } from 'vitest';
import { parse as parseYaml, stringify } from 'yaml';
import { faultsOf, kubelet, parse, STANDALONE } from './fake-command-line.ts';
import { EVICTION_HARD } from './kubelet-fields.ts';

/** /var/lib/kubelet/config.yaml: what was set, and the zero values of all that Go writes out besides. */
const CONFIG = `apiVersion: kubelet.config.k8s.io/v1beta1
authentication:
  anonymous:
    enabled: false
  webhook:
    cacheTTL: 0s
    enabled: true
  x509:
    clientCAFile: /etc/kubernetes/pki/ca.crt
authorization:
  mode: Webhook
  webhook:
    cacheAuthorizedTTL: 0s
    cacheUnauthorizedTTL: 0s
cgroupDriver: systemd
clusterDNS:
- 10.96.0.10
clusterDomain: cluster.local
containerRuntimeEndpoint: unix:///var/run/containerd/containerd.sock
cpuManagerReconcilePeriod: 0s
crashLoopBackOff: {}
evictionPressureTransitionPeriod: 0s
fileCheckFrequency: 0s
healthzBindAddress: 127.0.0.1
healthzPort: 10248
httpCheckFrequency: 0s
imageMaximumGCAge: 0s
imageMinimumGCAge: 0s
kind: KubeletConfiguration
logging:
  flushFrequency: 0
  options:
    json:
      infoBufferSize: "0"
    text:
      infoBufferSize: "0"
  verbosity: 0
memorySwap: {}
nodeStatusReportFrequency: 0s
nodeStatusUpdateFrequency: 0s
resolvConf: /run/systemd/resolve/resolv.conf
rotateCertificates: true
runtimeRequestTimeout: 0s
shutdownGracePeriod: 0s
shutdownGracePeriodCriticalPods: 0s
staticPodPath: /etc/kubernetes/manifests
streamingConnectionIdleTimeout: 0s
syncFrequency: 0s
volumeStatsAggPeriod: 0s
`;

/** Of the unit and its drop-in 10-kubeadm.conf: the variables, as systemd puts them on the command line. */
const UNIT = {
  KUBELET_KUBECONFIG_ARGS:
    '--bootstrap-kubeconfig=/etc/kubernetes/bootstrap-kubelet.conf --kubeconfig=/etc/kubernetes/kubelet.conf',
  KUBELET_CONFIG_ARGS: '--config=/var/lib/kubelet/config.yaml',
  KUBELET_KUBEADM_ARGS: '--hostname-override=worker-1 --node-ip=192.0.2.7 --register-with-taints=a=b:NoSchedule',
  KUBELET_EXTRA_ARGS: '--node-labels=disk=ssd --v=2',
};
const ARGS = Object.values(UNIT).flatMap((words) => words.split(' '));
const FILES = { '/var/lib/kubelet/config.yaml': CONFIG, '/etc/kubernetes/kubelet.conf': 'kind: Config' };

describe("kubeadm's files", () => {
  test('are taken unchanged', async () => {
    const { config } = await parse(ARGS, FILES, 'kubelet');
    expect(config).toMatchObject({
      nodeName: 'worker-1',
      kubeconfig: '/etc/kubernetes/kubelet.conf',
      logging: { verbosity: 2 },
      node: {
        nodeIps: ['192.0.2.7'],
        labels: { disk: 'ssd' },
        taints: [{ key: 'a', value: 'b', effect: 'NoSchedule' }],
        evictionHard: EVICTION_HARD,
      },
      server: { anonymous: false, webhookAuthentication: true, authorizationMode: 'Webhook', healthzPort: 10_248 },
    });
    expect(config.kubelet).toMatchObject({
      cgroupDriver: 'systemd',
      clusterDNS: ['10.96.0.10'],
      resolvConf: '/run/systemd/resolve/resolv.conf',
      syncFrequencyMs: 60_000,
      nodeStatusUpdateFrequencyMs: 10_000,
      nodeStatusReportFrequencyMs: 300_000, // 0s of the other one is not "as often as that"
      imageMinimumGCAgeMs: 120_000,
      runtimeRequestTimeoutMs: 120_000,
    });
  });

  test('before the first bootstrap there is no kubeconfig yet', async () => {
    const { '/var/lib/kubelet/config.yaml': file } = FILES;
    const { config } = await parse(ARGS, { '/var/lib/kubelet/config.yaml': file }, 'kubelet');
    expect(config.kubeconfig).toBe('/etc/kubernetes/kubelet.conf');
    const without = ARGS.filter((word) => !word.startsWith('--bootstrap-kubeconfig'));
    expect(await faultsOf(without, { '/var/lib/kubelet/config.yaml': file }, 'kubelet')).toEqual([
      '--kubeconfig=/etc/kubernetes/kubelet.conf: no such file or directory',
    ]);
  });

  test('the agent and the kubelet alone come to the same', async () => {
    const alone = await parse(ARGS, FILES, 'kubelet');
    const agent = await parse([...ARGS, '--parts=kubelet'], FILES, 'agent');
    expect(agent).toEqual(alone);
  });

  test('the patch of the runtime endpoint is a drop-in like any other', async () => {
    const patch = { '/d/instance-config.conf': kubelet('containerRuntimeEndpoint: unix:///run/crio/crio.sock') };
    const { config } = await parse([...ARGS, '--config-dir=/d'], { ...FILES, ...patch }, 'kubelet');
    expect(config.kubelet.containerRuntimeEndpoint).toBe('unix:///run/crio/crio.sock');
  });
});

describe('drop-ins', () => {
  const dropIns = async (files: Readonly<Record<string, string>>, base = '') =>
    await parse([...STANDALONE, '--config=/c', '--config-dir=/d'], { '/c': kubelet(base), ...files });

  test('are merged in the order of a walk, by name; other files are not read', async () => {
    const { config } = await dropIns({
      '/d/20.conf': kubelet('maxPods: 20'),
      '/d/10.conf': kubelet('maxPods: 10\npodsPerCore: 1'),
      '/d/15/a.conf': kubelet('maxPods: 15\npodsPerCore: 2'),
      '/d/30.yaml': '{ no YAML',
      '/d/40.conf.bak': '{ no YAML',
    });
    expect(config.kubelet).toMatchObject({ maxPods: 20, podsPerCore: 2 });
  });

  test('thresholds of a drop-in join the defaults of the file', async () => {
    const { config } = await dropIns({ '/d/a.conf': kubelet('evictionHard: {memory.available: 1Gi}') });
    expect(config.node.evictionHard).toEqual({ ...EVICTION_HARD, 'memory.available': '1Gi' });
    const own = await dropIns(
      { '/d/a.conf': kubelet('evictionHard: {memory.available: 1Gi}') },
      'evictionHard: {pid.available: 10%}',
    );
    expect(own.config.node.evictionHard).toEqual({ 'memory.available': '1Gi', 'pid.available': '10%' });
  });

  test('null in a group brings back the default of one field', async () => {
    const { config } = await dropIns(
      { '/d/a.conf': kubelet('authentication: {webhook: {cacheTTL: null}}') },
      'authentication: {webhook: {cacheTTL: 5s, enabled: false}}',
    );
    expect(config.server).toMatchObject({ webhookAuthentication: false, authenticationCacheMs: 120_000 });
  });

  test.each([
    ['', '/d/a.conf: is empty; expected a document of kind KubeletConfiguration'],
    ['maxPods: 1', /^\/d\/a\.conf: kind: expected KubeletConfiguration/],
    ['kind: KubeletConfiguration\nmaxPods: 1', /^\/d\/a\.conf: apiVersion: expected kubelet\.config\.k8s\.io\/v1beta1/],
    [kubelet('staticPodPth: /x'), '/d/a.conf: staticPodPth: unknown field; did you mean staticPodPath?'],
  ])('%j', async (content, fault) => {
    const [first] = await faultsOf([...STANDALONE, '--config-dir=/d'], { '/d/a.conf': content });
    if (typeof fault === 'string') expect(first).toBe(fault);
    else expect(first).toMatch(fault);
  });
});

test('yes and no are booleans, as in the YAML that upstream reads', async () => {
  const files = { '/c': kubelet('failSwapOn: no\nregisterNode: Off\nprotectKernelDefaults: yes') };
  const { config } = await parse([...STANDALONE, '--config=/c'], files);
  expect(config.node.failSwapOn).toBe(false);
  expect(config.kubelet.registerNode).toBe(false);
  expect(config.process.kernelParameters).toBe('check');
});

describe('/configz', () => {
  test('holds every field in effect, in the form of a file', async () => {
    const { config } = await parse([...ARGS, '--max-pods=7', '--feature-gates=MemoryQoS=true'], FILES, 'kubelet');
    expect(config.configz).toMatchObject({
      kind: 'KubeletConfiguration',
      apiVersion: 'kubelet.config.k8s.io/v1beta1',
      enableServer: true,
      maxPods: 7,
      cgroupDriver: 'systemd',
      syncFrequency: '1m0s',
      nodeStatusReportFrequency: '5m0s',
      cpuCFSQuotaPeriod: '100ms',
      memorySwap: {},
      crashLoopBackOff: { maxContainerRestartPeriod: '5m0s' },
      evictionHard: EVICTION_HARD,
      serializeImagePulls: true,
      failSwapOn: true,
      imageMaximumGCAge: '0s',
      authentication: {
        anonymous: { enabled: false },
        webhook: { enabled: true, cacheTTL: '2m0s' },
        x509: { clientCAFile: '/etc/kubernetes/pki/ca.crt' },
      },
      registerWithTaints: [{ key: 'a', value: 'b', effect: 'NoSchedule' }],
      featureGates: { MemoryQoS: true },
      logging: { verbosity: 2, flushFrequency: '5s' },
    });
    expect(config.configz).not.toHaveProperty('tlsCertFile');
    expect(config.configz).not.toHaveProperty('clusterCIDR');
  });

  test('of the proxy holds what flags and file come to', async () => {
    const file = 'apiVersion: kubeproxy.config.k8s.io/v1alpha1\nkind: KubeProxyConfiguration\nconntrack: {min: 7}\n';
    const args = ['--config=/p', '--proxy-mode=nftables', '--cluster-cidr=10.2.0.0/16', '--kubeconfig=/kc'];
    const { config } = await parse(args, { '/p': file }, 'proxy');
    expect(config.proxyConfigz).toMatchObject({
      kind: 'KubeProxyConfiguration',
      apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
      mode: 'nftables',
      clusterCIDR: '10.2.0.0/16',
      conntrack: { min: 7, maxPerCore: 32_768, tcpEstablishedTimeout: '24h0m0s' },
      nftables: { syncPeriod: '30s', minSyncPeriod: '1s' },
    });
  });

  test('is a file that comes to the same configuration', async () => {
    const { config } = await parse(ARGS, FILES, 'kubelet');
    const file = stringify(config.configz);
    const again = await parse([...STANDALONE, '--config=/c'], { '/c': file });
    expect(again.config.kubelet).toEqual({ ...config.kubelet, nodeName: 'host-a' });
    expect(parseYaml(stringify(again.config.configz))).toEqual(parseYaml(file));
  });
});
