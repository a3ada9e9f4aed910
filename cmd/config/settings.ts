// From the settled documents and the flags that stand alone to the objects that the parts are given.
import { isIPv6 } from 'node:net';
import type { Taint } from '../../api/kinds.ts';
import { parseQuantity } from '../../api/quantity.ts';
import type { ContainerGcPolicy, KubeletConfig } from '../../kubelet/config.ts';
import { declaredFeatures } from '../../kubelet/node/declared-features.ts';
import type { ApiSettings, NodeSettings, ProcessSettings, ProxySettings, ServerSettings } from './agent-config.ts';
import { managerSettings } from './manager-settings.ts';
import type { NodeletFields } from './network-settings.ts';
import { allocatableSettings, evictionHard, evictionSettings, reservedTogether } from './resource-settings.ts';
import type { KubeletSettings, ProxyFileSettings } from './rules.ts';

export function kubeletConfig(
  c: KubeletSettings,
  nodeName: string,
  rootDir: string,
  statusFrequencySet: boolean,
  containerGc: ContainerGcPolicy,
  gates: ReadonlyMap<string, boolean>,
): KubeletConfig {
  const parallel = c.maxParallelImagePulls;
  const declared = declaredFeatures(gates);
  return {
    nodeName,
    rootDir,
    podLogsDir: c.podLogsDir,
    containerRuntimeEndpoint: c.containerRuntimeEndpoint,
    ...(c.imageServiceEndpoint === '' ? {} : { imageServiceEndpoint: c.imageServiceEndpoint }),
    runtimeRequestTimeoutMs: c.runtimeRequestTimeout,
    syncFrequencyMs: c.syncFrequency,
    maxPods: c.maxPods,
    podsPerCore: c.podsPerCore,
    limitedSwap: c.memorySwap.swapBehavior === 'LimitedSwap',
    podPidsLimit: Math.max(c.podPidsLimit, -1),
    clusterDomain: c.clusterDomain,
    clusterDNS: c.clusterDNS,
    resolvConf: c.resolvConf,
    podCidr: c.podCIDR,
    cgroupDriver: c.cgroupDriver || 'cgroupfs',
    cgroupRoot: c.cgroupRoot || '/',
    cgroupsPerQOS: c.cgroupsPerQOS,
    cpuCFSQuota: c.cpuCFSQuota,
    makeIptablesUtilChains: c.makeIPTablesUtilChains,
    cpuCFSQuotaPeriodUs: Math.round(c.cpuCFSQuotaPeriod * 1000),
    serializeImagePulls: c.serializeImagePulls ?? (parallel ?? 1) < 2,
    ...(parallel === undefined ? {} : { maxParallelImagePulls: parallel }),
    registryPullQPS: c.registryPullQPS,
    registryBurst: c.registryBurst,
    ...crashLoop(c, gates),
    seccompDefault: c.seccompDefault,
    allowedUnsafeSysctls: c.allowedUnsafeSysctls ?? [],
    userNamespaceIdsPerPod: c.userNamespaces.idsPerPod,
    nodeStatusUpdateFrequencyMs: c.nodeStatusUpdateFrequency,
    // Whoever sets how often the status is computed means it to be reported as often.
    nodeStatusReportFrequencyMs:
      c.nodeStatusReportFrequency ?? (statusFrequencySet ? c.nodeStatusUpdateFrequency : 300_000),
    nodeLeaseDurationSeconds: c.nodeLeaseDurationSeconds,
    nodeStatusMaxImages: c.nodeStatusMaxImages,
    registerNode: c.registerNode,
    ...(declared === undefined ? {} : { declaredFeatures: declared }),
    containerLogMaxSizeBytes: Number(parseQuantity(c.containerLogMaxSize).nanos / 1_000_000_000n),
    containerLogMaxFiles: c.containerLogMaxFiles,
    containerLogMaxWorkers: c.containerLogMaxWorkers,
    containerLogMonitorIntervalMs: c.containerLogMonitorInterval,
    volumeStatsAggPeriodMs: c.volumeStatsAggPeriod,
    imagePullCredentialsVerificationPolicy: c.imagePullCredentialsVerificationPolicy || 'NeverVerifyPreloadedImages',
    preloadedImagesVerificationAllowlist: c.preloadedImagesVerificationAllowlist ?? [],
    imageMinimumGCAgeMs: c.imageMinimumGCAge,
    staticPods: {
      path: c.staticPodPath,
      url: c.staticPodURL,
      urlHeaders: c.staticPodURLHeader ?? {},
      fileCheckFrequencyMs: c.fileCheckFrequency,
      urlCheckFrequencyMs: c.httpCheckFrequency,
    },
    imageMaximumGCAgeMs: c.imageMaximumGCAge,
    imageGCHighThresholdPercent: c.imageGCHighThresholdPercent,
    imageGCLowThresholdPercent: c.imageGCLowThresholdPercent,
    containerGc,
    managers: managerSettings(c, gates),
    ...(gates.get('MemoryQoS') === true ? { memoryQos: memoryQosSettings(c) } : {}),
    ...(gates.get('QOSReserved') === true ? qosReserved(c) : {}),
    ...(c.singleProcessOOMKill === undefined ? {} : { singleProcessOomKill: c.singleProcessOOMKill }),
  };
}

