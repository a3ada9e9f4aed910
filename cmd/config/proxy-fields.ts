// KubeProxyConfiguration v1alpha1: every field, with upstream's default (pkg/proxy/apis/config/v1alpha1/defaults.go).
import { isIP, isIPv4, isIPv6 } from 'node:net';
import { type Fields, field, group, none, optional, refused } from './field.ts';
import { loggingFields } from './logging-fields.ts';
import { bool, duration, float, int, ip, isCidr, list, map, oneOf, scalar, stringType, text } from './values.ts';

const json = none('the API server is spoken to in JSON, which it always takes');
const ipvs = none('there is no IPVS mode');
const windows = none('it is for Windows');
const anyDuration = duration(Number.NEGATIVE_INFINITY);
const masqueradeBit = field('used', int(0, 31), 14, 'keepZero');
const address = stringType('IP:port', (v) => v === '' || isAddress(v));
const nodePortRange = stringType('a CIDR, or primary', (v) => v === 'primary' || isCidr(v));

/** The port may be left out, and then so may be the brackets of IPv6. */
function isAddress(text: string): boolean {
  if (isIP(text) !== 0) return true;
  const [, v6, v4, port = '0'] = /^(?:\[(.+)\]|([^:]+))(?::(\d{1,5}))?$/.exec(text) ?? [];
  return (v6 === undefined ? isIPv4(v4 ?? '') : isIPv6(v6)) && Number(port) <= 65_535;
}

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
    acceptContentTypes: field(json, text, ''),
    contentType: field(json, text, 'application/vnd.kubernetes.protobuf'),
    /** Of the proxy alone; in the agent all parts share the kubelet's client. */
    qps: field(
      'used',
      float('a number', () => true),
      5,
    ),
    burst: field('used', int(0), 10),
  }),
  logging: group(loggingFields),
  hostnameOverride: field('used', text, ''),
  bindAddress: field('used', ip, '0.0.0.0'),
  healthzBindAddress: field('used', address, '0.0.0.0:10256'),
  metricsBindAddress: field('used', address, '127.0.0.1:10249'),
  bindAddressHardFail: field(refused('a port that is taken is tried again until it is free'), bool, false),
  enableProfiling: field(none('no profiles are served'), bool, false),
  showHiddenMetricsForVersion: field(none('no metric is hidden'), text, ''),
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
    syncPeriod: field(ipvs, anyDuration, 30_000),
    minSyncPeriod: field(ipvs, anyDuration, 0),
    scheduler: field(ipvs, text, ''),
    excludeCIDRs: optional(ipvs, list(text)),
    strictARP: field(ipvs, bool, false),
    tcpTimeout: field(ipvs, anyDuration, 0),
    tcpFinTimeout: field(ipvs, anyDuration, 0),
    udpTimeout: field(ipvs, anyDuration, 0),
  }),
  winkernel: group({
    networkName: field(windows, text, ''),
    sourceVip: field(windows, text, ''),
    enableDSR: field(windows, bool, false),
    rootHnsEndpointName: field(windows, text, ''),
    forwardHealthCheckVip: field(windows, bool, false),
  }),
  windowsRunAsService: field(windows, bool, false),
  portRange: field(none('nor has it upstream: it was for the proxy in user space'), text, ''),
  detectLocalMode: field(
    'used',
    oneOf('ClusterCIDR', 'NodeCIDR', 'BridgeInterface', 'InterfaceNamePrefix'),
    'ClusterCIDR',
  ),
  detectLocal: group({
    bridgeInterface: field('used', text, ''),
    interfaceNamePrefix: field('used', text, ''),
    clusterCIDRs: optional(none('nor has it upstream: clusterCIDR is what counts'), list(text)),
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
  configSyncPeriod: field(none('Services are watched; what was missed is listed again at once'), duration(), 900_000),
} satisfies Fields;
