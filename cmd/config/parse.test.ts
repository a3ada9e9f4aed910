import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { FAKE_KUBELET_CONFIG } from '../../kubelet/fake-config.ts';
import { agentArguments, nodePaths, renderAgentConfig } from '../../lab/node-config.ts';
import { commandLine, faultsOf, KUBECONFIG, kubelet, nodelet, parse, proxy, STANDALONE } from './fake-command-line.ts';
import type { Which } from './flag-table.ts';
import { EVICTION_HARD } from './kubelet-fields.ts';

describe('images and garbage collection', () => {
  test('flags of credential plugins and of dead containers', async () => {
    const { config } = await parse([
      ...STANDALONE,
      '--image-credential-provider-config=/etc/p.yaml',
      '--image-credential-provider-bin-dir=/opt/p',
      '--minimum-container-ttl-duration=1m',
      '--maximum-dead-containers-per-container=2',
      '--maximum-dead-containers=100',
    ]);
    expect(config.credentialProviders).toEqual({ configPath: '/etc/p.yaml', binDir: '/opt/p' });
    expect(config.kubelet.containerGc).toEqual({ minAgeMs: 60_000, maxPerContainer: 2, maxContainers: 100 });
  });

  test('plugins without a configuration, or the other way round, are a fault', async () => {
    for (const flag of ['--image-credential-provider-config=/c', '--image-credential-provider-bin-dir=/b']) {
      expect((await faultsOf([...STANDALONE, flag])).join()).toContain('expected both or neither');
    }
  });

  test('fields of the file', async () => {
    const text = `imageMinimumGCAge: 1m\nimageMaximumGCAge: 1h\nimageGCHighThresholdPercent: 70
imageGCLowThresholdPercent: 60\ncontainerLogMaxSize: "-1"\ncontainerLogMaxWorkers: 3\ncontainerLogMonitorInterval: 5s
imagePullCredentialsVerificationPolicy: NeverVerifyAllowlistedImages
preloadedImagesVerificationAllowlist: [reg.io/*]`;
    const { config, warnings } = await parse([...STANDALONE, '--config=/c'], { '/c': kubelet(text) });
    expect(config.kubelet).toMatchObject({
      imageMinimumGCAgeMs: 60_000,
      imageMaximumGCAgeMs: 3_600_000,
      imageGCHighThresholdPercent: 70,
      imageGCLowThresholdPercent: 60,
      containerLogMaxSizeBytes: -1,
      containerLogMaxWorkers: 3,
      containerLogMonitorIntervalMs: 5000,
      imagePullCredentialsVerificationPolicy: 'NeverVerifyAllowlistedImages',
      preloadedImagesVerificationAllowlist: ['reg.io/*'],
    });
    expect(warnings).toEqual([]);
  });
});