/** The type of the field has seen to it that it is a percentage. */
function qosReserved(c: KubeletSettings) {
  const memory = c.qosReserved?.memory;
  return memory === undefined ? {} : { qosReservedMemoryPercent: Number.parseInt(memory, 10) };
}

function memoryQosSettings(c: KubeletSettings) {
  return { throttlingFactor: c.memoryThrottlingFactor, reserves: c.memoryReservationPolicy === 'TieredReservation' };
}

/** The gate shortens both; what is set by name wins over it. */
function crashLoop(c: KubeletSettings, gates: ReadonlyMap<string, boolean>) {
  const reduced = gates.get('ReduceDefaultCrashLoopBackOffDecay') === true;
  return {
    crashLoopMaxContainerRestartPeriodMs: c.crashLoopBackOff.maxContainerRestartPeriod ?? (reduced ? 60_000 : 300_000),
    crashLoopInitialRestartDelayMs: reduced ? 1000 : 10_000,
  };
}

export interface NodeIdentity {
  readonly nodeIps: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly certDir: string;
  readonly externalCloud: boolean;
  readonly runtimeCgroups: string;
}

/** Pods stay away until the cloud controller manager has completed the Node and taken this away. */
const UNINITIALIZED: Taint = {
  key: 'node.cloudprovider.kubernetes.io/uninitialized',
  value: 'true',
  effect: 'NoSchedule',
};

export function nodeSettings(c: KubeletSettings, { runtimeCgroups, ...identity }: NodeIdentity): NodeSettings {
  return {
    ...identity,
    systemGroups: { kubelet: c.kubeletCgroups, system: c.systemCgroups, runtime: runtimeCgroups },
    taints: [...(c.registerWithTaints as readonly Taint[]), ...(identity.externalCloud ? [UNINITIALIZED] : [])],
    providerId: c.providerID === '' ? undefined : c.providerID,
    reserved: reservedTogether(c),
    evictionHard: evictionHard(c),
    eviction: evictionSettings(c),
    allocatable: allocatableSettings(c),
    failCgroupV1: c.failCgroupV1,
    failSwapOn: c.failSwapOn,
  };
}

export function serverSettings(c: KubeletSettings): ServerSettings {
  const { anonymous, webhook, x509 } = c.authentication;
  return {
    enabled: c.enableServer,
    address: c.address,
    port: c.port,
    healthzAddress: c.healthzBindAddress,
    healthzPort: c.healthzPort,
    clientCaFile: x509.clientCAFile || undefined,
    anonymous: anonymous.enabled,
    tlsCertFile: c.tlsCertFile || undefined,
    tlsPrivateKeyFile: c.tlsPrivateKeyFile || undefined,
    webhookAuthentication: webhook.enabled,
    authenticationCacheMs: webhook.cacheTTL,
    authorizationMode: c.authorization.mode || 'Webhook',
    authorizedCacheMs: c.authorization.webhook.cacheAuthorizedTTL,
    unauthorizedCacheMs: c.authorization.webhook.cacheUnauthorizedTTL,
    readOnlyPort: c.readOnlyPort,
    tls: {
      minVersion: c.tlsMinVersion,
      cipherSuites: c.tlsCipherSuites ?? [],
      curves: c.tlsCurvePreferences ?? [],
    },
    endpoints: {
      debug: c.enableDebuggingHandlers,
      nodeLogs: c.enableSystemLogHandler,
      nodeLogQuery: c.enableSystemLogQuery,
      profiling: c.enableProfilingHandler,
      flags: c.enableDebugFlagsHandler,
    },
    streamIdleMs: c.streamingConnectionIdleTimeout,
  };
}

