// The feature gates that node binaries of v1.36 know (pkg/features and component-base), their stage and default, and the
// rules by which they are set. Gates without an effect here are known all the same: configuration is shared by components.
import { parseBool, type Report, splitCommas, suggestion } from './values.ts';

export type GateStage = 'Alpha' | 'Beta' | 'GA' | 'Deprecated';

export interface Gate {
  readonly stage: GateStage;
  readonly on: boolean;
  /** May only be set to its default. */
  readonly locked: boolean;
}

const GROUPS: readonly (Gate & { readonly names: string })[] = [
  {
    stage: 'GA',
    on: true,
    locked: true,
    names: `
      APIServerTracing AnonymousAuthConfigurableEndpoints AnyVolumeDataSource AuthorizeNodeWithSelectors
      AuthorizeWithSelectors BtreeWatchCache CPUManagerPolicyOptions CRDValidationRatcheting
      CSIServiceAccountTokenSecrets ConsistentListFromCache CustomResourceFieldSelectors DRAAdminAccess
      DeclarativeValidation DisableAllocatorDualWrite DynamicResourceAllocation ExecProbeTimeout
      ExternalServiceAccountTokenSigner ImageMaximumGCAge ImageVolume InPlacePodVerticalScaling
      JobBackoffLimitPerIndex JobManagedBy JobPodReplacementPolicy JobSuccessPolicy KubeletCgroupDriverFromCRI
      KubeletFineGrainedAuthz KubeletPSI KubeletPodResourcesDynamicResources KubeletPodResourcesGet KubeletTracing
      LogarithmicScaleDown MatchLabelKeysInPodAffinity MultiCIDRServiceAllocator MutableCSINodeAllocatableCount
      NFTablesProxyMode NodeInclusionPolicyInPodTopologySpread NodeLogQuery NodeSwap OrderedNamespaceDeletion
      PodLifecycleSleepAction PodLifecycleSleepActionAllowZero PodObservedGenerationTracking
      PodSchedulingReadiness PreferSameTrafficDistribution ProcMountType RecoverVolumeExpansionFailure
      RecursiveReadOnlyMounts RelaxedDNSSearchValidation RelaxedEnvironmentVariableValidation
      ResilientWatchCacheInitialization RetryGenerateName SELinuxChangePolicy SELinuxMountReadWriteOncePod
      SchedulerQueueingHints SeparateTaintEvictionController ServiceAccountTokenJTI ServiceAccountTokenNodeBinding
      ServiceAccountTokenNodeBindingValidation ServiceAccountTokenPodNodeInfo SidecarContainers
      StreamingCollectionEncodingToJSON StreamingCollectionEncodingToProtobuf
      StructuredAuthenticationConfiguration SupplementalGroupsPolicy SystemdWatchdog TopologyManagerPolicyOptions
      UserNamespacesSupport VolumeAttributesClass WinDSR WinOverlay`,
  },
  {
    stage: 'GA',
    on: true,
    locked: false,
    names: `
      AllowServiceExternalIPs CustomCPUCFSQuotaPeriod DRAPrioritizedList MutatingAdmissionPolicy`,
  },
  {
    stage: 'Beta',
    on: true,
    locked: false,
    names: `
      APIResponseCompression APIServerIdentity AllowParsingUserUIDFromCertAuth
      AuthorizePodWebsocketUpgradeCreatePermission CPUManagerPolicyBetaOptions CRDObservedGenerationTracking
      ClearingNominatedNodeNameAfterBinding ComponentFlagz ComponentStatusz ConstrainedImpersonation
      ContainerCheckpoint ContainerRestartRules ContextualLogging DRAConsumableCapacity DRADeviceBindingConditions
      DRADeviceTaints DRAExtendedResource DRAPartitionableDevices DRAResourceClaimDeviceStatus
      DRAResourceClaimGranularStatusAuthorization DRASchedulerFilterTimeout DeclarativeValidationBeta
      DeploymentReplicaSetTerminatingReplicas DetectCacheInconsistency EnvFiles ExtendWebSocketsToKubelet
      GracefulNodeShutdown GracefulNodeShutdownBasedOnPodPriority HPAConfigurableTolerance HostnameOverride
      InPlacePodLevelResourcesVerticalScaling InPlacePodVerticalScalingInitContainers KubeletCrashLoopBackOffMax
      KubeletEnsureSecretPulledImages KubeletSeparateDiskGC KubeletServiceAccountTokenForCredentialProviders
      ListFromCacheSnapshot LoggingBetaOptions MatchLabelKeysInPodTopologySpread
      MatchLabelKeysInPodTopologySpreadSelectorMerge MutablePodResourcesForSuspendedJobs
      MutableSchedulingDirectivesForSuspendedJobs NodeDeclaredFeatures NominatedNodeNameForExpectation
      OpenAPIEnums OpportunisticBatching PLEGOnDemandRelist PodDeletionCost PodLevelResources
      PodReadyToStartContainersCondition PodTopologyLabelsAdmission PortForwardWebsockets
      PreventStaticPodAPIReferences RelaxedServiceNameValidation ReloadKubeletClientCAFile
      ReloadKubeletServerCertificateFile RemoteRequestHeaderUID ResourceHealthStatus ResourceHealthStatusMessage
      RestartAllContainersOnContainerExits RotateKubeletServerCertificate SchedulerAsyncPreemption
      SchedulerPopFromBackoffQ ServiceAccountNodeAudienceRestriction SizeBasedListCostEstimate
      StaleControllerConsistencyDaemonSet StaleControllerConsistencyJob StaleControllerConsistencyReplicaSet
      StaleControllerConsistencyStatefulSet StatefulSetSemanticRevisionComparison StorageVersionHash
      StrictIPCIDRValidation StructuredAuthenticationConfigurationEgressSelector
      StructuredAuthenticationConfigurationJWKSMetrics TokenRequestServiceAccountUIDValidation
      TopologyManagerPolicyBetaOptions TranslateStreamCloseWebsocketRequests UnauthenticatedHTTP2DOSMitigation
      UnknownVersionInteroperabilityProxy WatchCacheInitializationPostStartHook WatchList
      WindowsGracefulNodeShutdown`,
  },
  {
    stage: 'Beta',
    on: false,
    locked: false,
    names: `
      ClusterTrustBundle ClusterTrustBundleProjection ConcurrentWatchObjectDecode CoordinatedLeaderElection
      DRADeviceTaintRules LocalStorageCapacityIsolationFSQuotaMonitoring MaxUnavailableStatefulSet
      PodCertificateRequest SELinuxMount SchedulerAsyncAPICalls StorageVersionMigrator`,
  },
  {
    stage: 'Alpha',
    on: false,
    locked: false,
    names: `
      APIServingWithRoutine AllowUnsafeMalformedObjectDeletion CBORServingAndStorage CPUManagerPolicyAlphaOptions
      CRIListStreaming CSIVolumeHealth CloudControllerManagerWatchBasedRoutesReconciliation
      CloudControllerManagerWebhook ContainerStopSignals ControllerManagerReleaseLeaderElectionLockOnExit
      CrossNamespaceVolumeDataSource DRAListTypeAttributes DRANodeAllocatableResources DRAResourcePoolStatus
      DRAWorkloadResourceClaims EventedPLEG GangScheduling GenericWorkload HPAScaleToZero ImageVolumeWithDigest
      InPlacePodVerticalScalingExclusiveCPUs InPlacePodVerticalScalingExclusiveMemory KubeletInUserNamespace
      LoggingAlphaOptions ManifestBasedAdmissionControlConfig MemoryQoS MutablePVNodeAffinity NativeHistograms
      PersistentVolumeClaimUnusedSinceTime PodAndContainerStatsFromCRI PodLevelResourceManagers
      PodLogsQuerySplitStreams PodsAPI QOSReserved ReduceDefaultCrashLoopBackOffDecay RuntimeClassInImageCriApi
      ShardedListAndWatch StorageCapacityScoring StorageVersionAPI TaintTolerationComparisonOperators
      TopologyAwareWorkloadScheduling TopologyManagerPolicyAlphaOptions UserNamespacesHostNetworkSupport
      VolumeLimitScaling WindowsCPUAndMemoryAffinity WorkloadAwarePreemption WorkloadWithJob`,
  },
  {
    stage: 'Deprecated',
    on: true,
    locked: true,
    names: `
      AggregatedDiscoveryRemoveBetaType AllowOverwriteTerminationGracePeriodSeconds DisableNodeKubeProxyVersion
      GitRepoVolumeDriver SeparateCacheWatchRPC`,
  },
  {
    stage: 'Deprecated',
    on: true,
    locked: false,
    names: `
      DisableCPUQuotaWithExclusiveCPUs KubeletPodResourcesListUseActivePods ServiceCIDRStatusFieldWiping
      StorageNamespaceIndex`,
  },
  {
    stage: 'Deprecated',
    on: false,
    locked: false,
    names: `
      AllowDNSOnlyNodeCSR AllowInsecureKubeletCertificateSigningRequests ChangeContainerStatusOnKubeletRestart
      DeclarativeValidationTakeover KMSv1 KubeletRegistrationGetOnExistsOnly WindowsHostNetwork`,
  },
];