describe('defaults', () => {
  test("a file gives the kubelet's secure defaults", async () => {
    const { config, warnings } = await parse([...STANDALONE, '--config=/c'], { '/c': kubelet('') });
    expect(config.kubelet).toEqual({ ...FAKE_KUBELET_CONFIG, nodeName: 'host-a' });
    expect(config.server).toMatchObject({
      enabled: true,
      port: 10_250,
      anonymous: false,
      webhookAuthentication: true,
      authorizationMode: 'Webhook',
    });
    expect(config.node).toMatchObject({
      evictionHard: EVICTION_HARD,
      failCgroupV1: true,
      failSwapOn: true,
      nodeIps: [],
      certDir: '/var/lib/kubelet/pki',
    });
    expect(config.api).toEqual({ qps: 50, burst: 100, eventQps: 50, eventBurst: 100 });
    expect(config.kubeconfig).toBeUndefined();
    expect(warnings).toEqual([]);
  });

  test('what has no default of its own is handed on where it is set', async () => {
    const text = 'singleProcessOOMKill: false\nimageServiceEndpoint: unix:///run/images.sock\n';
    const { config, warnings } = await parse([...STANDALONE, '--config=/c'], { '/c': kubelet(text) });
    const set = { singleProcessOomKill: false, imageServiceEndpoint: 'unix:///run/images.sock' };
    expect(config.kubelet).toEqual({ ...FAKE_KUBELET_CONFIG, ...set, nodeName: 'host-a' });
    expect(warnings).toEqual([]);
  });

  test('without --config and --config-dir the old flag defaults hold', async () => {
    const { config } = await parse(STANDALONE);
    expect(config.server).toMatchObject({
      anonymous: true,
      webhookAuthentication: false,
      authorizationMode: 'AlwaysAllow',
    });
    expect(config.node.evictionHard).toEqual({});
    expect(config.server.readOnlyPort).toBe(10_255);
  });

  test('drop-ins alone are merged over the old defaults', async () => {
    const { config } = await parse([...STANDALONE, '--config-dir=/d'], {
      '/d/a.conf': kubelet('authentication: {webhook: {enabled: true}}'),
    });
    expect(config.server).toMatchObject({
      anonymous: true,
      webhookAuthentication: true,
      authorizationMode: 'AlwaysAllow',
    });
  });

  test('all parts run with the defaults of their upstream programs', async () => {
    const { config } = await parse([...KUBECONFIG, '--cluster-cidr=10.244.0.0/16']);
    expect([...config.parts]).toEqual(['kubelet', 'proxy', 'network']);
    expect(config.proxy).toEqual({
      mode: 'iptables',
      clusterCidr: '10.244.0.0/16',
      bindAddress: undefined,
      masqueradeAll: false,
      masqueradeBit: 14,
      detectLocal: { by: 'cidr' },
      conntrack: {
        maxPerCore: 32_768,
        min: 131_072,
        tcpEstablishedTimeoutMs: 86_400_000,
        tcpCloseWaitTimeoutMs: 3_600_000,
        tcpBeLiberal: false,
        udpTimeoutMs: 0,
        udpStreamTimeoutMs: 0,
      },
      oomScoreAdj: -999,
      localhostNodePorts: true,
      nodePortAddresses: [],
      minSyncPeriodMs: 1000,
      syncPeriodMs: 30_000,
      healthzAddress: '0.0.0.0:10256',
      metricsAddress: '127.0.0.1:10249',
    });
    expect(config.network).toMatchObject({ backend: 'vxlan', clusterCidr: '10.244.0.0/16', vni: 1, port: 8472 });
    expect(config.nodelet.subnetFile).toBe('/run/flannel/subnet.env');
  });

  test('the result is frozen to its leaves', async () => {
    const { config } = await parse(STANDALONE);
    expect(Object.isFrozen(config) && Object.isFrozen(config.kubelet) && Object.isFrozen(config.node.labels)).toBe(
      true,
    );
  });

  test('zero durations and empty texts in a file mean the default', async () => {
    const { config, warnings } = await parse([...STANDALONE, '--config=/c'], {
      '/c': kubelet('containerRuntimeEndpoint: ""\nsyncFrequency: 0s\ncpuManagerReconcilePeriod: 0s\nhealthzPort: 0\n'),
    });
    expect(config.kubelet.containerRuntimeEndpoint).toBe('unix:///run/containerd/containerd.sock');
    expect(config.kubelet.syncFrequencyMs).toBe(60_000);
    expect(config.server.healthzPort).toBe(0); // a pointer upstream: zero is a value
    expect(warnings).toEqual([]);
  });
});

