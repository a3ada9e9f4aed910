// KubeletConfiguration v1beta1: every field, with upstream's default (pkg/kubelet/apis/config/v1beta1/defaults.go) and
// bounds (pkg/kubelet/apis/config/validation). Rules between fields are in rules.ts.
import { isQuantity, parseQuantity, quantityValue } from '../../api/quantity.ts';
import { type Fields, field, group, none, optional, refused } from './field.ts';
import { loggingFields } from './logging-fields.ts';
import {
  bool,
  duration,
  filePath,
  float,
  int,
  ip,
  list,
  map,
  oneOf,
  quantity,
  record,
  scalar,
  socketAddress,
  stringType,
  text,
} from './values.ts';

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const portOrOff = int(0, 65_535);
const percent = int(0, 100);
const atLeastZero = int(0);

const QUALIFIED = /^([a-z0-9]([-a-z0-9.]*[a-z0-9])?\/)?[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?$/;
const labelText = stringType('a label value', (v) => v === '' || /^[A-Za-z0-9]([-\w.]{0,61}[A-Za-z0-9])?$/.test(v));

/** A taint; in a flag `key=value:Effect` or `key:Effect`. */
export const taint = {
  ...record(
    {
      key: stringType('a qualified name', (v) => QUALIFIED.test(v)),
      value: labelText,
      effect: stringType('NoSchedule, PreferNoSchedule or NoExecute', (v) =>
        ['NoSchedule', 'PreferNoSchedule', 'NoExecute'].includes(v),
      ),
    },
    ['key', 'effect'],
  ),
  expected: 'key=value:Effect',
  fromFlag: (texts: readonly string[]): unknown => {
    const match = /^([^=:]*)(?:=([^:]*))?:(.*)$/.exec(texts.at(-1) ?? '');
    if (match === null) return texts.at(-1); // not an object: `read` says so
    return { key: match[1], ...(match[2] === undefined ? {} : { value: match[2] }), effect: match[3] };
  },
};

const SIGNALS =
  'memory.available, nodefs.available, nodefs.inodesFree, imagefs.available, imagefs.inodesFree, pid.available';
const threshold = scalar('a quantity such as 100Mi, or a percentage such as 10%', (v) => {
  if (typeof v !== 'string') return undefined;
  const share = /^(\d+(?:\.\d+)?)%$/.exec(v);
  if (share !== null) return Number(share[1]) <= 100 ? v : undefined;
  return quantity.read(v, '', () => {});
});

function keyed<T>(type: ReturnType<typeof map<T>>, known: readonly string[], what: string): ReturnType<typeof map<T>> {
  return {
    ...type,
    read: (value, path, report) => {
      const read = type.read(value, path, report);
      if (read === undefined) return undefined;
      for (const key of Object.keys(read))
        if (!known.includes(key)) report(`${path}[${key}]`, `unknown ${what}; expected ${known.join(', ')}`);
      return Object.fromEntries(Object.entries(read).filter(([key]) => known.includes(key)));
    },
  };
}

const signals = [
  ...SIGNALS.split(', '),
  'allocatableMemory.available',
  'containerfs.available',
  'containerfs.inodesFree',
];
const thresholds = keyed(map(threshold, '<'), signals, 'eviction signal');
/** Negative: off. */
const quantityOrOff = scalar('a quantity such as 10Mi, or a negative one for no limit', (v) =>
  (typeof v === 'string' || typeof v === 'number') && isQuantity(v) ? String(v) : undefined,
);
/** More than any machine has: a list is counted one by one. */
const MAX_CPU = 65_535;

function isCpuList(text: string): boolean {
  if (!/^(\d+(-\d+)?(,\d+(-\d+)?)*)?$/.test(text)) return false;
  return text.split(',').every((range) => {
    const [first = 0, last = first] = range.split('-').map(Number);
    return first <= last && last <= MAX_CPU;
  });
}

const memoryLimits: ReturnType<typeof map<string>> = {
  ...map(quantity),
  read: (value, path, report) => {
    const limits = map(quantity).read(value, path, report);
    for (const [name, amount] of Object.entries(limits ?? {})) {
      if (name !== 'memory' && !name.startsWith('hugepages-'))
        report(`${path}[${name}]`, 'unknown resource; expected memory or hugepages-<size>');
      else if (amount !== null && quantityValue(parseQuantity(amount)) === 0)
        report(`${path}[${name}]`, 'expected more than zero');
    }
    return limits;
  },
};
/** A whole number of percent, as Go reads it. */
const share = scalar('a percentage such as 50%', (v) => {
  const [, number] = typeof v === 'string' ? (/^([+-]?\d+)%+$/.exec(v) ?? []) : [];
  return number !== undefined && Number(number) >= 0 && Number(number) <= 100 ? (v as string) : undefined;
});
const qosReserved = keyed(map(share), ['memory'], 'resource');
const reservation = keyed(map(quantity), ['cpu', 'memory', 'ephemeral-storage', 'pid'], 'resource');

export const EVICTION_HARD: Readonly<Record<string, string>> = {
  'memory.available': '100Mi',
  'nodefs.available': '10%',
  'nodefs.inodesFree': '5%',
  'imagefs.available': '15%',
  'imagefs.inodesFree': '5%',
};

const serverFields = {
  enableServer: field('used', bool, true),
  address: field('used', ip, '0.0.0.0'),
  port: field('used', int(0, 65_535), 10_250),
  readOnlyPort: field('used', portOrOff, 0),
  healthzPort: field('used', portOrOff, 10_248, 'keepZero'),
  healthzBindAddress: field('used', ip, '127.0.0.1'),
  tlsCertFile: optional('used', filePath),
  tlsPrivateKeyFile: optional('used', filePath),
  tlsCipherSuites: optional('used', list(text)),
  tlsCurvePreferences: optional('used', list(int(0))),
  tlsMinVersion: field('used', oneOf('VersionTLS10', 'VersionTLS11', 'VersionTLS12', 'VersionTLS13'), ''),
  rotateCertificates: field('used', bool, false),
  serverTLSBootstrap: field('used', bool, false),
  authentication: group({
    x509: group({ clientCAFile: optional('used', filePath) }),
    webhook: group({ enabled: field('used', bool, true), cacheTTL: field('used', duration(), 2 * MINUTE) }),
    anonymous: group({ enabled: field('used', bool, false) }),
  }),
  authorization: group({
    mode: field('used', oneOf('Webhook', 'AlwaysAllow'), 'Webhook'),
    webhook: group({
      cacheAuthorizedTTL: field('used', duration(), 5 * MINUTE),
      cacheUnauthorizedTTL: field('used', duration(), 30 * SECOND),
    }),
  }),
  enableDebuggingHandlers: field('used', bool, true),
  enableContentionProfiling: field(none('Node.js has no locks to profile'), bool, false),
  enableSystemLogHandler: field('used', bool, true),
  enableSystemLogQuery: field('used', bool, false),
  enableProfilingHandler: field('used', bool, true),
  enableDebugFlagsHandler: field('used', bool, true),
  showHiddenMetricsForVersion: field(none('no metric is hidden'), text, ''),
  streamingConnectionIdleTimeout: field('used', duration(), 240 * MINUTE),
} satisfies Fields;

const apiFields = {
  staticPodPath: field('used', filePath, ''),
  staticPodURL: field('used', text, ''),
  staticPodURLHeader: optional('used', map(list(text))),
  syncFrequency: field('used', duration(), MINUTE),
  fileCheckFrequency: field('used', duration(), 20 * SECOND),
  httpCheckFrequency: field('used', duration(), 20 * SECOND),
  kubeAPIQPS: field('used', atLeastZero, 50, 'keepZero'),
  kubeAPIBurst: field('used', atLeastZero, 100),
  eventRecordQPS: field('used', atLeastZero, 50, 'keepZero'),
  eventBurst: field('used', atLeastZero, 100),
  contentType: field(
    none('the API server is spoken to in JSON, which it always takes'),
    text,
    'application/vnd.kubernetes.protobuf',
  ),
  registerNode: field('used', bool, true),
  registerWithTaints: field('used', list(taint), []),
  providerID: field('used', text, ''),
  nodeStatusUpdateFrequency: field('used', duration(), 10 * SECOND),
  nodeStatusReportFrequency: optional('used', duration()),
  nodeLeaseDurationSeconds: field('used', int(0), 40),
  nodeStatusMaxImages: field('used', int(-1), 50, 'keepZero'),
  configMapAndSecretChangeDetectionStrategy: field(
    none('objects are always watched, so that pods see changes at once'),
    oneOf('Get', 'Cache', 'Watch'),
    'Watch',
  ),
  enableControllerAttachDetach: field(
    refused('volumes are attached by the controller of the control plane, never by the node'),
    bool,
    true,
  ),
  runOnce: field(refused('running once was taken away upstream as well'), bool, false),
} satisfies Fields;

const runtimeFields = {
  containerRuntimeEndpoint: field('used', socketAddress, 'unix:///run/containerd/containerd.sock'),
  imageServiceEndpoint: field('used', socketAddress, ''),
  runtimeRequestTimeout: field('used', duration(), 2 * MINUTE),
  registryPullQPS: field('used', atLeastZero, 5, 'keepZero'),
  registryBurst: field('used', atLeastZero, 10),
  serializeImagePulls: optional('used', bool),
  maxParallelImagePulls: optional('used', int(1)),
  imagePullCredentialsVerificationPolicy: field(
    'used',
    oneOf('NeverVerify', 'NeverVerifyPreloadedImages', 'NeverVerifyAllowlistedImages', 'AlwaysVerify'),
    'NeverVerifyPreloadedImages',
  ),
  preloadedImagesVerificationAllowlist: optional('used', list(text)),
  imageMinimumGCAge: field('used', duration(), 2 * MINUTE),
  imageMaximumGCAge: field('used', duration(), 0),
  imageGCHighThresholdPercent: field('used', percent, 85, 'keepZero'),
  imageGCLowThresholdPercent: field('used', percent, 80, 'keepZero'),
  containerLogMaxSize: field('used', quantityOrOff, '10Mi'),
  containerLogMaxFiles: field('used', int(2), 5, 'keepZero'),
  containerLogMaxWorkers: field('used', int(1), 1),
  containerLogMonitorInterval: field('used', duration(3 * SECOND, undefined, ' of at least 3s'), 10 * SECOND),
  podLogsDir: field('used', filePath, '/var/log/pods'),
  crashLoopBackOff: group({
    /** 5m unless gates say otherwise. */
    maxContainerRestartPeriod: optional('used', duration(SECOND, 300 * SECOND, ' from 1s to 5m')),
  }),
  seccompDefault: field('used', bool, false),
  volumePluginDir: field(
    none('drivers of FlexVolume are not called; CSI took their place'),
    filePath,
    '/usr/libexec/kubernetes/kubelet-plugins/volume/exec/',
  ),
  volumeStatsAggPeriod: field('used', duration(Number.NEGATIVE_INFINITY), MINUTE),
  localStorageCapacityIsolation: field('used', bool, true),
} satisfies Fields;

const resourceFields = {
  maxPods: field('used', atLeastZero, 110),
  podsPerCore: field('used', atLeastZero, 0),
  podPidsLimit: field('used', int(Number.MIN_SAFE_INTEGER, Number.MAX_SAFE_INTEGER), -1, 'keepZero'),
  cgroupDriver: field('used', oneOf('cgroupfs', 'systemd'), 'cgroupfs'),
  cgroupsPerQOS: field('used', bool, true),
  cgroupRoot: field('used', text, ''),
  kubeletCgroups: field('used', text, ''),
  systemCgroups: field('used', text, ''),
  failCgroupV1: field('used', bool, true),
  cpuCFSQuota: field('used', bool, true),
  cpuCFSQuotaPeriod: field('used', duration(1, SECOND, ' from 1ms to 1s'), 100),
  cpuManagerPolicy: field('used', oneOf('none', 'static'), 'none'),
  cpuManagerPolicyOptions: optional('used', map(text)),
  cpuManagerReconcilePeriod: field('used', duration(), 10 * SECOND),
  memoryManagerPolicy: field('used', oneOf('None', 'Static'), 'None'),
  reservedMemory: optional('used', list(record({ numaNode: int(0), limits: memoryLimits }, ['limits']))),
  topologyManagerPolicy: field('used', oneOf('none', 'best-effort', 'restricted', 'single-numa-node'), 'none'),
  topologyManagerScope: field('used', oneOf('container', 'pod'), 'container'),
  topologyManagerPolicyOptions: optional('used', map(text)),
  qosReserved: optional('used', qosReserved),
  systemReserved: field('used', reservation, {}),
  kubeReserved: field('used', reservation, {}),
  systemReservedCgroup: field('used', text, ''),
  kubeReservedCgroup: field('used', text, ''),
  reservedSystemCPUs: field('used', stringType('CPUs such as 0-1,4', isCpuList), ''),
  enforceNodeAllocatable: field(
    'used',
    list(
      oneOf(
        'none',
        'pods',
        'system-reserved',
        'system-reserved-compressible',
        'kube-reserved',
        'kube-reserved-compressible',
      ),
    ),
    ['pods'],
  ),
  oomScoreAdj: field('used', int(-1000, 1000), -999, 'keepZero'),
  singleProcessOOMKill: optional('used', bool),
  memoryThrottlingFactor: field(
    'used',
    float('a number above 0 and at most 1', (v) => v > 0 && v <= 1),
    0.9,
  ),
  memoryReservationPolicy: field('used', oneOf('None', 'TieredReservation'), 'None'),
  failSwapOn: field('used', bool, true),
  memorySwap: group({ swapBehavior: field('used', oneOf('NoSwap', 'LimitedSwap'), '') }),
  userNamespaces: group({
    idsPerPod: field(
      'used',
      scalar('a multiple of 65536 up to 4294967295', (v) =>
        typeof v === 'number' && v >= 65_536 && v <= 4_294_967_295 && v % 65_536 === 0 ? v : undefined,
      ),
      65_536,
    ),
  }),
  maxOpenFiles: field('used', int(0, Number.MAX_SAFE_INTEGER), 1_000_000),
  protectKernelDefaults: field('used', bool, false),
  allowedUnsafeSysctls: optional('used', list(text)),
} satisfies Fields;

const evictionFields = {
  evictionHard: optional('used', thresholds),
  evictionSoft: optional('used', thresholds),
  evictionSoftGracePeriod: optional('used', keyed(map(duration()), signals, 'eviction signal')),
  evictionMinimumReclaim: optional('used', keyed(map(threshold), signals, 'eviction signal')),
  evictionPressureTransitionPeriod: field('used', duration(), 5 * MINUTE),
  evictionMaxPodGracePeriod: field('used', int(), 0),
  mergeDefaultEvictionSettings: field('used', bool, false),
  kernelMemcgNotification: field(none('memory is looked at twice a second in any case'), bool, false),
} satisfies Fields;

const otherFields = {
  clusterDomain: field('used', text, ''),
  /** Entries that are no address are left out with a warning, as upstream does. */
  clusterDNS: field('used', list({ ...text, expected: 'an IP address' }), []),
  resolvConf: field('used', filePath, '/etc/resolv.conf', 'keepZero'),
  podCIDR: field('used', text, ''),
  hairpinMode: field(
    none('CNI plugins set up interfaces, upstream too'),
    oneOf('promiscuous-bridge', 'hairpin-veth', 'none'),
    'promiscuous-bridge',
  ),
  makeIPTablesUtilChains: field('used', bool, true),
  iptablesMasqueradeBit: field(none('nor has it upstream: the proxy has its own'), int(0, 31), 14, 'keepZero'),
  iptablesDropBit: field(none('nor has it upstream: nothing is marked for dropping'), int(0, 31), 15, 'keepZero'),
  shutdownGracePeriod: field('used', duration(SECOND, undefined, ' of at least 1s'), 0),
  shutdownGracePeriodCriticalPods: field('used', duration(SECOND, undefined, ' of at least 1s'), 0),
  shutdownGracePeriodByPodPriority: optional(
    'used',
    list(record({ priority: int(), shutdownGracePeriodSeconds: int(0) }, ['priority'])),
  ),
  featureGates: field('used', map(bool), {}),
  logging: group(loggingFields),
  tracing: optional(
    refused('no traces are exported'),
    record({ endpoint: text, samplingRatePerMillion: int(0, 1_000_000) }),
  ),
} satisfies Fields;

export const kubeletFields = {
  ...serverFields,
  ...apiFields,
  ...runtimeFields,
  ...resourceFields,
  ...evictionFields,
  ...otherFields,
} satisfies Fields;

/** What holds instead when neither --config nor --config-dir is given: the kubelet's old flag defaults. */
export const LEGACY_DEFAULTS: Readonly<Record<string, unknown>> = {
  authentication: { anonymous: { enabled: true }, webhook: { enabled: false } },
  authorization: { mode: 'AlwaysAllow' },
  readOnlyPort: 10_255,
  evictionHard: {},
};
