// Every flag of `nodelet agent`, `kubelet`, `proxy` and `network`: upstream's own names. A flag either sets a field of a
// configuration kind or stands alone.

import { gateFlagFault } from './feature-gates.ts';
import { type Effect, fieldAt, none, refused } from './field.ts';
import { type ConfigKind, KINDS } from './fields.ts';
import { kubeletFields, taint } from './kubelet-fields.ts';
import { clusterCidr } from './proxy-fields.ts';
import {
  bool,
  directory,
  duration,
  filePath,
  int,
  list,
  map,
  splitCommas,
  stringType,
  text,
  type ValueType,
} from './values.ts';

export type Which = 'agent' | 'kubelet' | 'proxy' | 'network';

export interface Flag {
  readonly name: string;
  readonly type: ValueType<unknown>;
  readonly effect: Effect;
  /** The field it sets; `also`, one that upstream does not keep apart from it. */
  readonly target?: { readonly kind: ConfigKind; readonly path: string; readonly also?: string };
  /** For --help; flags without an effect have none and are not listed. */
  readonly help?: string;
  /** What to use instead, for a flag that upstream means to take away. */
  readonly deprecated?: string;
}

function own(name: string, type: ValueType<unknown>, help: string): Flag {
  return { name, type, effect: 'used', help };
}

function ignored(names: string, effect: Effect, type: ValueType<unknown> = text): Flag[] {
  return names
    .trim()
    .split(/\s+/)
    .map((name) => ({ name, type, effect }));
}

function setting(kind: ConfigKind, name: string, path: string, help?: string): Flag {
  const { effect, type } = fieldAt(KINDS[kind].fields, path);
  const fallback = fieldAt(KINDS[kind].fields, path).initial;
  const shown = ['string', 'number', 'boolean'].includes(typeof fallback) && fallback !== '' ? String(fallback) : '';
  const words =
    help ??
    (effect === 'used'
      ? `sets ${path}${type.expected.startsWith('a duration') || shown === '' ? '' : ` (default ${shown})`}`
      : undefined);
  return { name, type, effect, target: { kind, path }, ...(words === undefined ? {} : { help: words }) };
}

/** A setting that upstream's files have for each mode, and its flags for all modes at once. */
function ofEveryMode(flag: Flag, also: string | undefined): Flag {
  if (also === undefined) return flag;
  const target = { ...flag.target!, also };
  return { ...flag, target, help: `sets ${target.path} and ${also}` };
}

/** A flag that upstream means to take away. */
function deprecated(flag: Flag, instead: string): Flag {
  return { ...flag, deprecated: instead };
}

/** `kubeAPIQPS` → `kube-api-qps`. */
function kebab(name: string): string {
  return name
    .replace(/([a-z\d])([A-Z])/g, '$1-$2')
    .replace(/([A-Z]+)([A-Z][a-z])/g, '$1-$2')
    .toLowerCase();
}

/** Fields of KubeletConfiguration whose flag has another name than the field. */
const RENAMED: Readonly<Record<string, string>> = {
  'pod-manifest-path': 'staticPodPath',
  'manifest-url': 'staticPodURL',
  'anonymous-auth': 'authentication.anonymous.enabled',
  'authentication-token-webhook': 'authentication.webhook.enabled',
  'authentication-token-webhook-cache-ttl': 'authentication.webhook.cacheTTL',
  'client-ca-file': 'authentication.x509.clientCAFile',
  'authorization-mode': 'authorization.mode',
  'authorization-webhook-cache-authorized-ttl': 'authorization.webhook.cacheAuthorizedTTL',
  'authorization-webhook-cache-unauthorized-ttl': 'authorization.webhook.cacheUnauthorizedTTL',
  'rotate-server-certificates': 'serverTLSBootstrap',
  'registry-qps': 'registryPullQPS',
  'event-qps': 'eventRecordQPS',
  'contention-profiling': 'enableContentionProfiling',
  'minimum-image-ttl-duration': 'imageMinimumGCAge',
  'image-gc-high-threshold': 'imageGCHighThresholdPercent',
  'image-gc-low-threshold': 'imageGCLowThresholdPercent',
  'pod-max-pids': 'podPidsLimit',
  'cluster-dns': 'clusterDNS',
  'fail-cgroupv1': 'failCgroupV1',
  'kube-api-content-type': 'contentType',
  'kube-api-qps': 'kubeAPIQPS',
  'make-iptables-util-chains': 'makeIPTablesUtilChains',
  'reserved-cpus': 'reservedSystemCPUs',
  runonce: 'runOnce',
  'logging-format': 'logging.format',
  'log-flush-frequency': 'logging.flushFrequency',
  vmodule: 'logging.vmodule',
};