export function processSettings(c: KubeletSettings, nodelet: NodeletFields): ProcessSettings {
  const wanted = c.protectKernelDefaults ? 'check' : 'set';
  return {
    maxOpenFiles: c.maxOpenFiles,
    oomScoreAdj: c.oomScoreAdj,
    kernelParameters: nodelet.kernelParameters === 'leave' ? 'leave' : wanted,
  };
}

export function apiSettings(c: KubeletSettings): ApiSettings {
  return { qps: c.kubeAPIQPS, burst: c.kubeAPIBurst, eventQps: c.eventRecordQPS, eventBurst: c.eventBurst };
}

/** Where nothing is said about the ports, they are opened in the family of bindAddress: kubeadm's files rely on it. */
export function withPortAddresses(c: ProxyFileSettings, written: Readonly<Record<string, unknown>>): ProxyFileSettings {
  if (!isIPv6(c.bindAddress)) return c;
  return {
    ...c,
    ...(written.healthzBindAddress ? {} : { healthzBindAddress: '[::]:10256' }),
    ...(written.metricsBindAddress ? {} : { metricsBindAddress: '[::1]:10249' }),
  };
}

export function proxySettings(c: ProxyFileSettings, clusterCidr: string): ProxySettings {
  const mode = c.mode || 'iptables';
  const section = mode === 'nftables' ? c.nftables : c.iptables;
  return {
    mode,
    clusterCidr,
    bindAddress: ['0.0.0.0', '::'].includes(c.bindAddress) ? undefined : c.bindAddress,
    masqueradeAll: section.masqueradeAll,
    masqueradeBit: section.masqueradeBit,
    detectLocal: detectLocal(c),
    conntrack: {
      maxPerCore: c.conntrack.maxPerCore,
      min: c.conntrack.min,
      tcpEstablishedTimeoutMs: c.conntrack.tcpEstablishedTimeout,
      tcpCloseWaitTimeoutMs: c.conntrack.tcpCloseWaitTimeout,
      tcpBeLiberal: c.conntrack.tcpBeLiberal,
      udpTimeoutMs: c.conntrack.udpTimeout,
      udpStreamTimeoutMs: c.conntrack.udpStreamTimeout,
    },
    oomScoreAdj: c.oomScoreAdj,
    localhostNodePorts: mode === 'iptables' && c.iptables.localhostNodePorts,
    nodePortAddresses: c.nodePortAddresses,
    minSyncPeriodMs: section.minSyncPeriod,
    syncPeriodMs: section.syncPeriod,
    healthzAddress: withPort(c.healthzBindAddress, 10_256),
    metricsAddress: withPort(c.metricsBindAddress, 10_249),
  };
}

function detectLocal({ detectLocalMode, detectLocal: names }: ProxyFileSettings): ProxySettings['detectLocal'] {
  if (detectLocalMode === 'BridgeInterface') return { by: 'interface', name: names.bridgeInterface };
  if (detectLocalMode === 'NodeCIDR') return { by: 'node-cidr' };
  if (detectLocalMode === 'InterfaceNamePrefix') return { by: 'interface-prefix', prefix: names.interfaceNamePrefix };
  return { by: 'cidr' };
}

/** `ip:port` with the port filled in; undefined (off) for port 0. */
function withPort(address: string, port: number): string | undefined {
  if (isIPv6(address)) return `[${address}]:${port}`;
  if (/^(\d+(\.\d+){3}|\[.*\])$/.test(address)) return `${address}:${port}`;
  return address.endsWith(':0') ? undefined : address;
}