describe('precedence', () => {
  const files = {
    '/etc/n/c.yaml': kubelet(
      'maxPods: 1\npodPidsLimit: 1\nregistryBurst: 1\nkubeReserved: {cpu: 1, memory: 1Gi}\nclusterDNS: [10.0.0.1]\nresolvConf: resolv.conf',
    ),
    '/d/10-a.conf': kubelet(
      'podPidsLimit: 2\nregistryBurst: 2\nkubeReserved: {cpu: 2}\nclusterDNS: [10.0.0.2, 10.0.0.3]',
    ),
    '/d/20-b.conf': kubelet('registryBurst: null\nfeatureGates: {MemoryQoS: true, QOSReserved: true}'),
    '/d/README': 'not read',
  };

  test('flag > drop-in > file > default; maps merge, lists are replaced, null is the default again', async () => {
    const { config } = await parse(
      [
        ...STANDALONE,
        '--config=/etc/n/c.yaml',
        '--config-dir=/d',
        '--pod-max-pids=3',
        '--feature-gates=MemoryQoS=false',
        '--feature_gates',
        'EventedPLEG=t',
      ],
      files,
    );
    expect(config.kubelet).toMatchObject({
      maxPods: 1,
      podPidsLimit: 3,
      registryBurst: 10,
      clusterDNS: ['10.0.0.2', '10.0.0.3'],
    });
    expect(config.node.reserved).toEqual({ cpu: '2', memory: '1Gi' });
    expect(config.kubelet.resolvConf).toBe('/etc/n/resolv.conf');
    const gates = ['MemoryQoS', 'QOSReserved', 'EventedPLEG', 'HPAScaleToZero'].map((name) =>
      config.featureGates.get(name),
    );
    expect(gates).toEqual([false, true, true, false]);
  });

  test('cgroups of the system, and memory that is kept for QoS classes where the gate is on', async () => {
    const text = 'cgroupRoot: /\nkubeletCgroups: /kubelet\nsystemCgroups: /system\nqosReserved: {memory: 50%}\n';
    const args = [...STANDALONE, '--config=/c', '--runtime-cgroups=/runtime'];
    const { config, warnings } = await parse(args, { '/c': kubelet(text) });
    expect(config.node.systemGroups).toEqual({ kubelet: '/kubelet', system: '/system', runtime: '/runtime' });
    expect(config.kubelet.qosReservedMemoryPercent).toBeUndefined();
    expect(warnings).toEqual([]);
    const on = await parse([...args, '--feature-gates=QOSReserved=true'], { '/c': kubelet(text) });
    expect(on.config.kubelet.qosReservedMemoryPercent).toBe(50);
    const { config: none } = await parse(STANDALONE);
    expect(none.node.systemGroups).toEqual({ kubelet: '', system: '', runtime: '' });
  });

  test('a map flag replaces the map of the file', async () => {
    const { config } = await parse(
      [
        ...STANDALONE,
        '--config=/etc/n/c.yaml',
        '--kube-reserved=memory=2Gi',
        '--system-reserved=memory=512Mi,cpu=100m',
      ],
      files,
    );
    expect(config.node.reserved).toEqual({ memory: '2560Mi', cpu: '100m' });
  });

  test('naming one threshold switches the other defaults off, unless they are to be merged', async () => {
    const some = 'evictionHard: {memory.available: 5%}\n';
    const alone = await parse([...STANDALONE, '--config=/c'], { '/c': kubelet(some) });
    expect(alone.config.node.evictionHard).toEqual({ 'memory.available': '5%' });
    const merged = await parse([...STANDALONE, '--config=/c'], {
      '/c': kubelet(`${some}mergeDefaultEvictionSettings: true`),
    });
    expect(merged.config.node.evictionHard).toEqual({ ...EVICTION_HARD, 'memory.available': '5%' });
  });

  test('one file holds the kinds of all parts', async () => {
    const documents = [
      kubelet('nodeStatusUpdateFrequency: 5s'),
      proxy('mode: nftables\nnftables: {masqueradeBit: 0}\nmetricsBindAddress: 127.0.0.1:0'),
      nodelet('clusterCIDR: 10.1.0.0/16\nvni: 7'),
    ];
    const { config } = await parse([...KUBECONFIG, '--config=/c', '--network-backend=host-gw'], {
      '/c': documents.join('\n---\n'),
    });
    expect(config.kubelet).toMatchObject({ nodeStatusUpdateFrequencyMs: 5000, nodeStatusReportFrequencyMs: 5000 });
    expect(config.proxy).toMatchObject({
      mode: 'nftables',
      masqueradeBit: 0,
      clusterCidr: '10.1.0.0/16',
      metricsAddress: undefined,
    });
    expect(config.network).toMatchObject({ backend: 'host-gw', clusterCidr: '10.1.0.0/16', vni: 7, port: 8472 });
  });

  test('the config of a lab node is read without a warning', async () => {
    const input = {
      node: 'node-1',
      ip: '172.29.0.2',
      paths: nodePaths('/lab', 'node-1'),
      addresses: { clusterDns: '10.96.0.10', clusterCidr: '10.244.0.0/16' } as Parameters<
        typeof renderAgentConfig
      >[0]['addresses'],
      cgroupRoot: '/lab-node-1',
      clientCaFile: '/lab/ca.crt',
      cniBinDir: '/usr/lib/cni',
    };
    const [which, ...args] = agentArguments(input, {
      proxyMode: 'nftables',
      networkBackend: 'host-gw',
      featureGates: 'KubeletInUserNamespace=true',
      verbosity: 4,
    });
    const { config, warnings } = await parse(
      args,
      { [input.paths.agentConfig]: renderAgentConfig(input), [input.paths.kubeconfig]: '' },
      which as Which,
    );
    expect(warnings).toEqual([]);
    expect(config).toMatchObject({
      nodeName: 'node-1',
      logging: { format: 'json', verbosity: 4, vmodule: [] },
      node: { nodeIps: ['172.29.0.2'], failSwapOn: false, failCgroupV1: false },
    });
    expect(config.kubelet).toMatchObject({
      cgroupRoot: '/lab-node-1',
      clusterDNS: ['10.96.0.10'],
      podLogsDir: input.paths.podLogs,
    });
    expect(config.nodelet).toMatchObject({ cniBinDir: '/usr/lib/cni', cniConfDir: input.paths.cniConfDir });
    expect(config.proxy).toMatchObject({ mode: 'nftables', clusterCidr: '10.244.0.0/16' });
  });

  test('a file as kubeadm writes it is read; what does nothing yet is named once', async () => {
    const { warnings } = await parse(
      [...STANDALONE, '--config=/c', '--containerd=/run/x.sock', '--read-only-port=10255'],
      {
        '/c': kubelet(`authentication: {anonymous: {enabled: false}, webhook: {cacheTTL: 0s, enabled: true}, x509: {clientCAFile: /ca.crt}}
authorization: {mode: Webhook, webhook: {cacheAuthorizedTTL: 0s, cacheUnauthorizedTTL: 0s}}
cgroupDriver: systemd
logging: {flushFrequency: 0, options: {json: {infoBufferSize: "0"}, text: {infoBufferSize: "0"}}, verbosity: 0}
memorySwap: {}
rotateCertificates: true
shutdownGracePeriod: 0s
staticPodPath: /etc/kubernetes/manifests
volumeStatsAggPeriod: 0s`),
      },
    );
    expect(warnings).toEqual([
      'these flags are deprecated and will be taken away: --read-only-port (set readOnlyPort in the file of --config), --containerd (leave it out)',
    ]);
  });
});