export const GATES: ReadonlyMap<string, Gate> = new Map(
  GROUPS.flatMap(({ names, ...gate }) =>
    names
      .trim()
      .split(/\s+/)
      .map((name) => [name, gate] as const),
  ),
);

const ALL = { AllAlpha: 'Alpha', AllBeta: 'Beta' } as const;

/** What a gate that is on needs to be on as well, where that can be switched off. */
const NEEDS: Readonly<Record<string, readonly string[]>> = {
  ClusterTrustBundleProjection: ['ClusterTrustBundle'],
  DRADeviceBindingConditions: ['DRAResourceClaimDeviceStatus'],
  DRADeviceTaintRules: ['DRADeviceTaints'],
  GangScheduling: ['GenericWorkload'],
  GracefulNodeShutdownBasedOnPodPriority: ['GracefulNodeShutdown'],
  InPlacePodLevelResourcesVerticalScaling: ['PodLevelResources', 'NodeDeclaredFeatures'],
  MatchLabelKeysInPodTopologySpreadSelectorMerge: ['MatchLabelKeysInPodTopologySpread'],
  RestartAllContainersOnContainerExits: ['ContainerRestartRules', 'NodeDeclaredFeatures'],
  StorageVersionAPI: ['APIServerIdentity'],
  UnknownVersionInteroperabilityProxy: ['APIServerIdentity'],
  WindowsGracefulNodeShutdown: ['GracefulNodeShutdown'],
};

