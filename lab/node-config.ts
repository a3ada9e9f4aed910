// What the agent of a lab node is told, as the files and flags that an operator would write.
import path from 'node:path';
import { stringify } from 'yaml';
import type { LabAddresses } from './names.ts';
import type { AgentOptions } from './state.ts';

/** Every file of one node, below the lab's directory. */
export interface NodePaths {
  readonly dir: string;
  readonly containerdConfig: string;
  readonly containerdRoot: string;
  readonly containerdSocket: string;
  readonly containerdLog: string;
  readonly cniConfDir: string;
  readonly cniState: string;
  readonly kubeletRoot: string;
  readonly podLogs: string;
  readonly containerLogs: string;
  readonly agentConfig: string;
  readonly resolvConf: string;
  readonly agentLog: string;
  readonly kubeconfig: string;
  readonly pki: string;
}

export function nodePaths(labDir: string, node: string): NodePaths {
  const dir = path.join(labDir, 'nodes', node);
  return {
    dir,
    containerdConfig: path.join(dir, 'containerd.toml'),
    containerdRoot: path.join(dir, 'containerd'),
    containerdSocket: path.join(dir, 'containerd.sock'),
    containerdLog: path.join(dir, 'containerd.log'),
    cniConfDir: path.join(dir, 'cni', 'net.d'),
    cniState: path.join(dir, 'cni', 'state'),
    kubeletRoot: path.join(dir, 'kubelet'),
    podLogs: path.join(dir, 'pod-logs'),
    containerLogs: path.join(dir, 'container-logs'),
    agentConfig: path.join(dir, 'agent.yaml'),
    resolvConf: path.join(dir, 'resolv.conf'),
    agentLog: path.join(dir, 'agent.log'),
    kubeconfig: path.join(dir, 'kubeconfig'),
    pki: path.join(dir, 'pki'),
  };
}

export interface NodeConfigInput {
  readonly node: string;
  readonly ip: string;
  readonly paths: NodePaths;
  readonly addresses: LabAddresses;
  readonly cgroupRoot: string;
  readonly clientCaFile: string;
  readonly cniBinDir: string;
}

/** KubeletConfiguration, KubeProxyConfiguration and NodeletConfiguration, one YAML document each. */
export function renderAgentConfig(input: NodeConfigInput): string {
  const { paths, addresses } = input;
  const kubelet = {
    apiVersion: 'kubelet.config.k8s.io/v1beta1',
    kind: 'KubeletConfiguration',
    authentication: { x509: { clientCAFile: input.clientCaFile }, anonymous: { enabled: false } },
    cgroupRoot: input.cgroupRoot,
    clusterDNS: [addresses.clusterDns],
    clusterDomain: 'cluster.local',
    // The disk and the memory are the host's: how full they are is no reason to end pods of a lab.
    evictionHard: { 'memory.available': '0%', 'nodefs.available': '0%', 'imagefs.available': '0%' },
    containerRuntimeEndpoint: `unix://${paths.containerdSocket}`,
    failCgroupV1: false,
    failSwapOn: false,
    imageGCHighThresholdPercent: 100, // off: what a lab's images were made from cannot be pulled again
    podLogsDir: paths.podLogs,
    resolvConf: paths.resolvConf,
    tlsCertFile: path.join(paths.pki, 'serving.crt'),
    tlsPrivateKeyFile: path.join(paths.pki, 'serving.key'),
  };
  const proxy = {
    apiVersion: 'kubeproxy.config.k8s.io/v1alpha1',
    kind: 'KubeProxyConfiguration',
    clusterCIDR: addresses.clusterCidr,
  };
  const nodelet = {
    apiVersion: 'nodelet.dev/v1alpha1',
    kind: 'NodeletConfiguration',
    clusterCIDR: addresses.clusterCidr,
    cniBinDir: input.cniBinDir,
    cniConfDir: paths.cniConfDir,
    containerLogsDir: paths.containerLogs,
    kernelParameters: 'leave', // they are the host's
  };
  return [kubelet, proxy, nodelet].map((doc) => stringify(doc)).join('---\n');
}

/** Arguments of `nodelet agent` for this node. */
export function agentArguments(input: NodeConfigInput, options: AgentOptions): string[] {
  const optional: readonly (readonly [string, string | number | undefined])[] = [
    ['--proxy-mode', options.proxyMode],
    ['--network-backend', options.networkBackend],
    ['--feature-gates', options.featureGates],
    ['--v', options.verbosity],
  ];
  return [
    'agent',
    `--config=${input.paths.agentConfig}`,
    `--kubeconfig=${input.paths.kubeconfig}`,
    `--hostname-override=${input.node}`,
    `--node-ip=${input.ip}`,
    `--root-dir=${input.paths.kubeletRoot}`,
    `--cert-dir=${input.paths.pki}`,
    ...optional.flatMap(([flag, value]) => (value === undefined ? [] : [`${flag}=${value}`])),
  ];
}