describe('faults in flags', () => {
  test.each([
    [['--max-pods=x'], '--max-pods=x: expected a whole number of at least 0'],
    [['--port=70000'], '--port=70000: expected a whole number from 0 to 65535'],
    [['--sync-frequency=5'], '--sync-frequency=5: expected a duration such as 10s or 1m30s'],
    [['--register-node=yes'], '--register-node=yes: expected true or false'],
    [['--register-node=maybe'], '--register-node=maybe: expected true or false'],
    [['--cgroup-driver=upstart'], '--cgroup-driver=upstart: expected cgroupfs or systemd'],
    [['--v=-1'], '--v=-1: expected a whole number of at least 0'],
    [['--feature-gates=EnvFiles'], '--feature-gates=EnvFiles: missing bool value for EnvFiles'],
    [
      ['--feature-gates=EnvFiles=maybe'],
      '--feature-gates=EnvFiles=maybe: invalid value of EnvFiles=maybe, err: expected true or false',
    ],
    [
      ['--kube-reserved=cpu'],
      '--kube-reserved=cpu: expected key=value pairs, each value a quantity such as 500m or 1Gi',
    ],
    [
      ['--eviction-hard=memory.available<lots'],
      '--eviction-hard=memory.available<lots: expected key<value pairs, each value a quantity such as 100Mi, or a percentage such as 10%',
    ],
    [
      ['--register-with-taints=a=b:NoSchedul'],
      '--register-with-taints=a=b:NoSchedul: expected key=value:Effect, separated by commas',
    ],
    [
      ['--feature-gates=ImageVolum=true'],
      '--feature-gates=ImageVolum=true: unrecognized feature gate: ImageVolum; did you mean ImageVolume?',
    ],
    [
      ['--feature-gates=ImageVolume=false'],
      '--feature-gates=ImageVolume=false: cannot set feature gate ImageVolume to false, feature is locked to true',
    ],
    [
      ['--node-labels=k8s.io/role=x'],
      '--node-labels=k8s.io/role=x: a node may not give itself labels of k8s.io; expected a domain of your own, or one of node.kubernetes.io, kubelet.kubernetes.io',
    ],
    [['--node-labels=a=b c'], '--node-labels=a=b c: expected a label value of at most 63 letters, digits, -, _ and .'],
    [['--node-ip=10.0.0.1,10.0.0.2'], '--node-ip=10.0.0.1,10.0.0.2: expected one IP address, or one of each family'],
    [['--node-ip=10.0.0.1,::'], '--node-ip=10.0.0.1,::: expected two definite addresses, not 0.0.0.0 or ::'],
    [['--hostname-override=a b'], '--hostname-override=a b: expected a DNS name (letters, digits, - and .)'],
    [['--hostname-override=  '], '--hostname-override=  : expected a DNS name (letters, digits, - and .)'],
    [
      ['--image-gc-low-threshold=90'],
      '--image-gc-low-threshold=90: expected less than imageGCHighThresholdPercent (85), got 90',
    ],
    [['--kubeconfig=/nope'], '--kubeconfig=/nope: no such file or directory'],
    [['--config=/nope'], '--config=/nope: no such file or directory'],
    [['--config-dir=/nope'], '--config-dir=/nope: no such file or directory'],
    [['--root-dir=/proc/x'], '--root-dir=/proc/x: expected a directory outside of /proc'],
    [['--cert-dir=//proc'], '--cert-dir=//proc: expected a directory outside of /proc'],
    [
      ['--container-runtime-endpoint=tcp://192.0.2.1:1'],
      '--container-runtime-endpoint=tcp://192.0.2.1:1: expected unix:///path/of/the/socket',
    ],
    [
      ['--container-runtime-endpoint=unix://'],
      '--container-runtime-endpoint=unix://: expected unix:///path/of/the/socket',
    ],
  ])('%j', async (args, fault) => {
    expect(await faultsOf([...STANDALONE, ...args])).toEqual([fault]);
  });

  test('what the parts need is said', async () => {
    expect(await faultsOf([])).toEqual([
      '--cluster-cidr: the pod network needs the range of all pods, e.g. 10.244.0.0/16; or switch it off with --network-backend=none',
      '--kubeconfig: expected a file, as proxy and network cannot run without an API server; or leave them out with --parts=kubelet',
    ]);
    expect(await faultsOf(['--parts=kublet'])).toContain(
      '--parts=kublet: expected a list, each kubelet, proxy or network',
    );
  });

  test('all faults come at once, in one error', async () => {
    const faults = await faultsOf([...STANDALONE, '--max-pods=x', '--config=/c', '--node-labels=-=x'], {
      '/c': kubelet('maxPodz: 1'),
    });
    expect(faults).toHaveLength(3);
  });

  test.each([
    [['--kubeconfg=x'], 'nodelet: unknown flag --kubeconfg; did you mean --kubeconfig?\n  see nodelet agent --help\n'],
    [
      ['--pod_manifest_pat', 'x'],
      'nodelet: unknown flag --pod_manifest_pat; did you mean --pod-manifest-path?\n  see nodelet agent --help\n',
    ],
    [['--network-plugin=cni'], 'nodelet: unknown flag --network-plugin\n  see nodelet agent --help\n'],
    [
      ['--register-node', 'false'],
      "nodelet: too many arguments for 'agent'. Expected 0 arguments but got 1.\n  see nodelet agent --help\n",
    ],
  ])('usage: %j', async (args, printed) => {
    expect((await commandLine('agent', args)).printed).toBe(printed);
  });
});

