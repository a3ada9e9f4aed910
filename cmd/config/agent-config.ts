// Everything the agent is told, parsed: what flags, files and defaults come to. Frozen; below cmd/ nobody reads flags,
// files or the environment.
import type { Taint } from '../../api/kinds.ts';
import type { InterfaceWishes } from '../../cni/external-interface.ts';
import type { KubeletConfig } from '../../kubelet/config.ts';
import type { EvictionSettings } from '../../kubelet/eviction/thresholds.ts';
import type { AllocatableSettings } from '../../kubelet/resources/node-allocatable.ts';
import type { TlsSettings } from '../../kubelet/server/tls-options.ts';
import type { ConntrackSettings } from '../../proxy/conntrack-sysctls.ts';

export type Part = 'kubelet' | 'proxy' | 'network';

export interface AgentConfig {
  readonly parts: ReadonlySet<Part>;
  readonly nodeName: string;
  /** File; undefined in standalone mode. */
  readonly kubeconfig: string | undefined;
  readonly logging: LogSettings;
  readonly featureGates: ReadonlyMap<string, boolean>;
  readonly kubelet: KubeletConfig;
  /** Undefined: no credential provider plugins. */
  readonly credentialProviders: { readonly configPath: string; readonly binDir: string } | undefined;
  readonly node: NodeSettings;
  readonly identity: IdentitySettings;
  /** In the order in which they end; none: pods are not waited for when the node goes down. */
  readonly shutdown: readonly ShutdownGroup[];
  readonly server: ServerSettings;
  readonly process: ProcessSettings;
  /** The effective KubeletConfiguration v1beta1, for /configz. */
  readonly configz: Readonly<Record<string, unknown>>;
  /** The effective KubeProxyConfiguration v1alpha1, for /configz of the proxy's metrics port. */
  readonly proxyConfigz: Readonly<Record<string, unknown>>;
  readonly api: ApiSettings;
  readonly proxy: ProxySettings;
  readonly network: NetworkSettings;
  readonly nodelet: NodeletSettings;
}

export interface LogSettings {
  readonly format: 'text' | 'json';
  /** The kubelet's: 4 tells each sync, 6 and more everything. */
  readonly verbosity: number;
  /** Other verbosities for components that match. */
  readonly vmodule: readonly { readonly pattern: string; readonly verbosity: number }[];
}

/** What the kernel is told about the process, and about the host, at start. */
export interface ProcessSettings {
  /** RLIMIT_NOFILE. */
  readonly maxOpenFiles: number;
  readonly oomScoreAdj: number;
  /** check: refuse to start where a kernel parameter is not as the kubelet wants it. */
  readonly kernelParameters: 'set' | 'check' | 'leave';
}

export interface NodeSettings {
  /** --node-ip: none, one, or one of each family. */
  readonly nodeIps: readonly string[];
  readonly labels: Readonly<Record<string, string>>;
  readonly taints: readonly Taint[];
  readonly providerId: string | undefined;
  /** kubeReserved and systemReserved together, as quantities. */
  readonly reserved: Readonly<Record<string, string>>;
  /** evictionHard, e.g. `memory.available` → `100Mi`, `nodefs.available` → `10%`. */
  readonly evictionHard: Readonly<Record<string, string>>;
  readonly eviction: EvictionSettings;
  readonly allocatable: AllocatableSettings;
  /** Absolute names; '' where nothing is configured. */
  readonly systemGroups: {
    /** kubeletCgroups: the agent moves itself there. */
    readonly kubelet: string;
    /** systemCgroups: for processes of the host that are in no group. */
    readonly system: string;
    /** --runtime-cgroups: where the runtime is. */
    readonly runtime: string;
  };
  readonly certDir: string;
  /** --cloud-provider=external: the Node's addresses are the cloud controller manager's. */
  readonly externalCloud: boolean;
  readonly failCgroupV1: boolean;
  /** Refuse to run on a host with swap. */
  readonly failSwapOn: boolean;
}

export interface IdentitySettings {
  /** Credentials with which the first certificate is asked for; undefined: none is. */
  readonly bootstrapKubeconfig: string | undefined;
  /** Renew the client certificate. */
  readonly rotateCertificates: boolean;
  /** Have the serving certificate signed by the cluster, and renew it. */
  readonly serverTlsBootstrap: boolean;
  /** Read the files of the serving certificate again when they change. */
  readonly reloadServingFiles: boolean;
  /** A serving certificate may be for names alone. */
  readonly namesSuffice: boolean;
}