/** Gates that something in this program looks at; all others are known, told and without effect. */
export const ACTED_ON: ReadonlySet<string> = new Set([
  'AllowDNSOnlyNodeCSR',
  'CPUManagerPolicyAlphaOptions',
  'CPUManagerPolicyBetaOptions',
  'ComponentFlagz',
  'ComponentStatusz',
  'ContainerCheckpoint',
  'CustomCPUCFSQuotaPeriod',
  'DisableCPUQuotaWithExclusiveCPUs',
  'ExtendWebSocketsToKubelet',
  'GracefulNodeShutdown',
  'GracefulNodeShutdownBasedOnPodPriority',
  'InPlacePodLevelResourcesVerticalScaling',
  'InPlacePodVerticalScalingInitContainers',
  'KubeletCrashLoopBackOffMax',
  'KubeletEnsureSecretPulledImages',
  'KubeletInUserNamespace',
  'LoggingAlphaOptions',
  'MemoryQoS',
  'NodeDeclaredFeatures',
  'PodLogsQuerySplitStreams',
  'QOSReserved',
  'ReduceDefaultCrashLoopBackOffDecay',
  'ReloadKubeletClientCAFile',
  'ReloadKubeletServerCertificateFile',
  'ResourceHealthStatus',
  'RestartAllContainersOnContainerExits',
  'RotateKubeletServerCertificate',
]);

/**
 * Every gate's value. `AllAlpha` and `AllBeta` change the gates of that stage that are not set by name.
 * Faults (unknown name, locked gate, a gate it needs is off) are reported with the gate's name as the path.
 */
export function resolveGates(set: Readonly<Record<string, boolean>>, report: Report): ReadonlyMap<string, boolean> {
  const values = new Map([...GATES].map(([name, gate]) => [name, gate.on]));
  for (const [all, stage] of Object.entries(ALL)) {
    if (!Object.hasOwn(set, all)) continue;
    for (const [name, gate] of GATES) if (gate.stage === stage && !gate.locked) values.set(name, set[all]!);
  }
  for (const [name, value] of Object.entries(set)) {
    if (Object.hasOwn(ALL, name)) continue;
    const gate = GATES.get(name);
    if (gate === undefined)
      report(name, `unrecognized feature gate: ${name}${suggestion(name, [...GATES.keys(), ...Object.keys(ALL)])}`);
    else if (gate.locked && value !== gate.on)
      report(name, `cannot set feature gate ${name} to ${value}, feature is locked to ${gate.on}`);
    else values.set(name, value);
  }
  for (const [name, needs] of Object.entries(NEEDS)) {
    const missing = needs.filter((other) => values.get(other) !== true);
    if (values.get(name) === true && missing.length > 0)
      report(name, `${name} is enabled, but depends on features that are disabled: [${missing.join(' ')}]`);
  }
  return values;
}

/** What is to be said of gates that were set by name, one line each. */
export function gateWarnings(set: Readonly<Record<string, boolean>>): string[] {
  const lines: string[] = [];
  const idle: string[] = [];
  for (const [name, value] of Object.entries(set)) {
    const gate = GATES.get(name);
    if (gate === undefined) continue; // AllAlpha, AllBeta; the unknown are faults
    if (gate.stage === 'GA' || gate.stage === 'Deprecated') {
      const stage = gate.stage === 'GA' ? 'GA' : 'deprecated';
      lines.push(`Setting ${stage} feature gate ${name}=${value}. It will be removed in a future release.`);
    } else if (value !== gate.on && !ACTED_ON.has(name)) idle.push(`${name}=${value}`);
  }
  if (idle.length > 0) lines.push(`these feature gates are known and change nothing on this node: ${idle.join(', ')}`);
  return lines;
}

/** The text of a flag that is no list of gates, in pflag's words; undefined when it is one. */
export function gateFlagFault(texts: readonly string[]): string | undefined {
  for (const pair of splitCommas(texts)) {
    const at = pair.indexOf('=');
    if (at < 0) return `missing bool value for ${pair}`;
    const [name, value] = [pair.slice(0, at).trim(), pair.slice(at + 1).trim()];
    if (parseBool(value) === undefined) return `invalid value of ${name}=${value}, err: expected true or false`;
  }
  return undefined;
}