describe('faults in files', () => {
  test.each([
    ['', '--config=/c: is empty; expected a document of kind KubeletConfiguration'],
    ['# maxPods: 1\n---\n', '--config=/c: is empty; expected a document of kind KubeletConfiguration'],
    ['{', /^--config=\/c: .+ at line 1/],
    [
      'maxPods: 1',
      '--config=/c: kind: expected KubeletConfiguration, KubeProxyConfiguration, NodeletConfiguration, got undefined',
    ],
    [
      'kind: KubeletConfig',
      '--config=/c: kind: expected KubeletConfiguration, KubeProxyConfiguration, NodeletConfiguration, got "KubeletConfig"',
    ],
    [
      'kind: KubeletConfiguration\napiVersion: v1',
      '--config=/c: apiVersion: expected kubelet.config.k8s.io/v1beta1 for KubeletConfiguration, got "v1"',
    ],
    [kubelet('maxpod: 1'), '--config=/c: maxpod: unknown field; did you mean maxPods?'],
    [
      kubelet('authentication: {x509: {clientCaFiles: x}}'),
      '--config=/c: authentication.x509.clientCaFiles: unknown field; did you mean clientCAFile?',
    ],
    [kubelet('maxPods: "110"'), '--config=/c: maxPods: expected a whole number of at least 0, got "110"'],
    [kubelet('syncFrequency: 60'), '--config=/c: syncFrequency: expected a duration such as 10s or 1m30s, got 60'],
    [kubelet('clusterDNS: 10.96.0.10'), '--config=/c: clusterDNS: expected a list, got "10.96.0.10"'],
    [kubelet('clusterDNS: [1]'), '--config=/c: clusterDNS[0]: expected a text, got 1'],
    [
      kubelet('evictionHard: {memory: 1Gi}'),
      /^--config=\/c: evictionHard\[memory\]: unknown eviction signal; expected memory\.available, /,
    ],
    [kubelet('registerWithTaints: [{key: a}]'), '--config=/c: registerWithTaints[0].effect: is missing'],
    [kubelet('featureGates: {Foo: true}'), '/c: featureGates.Foo: unrecognized feature gate: Foo'],
    [kubelet('maxPods: 1\nmaxPods: 2'), /Map keys must be unique/],
    ...['1.2.3.4:99999', '300.1.1.1:80', '[1.2.3.4]:80', '::1:', 'localhost:80'].map(
      (text) =>
        [
          proxy(`metricsBindAddress: "${text}"`),
          `--config=/c: metricsBindAddress: expected IP:port, got ${JSON.stringify(text)}`,
        ] as [string, string],
    ),
    [kubelet('podLogsDir: /var/../log'), '/c: podLogsDir: expected an absolute path in plain form, got "/var/../log"'],
    [kubelet('__proto__: {maxPods: 1}'), '--config=/c: __proto__: unknown field'],
    [
      kubelet('maxParallelImagePulls: 2\nserializeImagePulls: true'),
      '/c: maxParallelImagePulls: expected serializeImagePulls: false with more than one parallel pull',
    ],
    [
      kubelet('enforceNodeAllocatable: [kube-reserved]'),
      '/c: enforceNodeAllocatable: expected kubeReservedCgroup to be set for kube-reserved',
    ],
    [`${kubelet('')}\n---\n${kubelet('')}`, '--config=/c: holds KubeletConfiguration twice'],
    [proxy('mode: ipvs'), '--config=/c: mode: expected iptables or nftables, got "ipvs"'],
    [
      proxy('iptables: {syncPeriod: 1s, minSyncPeriod: 2s}'),
      '/c: iptables.minSyncPeriod: expected at most iptables.syncPeriod',
    ],
    [
      proxy('detectLocalMode: BridgeInterface'),
      'KubeProxyConfiguration.detectLocal.bridgeInterface: expected a name, as detectLocalMode is BridgeInterface',
    ],
    [
      proxy('detectLocalMode: BridgeInterface\ndetectLocal: {bridgeInterface: "cni0 -j ACCEPT"}'),
      /^\/c: detectLocal: expected the name of a network interface/,
    ],
    [proxy('conntrack: {maxPercore: 1}'), '--config=/c: conntrack.maxPercore: unknown field; did you mean maxPerCore?'],
    [proxy('oomScoreAdj: -1001'), /^--config=\/c: oomScoreAdj: expected a whole number from -1000 to 1000/],
    [proxy('clusterCIDR: 10.0.0.0'), '--config=/c: clusterCIDR: expected a CIDR such as 10.244.0.0/16, got "10.0.0.0"'],
    [nodelet('vni: 0'), '--config=/c: vni: expected a whole number from 1 to 16777215, got 0'],
  ])('%j', async (content, fault) => {
    const faults = await faultsOf([...STANDALONE, '--config=/c'], { '/c': content });
    expect(faults).toHaveLength(1);
    if (typeof fault === 'string') expect(faults[0]).toBe(fault);
    else expect(faults[0]).toMatch(fault);
  });

  test('a drop-in is named by its own path', async () => {
    const faults = await faultsOf([...STANDALONE, '--config-dir=/d'], { '/d/sub/a.conf': kubelet('maxPods: []') });
    expect(faults).toEqual(['/d/sub/a.conf: maxPods: expected a whole number of at least 0, got []']);
  });
});

