// The configuration of the kubelet part: names of KubeletConfiguration v1beta1, values parsed, units in the names.
// cmd/ fills it from flags and files, and with defaults (cmd/config/kubelet-fields.ts); nothing below reads either.
import type { VerificationPolicy } from './images/pull-access.ts';
import type { ManagerSettings } from './managers/settings.ts';
import type { MemoryQosSettings } from './resources/memory-qos.ts';

export interface KubeletConfig {
  readonly nodeName: string;
  /** Where pods' directories, plug-ins and checkpoints are. */
  readonly rootDir: string;
  readonly podLogsDir: string;
  readonly containerRuntimeEndpoint: string;
  /** The container runtime endpoint when absent. */
  readonly imageServiceEndpoint?: string;
  readonly runtimeRequestTimeoutMs: number;
  readonly syncFrequencyMs: number;
  readonly maxPods: number;
  /** 0: maxPods alone counts. */
  readonly podsPerCore: number;
  /** -1: no limit. */
  readonly podPidsLimit: number;
  readonly clusterDomain: string;
  readonly clusterDNS: readonly string[];
  readonly resolvConf: string;
  /** What the runtime is told of the pods' ranges until the Node has some; '' for nothing. */
  readonly podCidr: string;
  readonly cgroupDriver: 'cgroupfs' | 'systemd';
  readonly cgroupRoot: string;
  readonly cgroupsPerQOS: boolean;
  readonly cpuCFSQuota: boolean;
  /** The kubelet's own chains in iptables. */
  readonly makeIptablesUtilChains: boolean;
  readonly cpuCFSQuotaPeriodUs: number;
  readonly serializeImagePulls: boolean;
  /** No limit when absent and pulls are not serialized. */
  readonly maxParallelImagePulls?: number;
  readonly registryPullQPS: number;
  readonly registryBurst: number;
  readonly crashLoopMaxContainerRestartPeriodMs: number;
  readonly crashLoopInitialRestartDelayMs: number;
  readonly seccompDefault: boolean;
  /** Names, or prefixes that end in `*`, beyond the safe ones. */
  readonly allowedUnsafeSysctls: readonly string[];
  /** userNamespaces.idsPerPod: a multiple of 65536. */
  readonly userNamespaceIdsPerPod: number;
  readonly nodeStatusUpdateFrequencyMs: number;
  readonly nodeStatusReportFrequencyMs: number;
  readonly nodeLeaseDurationSeconds: number;
  readonly nodeStatusMaxImages: number;
  readonly registerNode: boolean;
  /** Node.status.declaredFeatures. Absent: nodes declare nothing, and pods are not asked what they need. */
  readonly declaredFeatures?: readonly string[];
  readonly containerLogMaxSizeBytes: number;
  readonly containerLogMaxFiles: number;
  readonly containerLogMaxWorkers: number;
  readonly containerLogMonitorIntervalMs: number;
  /** Negative: volumes are not measured. */
  readonly volumeStatsAggPeriodMs: number;
  readonly imagePullCredentialsVerificationPolicy: VerificationPolicy;
  readonly preloadedImagesVerificationAllowlist: readonly string[];
  readonly imageMinimumGCAgeMs: number;
  /** 0: off. */
  readonly imageMaximumGCAgeMs: number;
  readonly imageGCHighThresholdPercent: number;
  readonly imageGCLowThresholdPercent: number;
  readonly containerGc: ContainerGcPolicy;
  /** memorySwap.swapBehavior is LimitedSwap: burstable containers may use some of the node's swap. */
  readonly limitedSwap: boolean;
  /** An OOM kill ends one process, not the container. Absent: true on cgroup v1, false on v2. */
  readonly singleProcessOomKill?: boolean;
  /** Gate MemoryQoS: counts on cgroup v2. */
  readonly memoryQos?: Pick<MemoryQosSettings, 'throttlingFactor' | 'reserves'>;
  /** Gate QOSReserved: how much of the memory that pods ask for is kept from those of lower classes, 0 to 100. */
  readonly qosReservedMemoryPercent?: number;
  readonly staticPods: StaticPodSettings;
  /** CPUs, memory and NUMA nodes for containers alone. */
  readonly managers: ManagerSettings;
}

/** Pods that the node runs by itself; '' where there are none. */
export interface StaticPodSettings {
  /** A directory of manifests, or one manifest. */
  readonly path: string;
  readonly url: string;
  readonly urlHeaders: Readonly<Record<string, readonly string[]>>;
  readonly fileCheckFrequencyMs: number;
  readonly urlCheckFrequencyMs: number;
}

/** Which dead containers of pods that go on are kept. */
export interface ContainerGcPolicy {
  /** Younger ones stay, ms since creation. */
  readonly minAgeMs: number;
  /** Of each container; negative: no limit. */
  readonly maxPerContainer: number;
  /** In all; negative: no limit. */
  readonly maxContainers: number;
}

export const DEFAULT_CONTAINER_GC: ContainerGcPolicy = Object.freeze({
  minAgeMs: 0,
  maxPerContainer: 1,
  maxContainers: -1,
});