/** Fields that only a file can set. */
const FILE_ONLY = new Set(
  `staticPodPath staticPodURL staticPodURLHeader authentication authorization serverTLSBootstrap registryPullQPS
  eventRecordQPS enableContentionProfiling imageMinimumGCAge imageGCHighThresholdPercent imageGCLowThresholdPercent
  podPidsLimit clusterDNS failCgroupV1 contentType kubeAPIQPS makeIPTablesUtilChains reservedSystemCPUs runOnce
  memorySwap shutdownGracePeriod shutdownGracePeriodCriticalPods shutdownGracePeriodByPodPriority crashLoopBackOff
  containerLogMaxWorkers containerLogMonitorInterval enableSystemLogHandler enableSystemLogQuery enableProfilingHandler
  enableDebugFlagsHandler showHiddenMetricsForVersion imageMaximumGCAge maxParallelImagePulls
  imagePullCredentialsVerificationPolicy preloadedImagesVerificationAllowlist tlsCurvePreferences userNamespaces
  podLogsDir tracing logging memoryThrottlingFactor memoryReservationPolicy singleProcessOOMKill
  mergeDefaultEvictionSettings nodeLeaseDurationSeconds nodeStatusReportFrequency reservedMemory featureGates
  configMapAndSecretChangeDetectionStrategy registerWithTaints`.split(/\s+/),
);

/** Flags of fields that are not deprecated. */
const LASTING = new Set(['provider-id', 'fail-cgroupv1', 'vmodule', 'log-flush-frequency', 'seccomp-default']);

function kubeletSetting(name: string, path: string, type?: ValueType<unknown>): Flag {
  const flag = setting('KubeletConfiguration', name, path);
  const typed = type === undefined ? flag : { ...flag, type };
  return LASTING.has(name) ? typed : deprecated(typed, `set ${path} in the file of --config`);
}

/** The last one counts: upstream's flag replaces what an earlier one gave (pkg/util/flag, RegisterWithTaintsVar). */
const taints: ValueType<unknown> = {
  ...list(taint),
  expected: 'key=value:Effect, separated by commas',
  fromFlag: (texts) => list(taint).fromFlag(texts.slice(-1)),
};

/** A name alone has an empty value. */
const labels: ValueType<unknown> = {
  ...map(text),
  fromFlag: (texts) => map(text).fromFlag(splitCommas(texts).map((pair) => (pair.includes('=') ? pair : `${pair}=`))),
};

/** One value each time: expressions have commas of their own. */
const repeated: ValueType<unknown> = { ...list(text), expected: 'a text', fromFlag: (texts) => texts };

/** `name:value` pairs; several of one name add up. */
const headers: ValueType<unknown> = {
  ...map(list(text)),
  expected: 'name:value, separated by commas',
  fromFlag: (texts) => {
    const pairs = splitCommas(texts).map((pair) => /^([^:]+):(.*)$/s.exec(pair));
    if (pairs.includes(null)) return texts.at(-1); // no map: `read` says so
    const found: Record<string, string[]> = {};
    for (const pair of pairs) {
      const [, name, value] = pair!;
      found[name!.trim()] = [...(found[name!.trim()] ?? []), value!.trim()];
    }
    return found;
  },
};

/** `0:memory=1Gi,hugepages-2Mi=512Mi` for each NUMA node. */
const reservedMemory: ValueType<unknown> = {
  ...fieldAt(kubeletFields, 'reservedMemory').type,
  expected: 'node:resource=quantity,... e.g. 0:memory=1Gi,hugepages-2Mi=512Mi',
  fromFlag: (texts) =>
    texts
      .flatMap((one) => one.split(';'))
      .map((one) => {
        const match = /^\s*(\d+):(.+)$/.exec(one);
        return match === null ? one : { numaNode: Number(match[1]), limits: map(text).fromFlag([match[2]!]) };
      }),
};

const CADVISOR = none('nor has it upstream: it was for cAdvisor');
const NO_STREAMS = none('each line is written at once, to standard error');