/** Pods of this priority and more, below that of the next group. */
export interface ShutdownGroup {
  readonly priority: number;
  /** How long they have to end. */
  readonly seconds: number;
}

export interface ServerSettings {
  readonly enabled: boolean;
  readonly address: string;
  readonly port: number;
  readonly healthzAddress: string;
  /** 0: off. */
  readonly healthzPort: number;
  readonly clientCaFile: string | undefined;
  readonly anonymous: boolean;
  readonly tlsCertFile: string | undefined;
  readonly tlsPrivateKeyFile: string | undefined;
  /** Bearer tokens are asked about at the API server (TokenReview). */
  readonly webhookAuthentication: boolean;
  readonly authenticationCacheMs: number;
  readonly authorizationMode: 'Webhook' | 'AlwaysAllow';
  readonly authorizedCacheMs: number;
  readonly unauthorizedCacheMs: number;
  /** 0: off. */
  readonly readOnlyPort: number;
  readonly tls: TlsSettings;
  readonly endpoints: {
    readonly debug: boolean;
    readonly nodeLogs: boolean;
    /** The journal and the files of services may be asked for. */
    readonly nodeLogQuery: boolean;
    readonly profiling: boolean;
    readonly flags: boolean;
  };
  /** Streams may be silent this long, ms. */
  readonly streamIdleMs: number;
}

export interface ApiSettings {
  readonly qps: number;
  readonly burst: number;
  readonly eventQps: number;
  readonly eventBurst: number;
}

export interface ProxySettings {
  readonly mode: 'iptables' | 'nftables';
  /** Traffic from this range is the node's own pods'; '' when it is not known. */
  readonly clusterCidr: string;
  /** The node's address, before all that is known of it elsewhere. */
  readonly bindAddress: string | undefined;
  readonly masqueradeAll: boolean;
  readonly masqueradeBit: number;
  /** What tells packets of the node's own pods: the range clusterCidr, those of the Node object, or where they come in. */
  readonly detectLocal:
    | { readonly by: 'cidr' }
    | { readonly by: 'node-cidr' }
    | { readonly by: 'interface'; readonly name: string }
    | { readonly by: 'interface-prefix'; readonly prefix: string };
  readonly conntrack: ConntrackSettings;
  /** Of the process, when the proxy is alone in it. */
  readonly oomScoreAdj: number;
  readonly localhostNodePorts: boolean;
  readonly nodePortAddresses: readonly string[];
  readonly minSyncPeriodMs: number;
  readonly syncPeriodMs: number;
  /** `ip:port`; undefined: off. */
  readonly healthzAddress: string | undefined;
  readonly metricsAddress: string | undefined;
}

export interface NetworkSettings {
  readonly backend: 'vxlan' | 'host-gw' | 'none';
  /** IPv4 range of all pods; '' when the pod network has no IPv4. */
  readonly clusterCidr: string;
  /** IPv6 range of all pods; '' when the pod network has no IPv6. */
  readonly clusterCidrV6: string;
  readonly vni: number;
  readonly port: number;
  readonly directRouting: boolean;
  /** What the external interface is taken to carry, bytes; undefined: its own MTU. */
  readonly mtu: number | undefined;
  readonly rules: {
    readonly form: 'iptables' | 'nftables';
    readonly masquerade: boolean;
    readonly forward: boolean;
    readonly randomFully: boolean;
  };
  readonly wishes: InterfaceWishes;
  readonly annotationPrefix: string;
  /** Set the condition NetworkUnavailable of the Node. */
  readonly setCondition: boolean;
  /** Undefined: the control plane assigns subnets. */
  readonly etcd: EtcdSettings | undefined;
}

/** Where subnets are leased. '' where nothing is given. */
export interface EtcdSettings {
  readonly endpoints: readonly string[];
  readonly prefix: string;
  readonly caFile: string;
  readonly certFile: string;
  readonly keyFile: string;
  readonly username: string;
  readonly password: string;
  readonly renewMarginMs: number;
}

/** What has no upstream name: kind NodeletConfiguration, nodelet.dev/v1alpha1. */
export interface NodeletSettings {
  readonly cniBinDir: string;
  readonly cniConfDir: string;
  readonly containerLogsDir: string;
  /** flannel's subnet.env. */
  readonly subnetFile: string;
}
