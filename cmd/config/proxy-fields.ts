// KubeProxyConfiguration v1alpha1: every field, with upstream's default (pkg/proxy/apis/config/v1alpha1/defaults.go).
import { type Fields, field, group, optional } from './field.ts';
import { loggingFields } from './logging-fields.ts';
import { bool, duration, float, int, ip, isCidr, list, map, oneOf, scalar, stringType, text } from './values.ts';

const anyDuration = duration(Number.NEGATIVE_INFINITY);
const masqueradeBit = field('used', int(0, 31), 14, 'keepZero');
const address = stringType(
  'IP:port',
  (v) => v === '' || /^(\d+\.\d+\.\d+\.\d+|\[[\da-fA-F:.]+\]|[\da-fA-F:]+)(:\d{1,5})?$/.test(v),
);
const nodePortRange = stringType('a CIDR, or primary', (v) => v === 'primary' || isCidr(v));

/** One range, or one of each family. */
export const clusterCidr = scalar('a CIDR such as 10.244.0.0/16', (v) => {
  if (typeof v !== 'string') return undefined;
  const ranges = v.split(',').map((range) => range.trim());
  return v === '' || (ranges.length <= 2 && ranges.every(isCidr)) ? v : undefined;
});

export const proxyFields = {
  featureGates: field('used', map(bool), {}),
  clientConnection: group({
    kubeconfig: field('used', text, ''),
    acceptContentTypes: field('none', text, ''),
    contentType: field('none', text, 'application/vnd.kubernetes.protobuf'),
    qps: field(
      'later',
      float('a number', () => true),
      5,
    ),
    burst: field('later', int(0), 10),
  }),
  logging: group(loggingFields),
  hostnameOverride: field('used', text, ''),
  bindAddress: field('later', ip, '0.0.0.0'),
  healthzBindAddress: field('used', address, '0.0.0.0:10256'),
  metricsBindAddress: field('used', address, '127.0.0.1:10249'),
  bindAddressHardFail: field('later', bool, false),
  enableProfiling: field('later', bool, false),
  showHiddenMetricsForVersion: field('none', text, ''),
  mode: field('used', oneOf('iptables', 'nftables'), 'iptables'),
  iptables: group({
    masqueradeBit,
    masqueradeAll: field('used', bool, false),
    localhostNodePorts: field('used', bool, true),
    syncPeriod: field('used', duration(), 30_000),
    minSyncPeriod: field('used', duration(), 1000),
  }),
  nftables: group({
    masqueradeBit,
    masqueradeAll: field('used', bool, false),
    syncPeriod: field('used', duration(), 30_000),
    minSyncPeriod: field('used', duration(), 1000),
  }),
  ipvs: group({
    syncPeriod: field('none', anyDuration, 30_000),
    minSyncPeriod: field('none', anyDuration, 0),
    scheduler: field('none', text, ''),
    excludeCIDRs: optional('none', list(text)),
    strictARP: field('none', bool, false),
    tcpTimeout: field('none', anyDuration, 0),
    tcpFinTimeout: field('none', anyDuration, 0),
    udpTimeout: field('none', anyDuration, 0),
  }),
  winkernel: group({
    networkName: field('none', text, ''),
    sourceVip: field('none', text, ''),
    enableDSR: field('none', bool, false),
    rootHnsEndpointName: field('none', text, ''),
    forwardHealthCheckVip: field('none', bool, false),
  }),
  windowsRunAsService: field('none', bool, false),
  portRange: field('none', text, ''),
  detectLocalMode: field(
    'used',
    oneOf('ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix'),
    'ClusterCIDR',
  ),
  detectLocal: group({
    bridgeInterface: field('used', text, ''),
    interfaceNamePrefix: field('used', text, ''),
    clusterCIDRs: optional('none', list(text)),
  }),
  clusterCIDR: field('used', clusterCidr, ''),
  nodePortAddresses: field('used', list(nodePortRange), []),
  oomScoreAdj: field('used', int(-1000, 1000), -999, 'keepZero'),
  conntrack: group({
    maxPerCore: field('used', int(0), 32_768, 'keepZero'),
    min: field('used', int(0), 131_072, 'keepZero'),
    tcpEstablishedTimeout: field('used', duration(), 86_400_000, 'keepZero'),
    tcpCloseWaitTimeout: field('used', duration(), 3_600_000, 'keepZero'),
    tcpBeLiberal: field('used', bool, false),
    udpTimeout: field('used', duration(), 0),
    udpStreamTimeout: field('used', duration(), 0),
  }),
  configSyncPeriod: field('none', duration(), 900_000),
} satisfies Fields;