const FEATURE_GATES = own(
  'feature-gates',
  { ...map(bool), flagFault: gateFlagFault },
  'switch features on and off: Name=true,Other=false; over those of the file, name by name',
);
const VERBOSITY = own('v', int(0), 'verbosity of the log: 4 tells each sync, 6 everything');
const HOSTNAME = own('hostname-override', text, 'name of the Node (default: the host name); always in lower case');
const KUBECONFIG = own('kubeconfig', filePath, 'how to reach the API server; without it only static pods are run');
const LOGGING = ignored('log-text-info-buffer-size log-json-info-buffer-size', NO_STREAMS).concat(
  ignored('log-text-split-stream log-json-split-stream', NO_STREAMS, bool),
);
const VERSION: Flag = {
  ...own('version', text, 'print the version of Kubernetes and end'),
  type: { ...text, isSwitch: true },
};
const INSTEAD_OF_AGE = 'set evictionHard or evictionSoft in the file of --config';

const kubelet: readonly Flag[] = [
  own(
    'config',
    filePath,
    'KubeletConfiguration; may hold KubeProxyConfiguration and NodeletConfiguration as further documents',
  ),
  own('config-dir', filePath, 'directory of *.conf files that are merged over --config in the order of their names'),
  KUBECONFIG,
  own(
    'bootstrap-kubeconfig',
    filePath,
    'credentials with which the first client certificate is asked for; --kubeconfig is written then',
  ),
  HOSTNAME,
  own(
    'node-ip',
    text,
    "the node's address, or one of each family separated by a comma (default: that of the default route)",
  ),
  own('node-labels', labels, 'labels of the Node when it is registered: key=value,...'),
  own('root-dir', directory, "where the pods' volumes and state are kept (default /var/lib/kubelet)"),
  own('cert-dir', directory, 'where certificates are kept (default /var/lib/kubelet/pki)'),
  {
    ...kubeletSetting('register-with-taints', 'registerWithTaints', taints),
    help: 'taints of the Node when it is registered: key=value:Effect,...',
  },
  own('runtime-cgroups', text, 'the cgroup of the runtime, for statistics (default: that of its process)'),
  own('cloud-provider', text, 'external: a cloud controller manager completes the Node'),
  own(
    'image-credential-provider-config',
    filePath,
    'CredentialProviderConfig, or a directory of such files: which plugins give credentials for which images',
  ),
  own('image-credential-provider-bin-dir', filePath, 'where the credential provider plugins are'),
  deprecated(
    own('minimum-container-ttl-duration', duration(), 'age before a dead container may be removed (default 0s)'),
    INSTEAD_OF_AGE,
  ),
  deprecated(
    own('maximum-dead-containers-per-container', int(), 'dead instances kept of each container (default 1)'),
    INSTEAD_OF_AGE,
  ),
  deprecated(
    own('maximum-dead-containers', int(), 'dead containers kept in all; -1 is no limit (default -1)'),
    INSTEAD_OF_AGE,
  ),
  FEATURE_GATES,
  VERBOSITY,
  VERSION,
  ...Object.entries(RENAMED).map(([flag, path]) => kubeletSetting(flag, path)),
  kubeletSetting('manifest-url-header', 'staticPodURLHeader', headers),
  kubeletSetting('reserved-memory', 'reservedMemory', reservedMemory),
  ...Object.keys(kubeletFields)
    .filter((name) => !FILE_ONLY.has(name))
    .map((name) => kubeletSetting(kebab(name), name)),
  ...LOGGING,
  ...ignored('lock-file', refused('run one agent for each --root-dir, as a service manager does')),
  ...ignored('exit-on-lock-contention', refused('it needs --lock-file, which is not supported'), bool),
  ...[
    // Gone from kubelets of 1.35; the flags file that kubeadm 1.34 wrote may still have it.
    ...ignored('pod-infra-container-image', none('the runtime is told of its pause image by its own configuration')),
    ...ignored('experimental-mounter-path', refused('file systems are mounted by mount(8) of the host')),
    ...ignored('housekeeping-interval max-housekeeping-interval', none('containers are measured when somebody asks')),
    ...ignored('experimental-allocatable-ignore-eviction', refused('hard thresholds always count'), bool),
    ...ignored(
      `containerd containerd-namespace boot-id-file machine-id-file storage-driver-buffer-duration storage-driver-db
       storage-driver-host storage-driver-password storage-driver-table storage-driver-user
       global-housekeeping-interval event-storage-age-limit event-storage-event-limit
       application-metrics-count-limit container-hints`,
      CADVISOR,
    ),
    ...ignored('storage-driver-secure log-cadvisor-usage enable-load-reader', CADVISOR, bool),
  ].map((flag) => deprecated(flag, 'leave it out')),
];