describe('the other sub-commands', () => {
  test('proxy takes flags of kube-proxy over its file', async () => {
    const { config, warnings } = await parse(
      [
        '--config=/c',
        '--masquerade-all',
        '--proxy-mode=iptables',
        '--iptables-min-sync-period=2s',
        '--conntrack-min=0',
        '--detect-local-mode=InterfaceNamePrefix',
        '--pod-interface-name-prefix=veth',
        '--config-sync-period=1m',
        '--profiling',
      ],
      {
        '/c': proxy(
          'mode: nftables\nclientConnection: {kubeconfig: /kc}\nhostnameOverride: Node-7\nclusterCIDR: "fd00::/64,10.2.0.0/16"',
        ),
      },
      'proxy',
    );
    expect(config).toMatchObject({ nodeName: 'node-7', kubeconfig: '/kc' });
    expect(config.proxy).toMatchObject({
      mode: 'iptables',
      masqueradeAll: true,
      minSyncPeriodMs: 2000,
      clusterCidr: '10.2.0.0/16',
      detectLocal: { by: 'interface-prefix', prefix: 'veth' },
      conntrack: { min: 0, maxPerCore: 32_768 },
    });
    expect([...config.parts]).toEqual(['proxy']);
    expect(warnings).toEqual([]);
  });

  test('flags of the proxy that are named after iptables hold in the nftables mode too', async () => {
    const flags = ['--masquerade-all', '--iptables-sync-period=20s', '--iptables-min-sync-period=2s'];
    for (const mode of ['iptables', 'nftables'] as const) {
      const { config } = await parse([...KUBECONFIG, `--proxy-mode=${mode}`, ...flags], {}, 'proxy');
      expect(config.proxy).toMatchObject({ mode, masqueradeAll: true, syncPeriodMs: 20_000, minSyncPeriodMs: 2000 });
    }
    const wrong = [...KUBECONFIG, '--proxy-mode=nftables', '--iptables-min-sync-period=1m'];
    expect(await faultsOf(wrong, {}, 'proxy')).toEqual([
      '--iptables-min-sync-period=1m: expected at most nftables.syncPeriod',
    ]);
  });

  test.each<[string, string, string | undefined, string[]]>([
    ['bindAddress: "::"', 'all addresses of IPv6', undefined, ['[::]:10256', '[::1]:10249']],
    ['bindAddress: "2001:db8::7"', 'one', '2001:db8::7', ['[::]:10256', '[::1]:10249']],
    ['bindAddress: 192.0.2.7', 'one of IPv4', '192.0.2.7', ['0.0.0.0:10256', '127.0.0.1:10249']],
    [
      'bindAddress: "::"\nhealthzBindAddress: 0.0.0.0:10256\nmetricsBindAddress: 127.0.0.1:1',
      'all, but ports elsewhere',
      undefined,
      ['0.0.0.0:10256', '127.0.0.1:1'],
    ],
    ['bindAddress: ""\nhealthzBindAddress: ""', 'nothing', undefined, ['0.0.0.0:10256', '127.0.0.1:10249']],
  ])('%j of kube-proxy: %s', async (text, _what, bindAddress, [healthzAddress, metricsAddress]) => {
    const { config } = await parse([...KUBECONFIG, '--config=/c'], { '/c': proxy(text) }, 'proxy');
    expect(config.proxy).toMatchObject({ bindAddress, healthzAddress, metricsAddress });
    expect(config.proxyConfigz).toMatchObject({ healthzBindAddress: healthzAddress });
  });

  test("network takes flannel's flags and net-conf.json", async () => {
    const { config } = await parse(
      [
        '--kubeconfig-file=/kc',
        '--net-config-path=/n.json',
        '--public-ip=192.0.2.1',
        '--ip-masq',
        '--kube-subnet-mgr',
        '--subnet-file=/s',
      ],
      {
        '/n.json': '{"Network": "10.5.0.0/16", "Backend": {"type": "vxlan", "VNI": 42, "Port": 4789}}',
      },
      'network',
    );
    expect(config.network).toMatchObject({ backend: 'vxlan', clusterCidr: '10.5.0.0/16', vni: 42, port: 4789 });
    expect(config).toMatchObject({
      kubeconfig: '/kc',
      node: { nodeIps: ['192.0.2.1'] },
      nodelet: { subnetFile: '/s' },
    });
  });

  test('network with etcd needs no API server, and takes the rest of the flags of flanneld', async () => {
    const { config, warnings } = await parse(
      [
        '--etcd-endpoints=https://192.0.2.9:2379,https://192.0.2.8:2379',
        '--etcd-prefix=/net',
        '--etcd-cafile=/ca',
        '--subnet-lease-renew-margin=30',
        '--iface=eth1',
        '--iface-regex=^192\\.0\\.2\\.[0-9]{1,2}$',
        '--public-ipv6=fd00:9::1',
        '--ip-masq=false',
        '--iptables-forward-rules=false',
      ],
      {},
      'network',
    );
    expect(warnings).toEqual([]);
    expect(config.network).toMatchObject({
      etcd: {
        endpoints: ['https://192.0.2.9:2379', 'https://192.0.2.8:2379'],
        prefix: '/net',
        caFile: '/ca',
        renewMarginMs: 1_800_000,
      },
      rules: { form: 'iptables', masquerade: false, forward: false, randomFully: true },
      wishes: { ifaces: ['eth1'], regexes: ['^192\\.0\\.2\\.[0-9]{1,2}$'], publicIps: { v6: 'fd00:9::1' } },
    });
  });

  test('net-conf with both families, direct routing and nftables', async () => {
    const conf = {
      Network: '10.5.0.0/16',
      EnableIPv6: true,
      IPv6Network: 'fd00:5::/56',
      EnableNFTables: true,
      Backend: { Type: 'vxlan', DirectRouting: true, MTU: 1400 },
    };
    const args = ['--kubeconfig=/kc', '--net-config-path=/n.json'];
    const { config } = await parse(args, { '/n.json': JSON.stringify(conf) }, 'network');
    expect(config.network).toMatchObject({
      clusterCidr: '10.5.0.0/16',
      clusterCidrV6: 'fd00:5::/56',
      directRouting: true,
      mtu: 1400,
      rules: { form: 'nftables' },
      etcd: undefined,
    });
  });

  test('the node is called as the pod that it runs in says, unless a flag does; no other program looks there', async () => {
    const args = ['--kubeconfig=/kc', '--cluster-cidr=10.5.0.0/16'];
    const nameOf = async (which: Which, ...more: string[]): Promise<string> =>
      (await parse([...args, ...more], {}, which)).config.nodeName;
    expect(await nameOf('network')).toBe('pod-says-b');
    expect(await nameOf('network', '--hostname-override=c')).toBe('c');
    expect([await nameOf('agent'), await nameOf('proxy')]).toEqual(['host-a', 'host-a']);
  });

  test('a backend that is not served is a fault of the file', async () => {
    const faults = await faultsOf(
      ['--kubeconfig=/kc', '--net-config-path=/n.json'],
      { '/n.json': '{"Network": "10.5.0.0/16", "Backend": {"Type": "wireguard"}}' },
      'network',
    );
    expect(faults).toEqual([
      '--net-config-path=/n.json: Backend.Type: expected vxlan, host-gw or none, got "wireguard"',
    ]);
  });
});