const agentOnly: readonly Flag[] = [
  own(
    'parts',
    list(stringType('kubelet, proxy or network', (v) => ['kubelet', 'proxy', 'network'].includes(v))),
    'the parts that run: kubelet,proxy,network (default all)',
  ),
  setting(
    'KubeProxyConfiguration',
    'proxy-mode',
    'mode',
    'how the service proxy writes its rules: iptables or nftables (default iptables)',
  ),
  setting(
    'NodeletConfiguration',
    'network-backend',
    'networkBackend',
    'how pods of other nodes are reached: vxlan, host-gw or none (default vxlan)',
  ),
  own('cluster-cidr', clusterCidr, 'range of all pods, e.g. 10.244.0.0/16; needed by the pod network'),
];

const proxyPaths: Readonly<Record<string, string>> = {
  'kube-api-content-type': 'clientConnection.contentType',
  'kube-api-qps': 'clientConnection.qps',
  'kube-api-burst': 'clientConnection.burst',
  'bind-address': 'bindAddress',
  'bind-address-hard-fail': 'bindAddressHardFail',
  'healthz-bind-address': 'healthzBindAddress',
  'metrics-bind-address': 'metricsBindAddress',
  profiling: 'enableProfiling',
  'show-hidden-metrics-for-version': 'showHiddenMetricsForVersion',
  'proxy-mode': 'mode',
  'iptables-masquerade-bit': 'iptables.masqueradeBit',
  'masquerade-all': 'iptables.masqueradeAll',
  'iptables-localhost-nodeports': 'iptables.localhostNodePorts',
  'iptables-sync-period': 'iptables.syncPeriod',
  'iptables-min-sync-period': 'iptables.minSyncPeriod',
  'ipvs-sync-period': 'ipvs.syncPeriod',
  'ipvs-min-sync-period': 'ipvs.minSyncPeriod',
  'ipvs-scheduler': 'ipvs.scheduler',
  'ipvs-exclude-cidrs': 'ipvs.excludeCIDRs',
  'ipvs-strict-arp': 'ipvs.strictARP',
  'ipvs-tcp-timeout': 'ipvs.tcpTimeout',
  'ipvs-tcpfin-timeout': 'ipvs.tcpFinTimeout',
  'ipvs-udp-timeout': 'ipvs.udpTimeout',
  'detect-local-mode': 'detectLocalMode',
  'pod-bridge-interface': 'detectLocal.bridgeInterface',
  'pod-interface-name-prefix': 'detectLocal.interfaceNamePrefix',
  'nodeport-addresses': 'nodePortAddresses',
  'oom-score-adj': 'oomScoreAdj',
  'conntrack-max-per-core': 'conntrack.maxPerCore',
  'conntrack-min': 'conntrack.min',
  'conntrack-tcp-timeout-established': 'conntrack.tcpEstablishedTimeout',
  'conntrack-tcp-timeout-close-wait': 'conntrack.tcpCloseWaitTimeout',
  'conntrack-tcp-be-liberal': 'conntrack.tcpBeLiberal',
  'conntrack-udp-timeout': 'conntrack.udpTimeout',
  'conntrack-udp-timeout-stream': 'conntrack.udpStreamTimeout',
  'config-sync-period': 'configSyncPeriod',
  'logging-format': 'logging.format',
  'log-flush-frequency': 'logging.flushFrequency',
  vmodule: 'logging.vmodule',
};

/** kube-proxy keeps these in one place, whatever the mode. */
const ALSO_IN_NFTABLES: Readonly<Record<string, string>> = {
  'masquerade-all': 'nftables.masqueradeAll',
  'iptables-sync-period': 'nftables.syncPeriod',
  'iptables-min-sync-period': 'nftables.minSyncPeriod',
};

const CLEANUP = own(
  'cleanup',
  bool,
  'remove the rules, links, routes and files that an earlier run with these flags made, and end',
);

const proxy: readonly Flag[] = [
  own('config', filePath, 'KubeProxyConfiguration; flags that are given win over it'),
  KUBECONFIG,
  HOSTNAME,
  own('cluster-cidr', clusterCidr, 'range of all pods; traffic from elsewhere to a Service is masqueraded'),
  FEATURE_GATES,
  VERBOSITY,
  ...Object.entries(proxyPaths).map(([flag, path]) =>
    ofEveryMode(setting('KubeProxyConfiguration', flag, path), ALSO_IN_NFTABLES[flag]),
  ),
  ...LOGGING,
  ...ignored('master write-config-to', refused('give --kubeconfig, and write the file yourself')),
  ...ignored('healthz-port metrics-port', refused('give --healthz-bind-address and --metrics-bind-address')),
  CLEANUP,
  ...ignored('init-only', refused('sysctls and rules are set by one process that stays'), bool),
  VERSION,
];

const network: readonly Flag[] = [
  own('config', filePath, 'file with a NodeletConfiguration document'),
  KUBECONFIG,
  own('kubeconfig-file', filePath, "flanneld's name of --kubeconfig"),
  own('hostname-override', text, 'name of the Node (default: $NODE_NAME, else the host name); always in lower case'),
  own(
    'net-config-path',
    filePath,
    "flannel's net-conf.json: Network and Backend (default /etc/kube-flannel/net-conf.json when it exists)",
  ),
  own('public-ip', text, 'address under which other nodes reach this one (default: that of the default route)'),
  own('cluster-cidr', clusterCidr, 'range of all pods, e.g. 10.244.0.0/16'),
  setting(
    'NodeletConfiguration',
    'network-backend',
    'networkBackend',
    'how pods of other nodes are reached: vxlan, host-gw or none (default vxlan)',
  ),
  setting(
    'NodeletConfiguration',
    'subnet-file',
    'subnetFile',
    'where subnet.env is written (default /run/flannel/subnet.env)',
  ),
  CLEANUP,
  FEATURE_GATES,
  VERBOSITY,
  own(
    'kube-subnet-mgr',
    bool,
    'subnets are those that the control plane assigns (default: unless --etcd-endpoints is given)',
  ),
  own('ip-masq', bool, 'what leaves the pod network gets the address of the node (default true)'),
  own('ip-masq-fully-random-disable', bool, 'masqueraded connections keep their source port where they can'),
  own('iptables-forward-rules', bool, 'accept what is forwarded from and to pods (default true)'),
  own('set-node-network-unavailable', bool, "set the Node's condition NetworkUnavailable (default true)"),
  own('kube-annotation-prefix', text, 'prefix of the annotations (default flannel.alpha.coreos.com)'),
  setting('KubeProxyConfiguration', 'vmodule', 'logging.vmodule'),
  own('iface', repeated, 'interface (name or address) that carries what goes to other nodes; may be repeated'),
  own('iface-regex', repeated, 'expression that an address or a name of that interface matches; may be repeated'),
  own('iface-can-reach', text, 'the interface is the one by which this address is reached'),
  own('public-ipv6', text, 'IPv6 address under which other nodes reach this one'),
  ...Object.entries({
    'etcd-endpoints': 'etcdEndpoints',
    'etcd-prefix': 'etcdPrefix',
    'etcd-cafile': 'etcdCAFile',
    'etcd-certfile': 'etcdCertFile',
    'etcd-keyfile': 'etcdKeyFile',
    'etcd-username': 'etcdUsername',
    'etcd-password': 'etcdPassword',
    'subnet-lease-renew-margin': 'subnetLeaseRenewMargin',
  }).map(([flag, path]) => setting('NodeletConfiguration', flag, path)),
  ...ignored('iptables-resync', none('rules are looked at every 10 s'), int(0)),
  ...ignored('ip-blackhole-route', refused('the range of all pods is routed peer by peer'), bool),
  ...ignored('kube-api-url', refused('give --kubeconfig')),
  ...ignored('healthz-ip', none('there is no --healthz-port')),
  ...ignored('healthz-port', refused('the network part has no port; see nodelet network status'), int(0)),
];

export const FLAGS: Readonly<Record<Which, readonly Flag[]>> = {
  agent: [...kubelet.slice(0, 1), ...agentOnly, CLEANUP, ...kubelet.slice(1)],
  kubelet,
  proxy,
  network,
};