test('entries of clusterDNS that are no address are left out with a warning', async () => {
  const files = { '/c': kubelet('clusterDNS: [dns, 10.96.0.10]') };
  const { config, warnings } = await parse([...STANDALONE, '--config=/c'], files);
  expect(config.kubelet.clusterDNS).toEqual(['10.96.0.10']);
  expect(config.configz).toMatchObject({ clusterDNS: ['10.96.0.10'] });
  expect(warnings).toEqual(['/c: clusterDNS: "dns" is not an IP address and is left out']);
});

test('entries of --node-ip that are no address are ignored with a warning', async () => {
  const { config, warnings } = await parse([...STANDALONE, '--node-ip= 10.0.0.1 ,nonsense']);
  expect(config.node.nodeIps).toEqual(['10.0.0.1']);
  expect(warnings).toEqual(['--node-ip: nonsense is not an IP address and is ignored']);
});

test('taints and labels are read', async () => {
  const { config } = await parse([
    ...STANDALONE,
    '--register-with-taints=a=b:NoSchedule,c:NoExecute',
    '--node-labels=x=1',
    '--node-labels=topology.kubernetes.io/zone=z,example.com/bare',
  ]);
  expect(config.node.taints).toEqual([
    { key: 'a', value: 'b', effect: 'NoSchedule' },
    { key: 'c', effect: 'NoExecute' },
  ]);
  expect(config.node.labels).toEqual({ x: '1', 'topology.kubernetes.io/zone': 'z', 'example.com/bare': '' });
});

test('flags of flanneld may stand in the environment, and given ones win', async () => {
  onTestFinished(() => void vi.unstubAllEnvs());
  vi.stubEnv('FLANNELD_IFACE', 'eth7');
  vi.stubEnv('FLANNELD_IP_MASQ', 'false');
  vi.stubEnv('FLANNELD_PUBLIC_IPV6', '');
  vi.stubEnv('FLANNELD_CLUSTER_CIDR', '10.1.0.0/16');
  const { network } = (await parse([...KUBECONFIG, '--cluster-cidr=10.2.0.0/16'], {}, 'network')).config;
  expect(network).toMatchObject({ clusterCidr: '10.2.0.0/16', rules: { masquerade: false } });
  expect(network.wishes).toMatchObject({ ifaces: ['eth7'], publicIps: {} });
  expect((await parse([...KUBECONFIG, '--cluster-cidr=10.2.0.0/16'])).config.network.wishes.ifaces).toEqual([]);
});

test.each([
  ['d:NoExecute', [{ key: 'd', effect: 'NoExecute' }]],
  ['', []],
])('of taints given twice the last count: "%s"', async (last, wanted) => {
  const args = ['--register-with-taints=a=b:NoSchedule', `--register-with-taints=${last}`];
  expect((await parse([...STANDALONE, ...args])).config.node.taints).toEqual(wanted);
});

test('--help lists what has an effect and nothing else', async () => {
  const { printed } = await commandLine('agent', ['--help']);
  expect(printed).toContain('--cluster-cidr <value>');
  expect(printed).toContain('--max-pods <value>');
  expect(printed).not.toContain('--containerd-namespace');
});
