// Flags, files and defaults → one frozen AgentConfig. A flag wins over --config-dir, which wins over --config, which wins
// over the default. Every fault is found before anything is reported, each named by what a person would change.
import { readdir, readFile } from 'node:fs/promises';
import os from 'node:os';
import { isIp } from '../../api/cidr.ts';
import { AgentError, errnoOf } from '../../core/errors.ts';
import { DEFAULT_CONTAINER_GC } from '../../kubelet/config.ts';
import type { AgentConfig, LogSettings, NodeletSettings, Part } from './agent-config.ts';
import { renderConfigz, renderProxyConfigz } from './configz.ts';
import { gateWarnings, resolveGates } from './feature-gates.ts';
import { settle } from './field.ts';
import { nodeletFields } from './fields.ts';
import { unreadable } from './files.ts';
import type { Which } from './flag-table.ts';
import type { FlagTexts } from './flags.ts';
import { identitySettings, shutdownGroups } from './identity-settings.ts';
import { Input, type ParseDeps } from './input.ts';
import { kubeletFields } from './kubelet-fields.ts';
import type { LogFields } from './logging-fields.ts';
import { readNetConf } from './net-conf.ts';
import { type NodeletFields, networkSettings, rangeOf } from './network-settings.ts';
import { checkNodeLabels, nodeIpsOf, nodeNameOf } from './node-identity.ts';
import { proxyFields } from './proxy-fields.ts';
import { checkKubelet, checkProxy, type KubeletSettings, type ProxyFileSettings } from './rules.ts';
import {
  apiSettings,
  kubeletConfig,
  nodeSettings,
  processSettings,
  proxySettings,
  serverSettings,
  withPortAddresses,
} from './settings.ts';
import { shown } from './values.ts';

export const systemDeps: ParseDeps = {
  readFile: (file) => readFile(file, 'utf8'),
  listFiles: async (dir) => {
    const entries = await readdir(dir, { recursive: true, withFileTypes: true });
    const prefix = dir.replace(/\/+$/, '').length + 1;
    return entries.filter((e) => !e.isDirectory()).map((e) => `${e.parentPath}/${e.name}`.slice(prefix));
  },
  hostname: os.hostname,
  nodeNameVariable: () => process.env.NODE_NAME,
};

export interface ParsedConfig {
  readonly config: AgentConfig;
  /** One line each, for the log. */
  readonly warnings: readonly string[];
}

const PARTS: readonly Part[] = ['kubelet', 'proxy', 'network'];

/**
 * What a sub-command is told. `flags` is what commander's `opts()` gives after `addAgentOptions`.
 * @throws {AgentError} CONFIG_INVALID naming every fault.
 */
export async function parseAgentConfig(which: Which, flags: FlagTexts, deps: ParseDeps): Promise<ParsedConfig> {
  const input = await new Input(which, flags, deps).read();
  const config = await buildConfig(which, input);
  if (input.faults.length > 0) throw invalid(which, input.faults);
  return { config: deepFreeze(config), warnings: input.warnings };
}

function invalid(which: Which, faults: readonly string[]): AgentError {
  const [first] = faults;
  const all = faults.map((one) => `\n  - ${one}`).join('');
  const what = faults.length === 1 ? first! : `${faults.length} faults:${all}`;
  return new AgentError(`invalid configuration: ${what}`, {
    code: 'CONFIG_INVALID',
    hint: `nothing was changed; nodelet ${which} --help tells what can be set`,
    details: { faults },
  });
}

async function buildConfig(which: Which, input: Input): Promise<AgentConfig> {
  const { documents } = input;
  const netConf = which === 'network' ? await readNetConf(input.text('net-config-path'), input.deps, input.fault) : {};
  const kubelet = withUsableDns(settle(kubeletFields, documents.KubeletConfiguration), input);
  const proxyDocument = documents.KubeProxyConfiguration;
  const proxy = withPortAddresses(settle(proxyFields, proxyDocument), proxyDocument);
  const nodelet = settle(nodeletFields, { ...netConf, ...documents.NodeletConfiguration });
  const gates = featureGates(which, input, kubelet.featureGates, proxy.featureGates);
  checkKubelet(kubelet, gates, input.reportFor('KubeletConfiguration'));
  checkProxy(proxy, input.reportFor('KubeProxyConfiguration'));

  const override =
    input.text('hostname-override') ??
    (which === 'proxy' ? proxy.hostnameOverride : undefined) ??
    (which === 'network' ? input.deps.nodeNameVariable() : undefined);
  const nodeName = nodeNameOf(override, input.deps.hostname(), input.report);
  const labels = input.value<Readonly<Record<string, string>>>('node-labels') ?? {};
  checkNodeLabels(labels, input.report);
  const nodeIps = nodeIpsOf(input.text('node-ip') ?? input.text('public-ip') ?? '', input.report, (w) =>
    input.warnings.push(w),
  );

  const parts = partsOf(which, input);
  const flagCidr = input.text('cluster-cidr');
  const clusterCidr = flagCidr ?? (nodelet.clusterCIDR || proxy.clusterCIDR);
  const network = networkSettings({
    nodelet,
    clusterCidr,
    proxyMode: proxy.mode || 'iptables',
    nodeIps,
    flag: (name) => input.value(name),
    fault: input.fault,
  });
  const isAssigned = parts.has('network') && network.backend !== 'none' && network.etcd === undefined;
  if (isAssigned && network.clusterCidr === '' && network.clusterCidrV6 === '')
    input.fault(
      '--cluster-cidr: the pod network needs the range of all pods, e.g. 10.244.0.0/16; or switch it off with --network-backend=none',
    );
  const kubeletSettings = kubeletConfig(
    kubelet,
    nodeName,
    input.text('root-dir') ?? '/var/lib/kubelet',
    Boolean(documents.KubeletConfiguration.nodeStatusUpdateFrequency), // 0s is not set
    {
      minAgeMs: input.value<number>('minimum-container-ttl-duration') ?? DEFAULT_CONTAINER_GC.minAgeMs,
      maxPerContainer:
        input.value<number>('maximum-dead-containers-per-container') ?? DEFAULT_CONTAINER_GC.maxPerContainer,
      maxContainers: input.value<number>('maximum-dead-containers') ?? DEFAULT_CONTAINER_GC.maxContainers,
    },
    gates,
  );
  const node = nodeSettings(kubelet, {
    nodeIps,
    labels,
    certDir: input.text('cert-dir') ?? '/var/lib/kubelet/pki',
    externalCloud: input.text('cloud-provider') === 'external',
    runtimeCgroups: input.text('runtime-cgroups') ?? '',
  });
  const { qps, burst } = proxy.clientConnection;
  const proxyCidr = flagCidr ?? (proxy.clusterCIDR || nodelet.clusterCIDR);
  const logging = logSettings(input, kubelet.logging, proxy.logging);
  return {
    parts,
    nodeName,
    kubeconfig: await kubeconfigOf(which, parts, network.etcd !== undefined, proxy, input),
    logging,
    featureGates: gates,
    kubelet: kubeletSettings,
    credentialProviders: credentialProviders(input),
    node,
    identity: identitySettings(kubelet, input.text('bootstrap-kubeconfig'), gates),
    shutdown: shutdownGroups(kubelet, gates),
    server: serverSettings(kubelet),
    process: processSettings(kubelet, nodelet),
    configz: renderConfigz(kubelet, {
      evictionHard: node.evictionHard,
      nodeStatusReportFrequency: kubeletSettings.nodeStatusReportFrequencyMs,
      serializeImagePulls: kubeletSettings.serializeImagePulls,
      crashLoopBackOff: { maxContainerRestartPeriod: kubeletSettings.crashLoopMaxContainerRestartPeriodMs },
      logging: { ...kubelet.logging, format: logging.format, verbosity: logging.verbosity },
      featureGates: { ...kubelet.featureGates, ...input.value<Readonly<Record<string, boolean>>>('feature-gates') },
    }),
    proxyConfigz: renderProxyConfigz(proxy, { mode: proxy.mode || 'iptables', clusterCIDR: proxyCidr }),
    api: which === 'proxy' ? { ...apiSettings(kubelet), qps, burst } : apiSettings(kubelet),
    proxy: proxySettings(proxy, rangeOf(4, proxyCidr)),
    network,
    nodelet: nodeletSettings(nodelet),
  };
}

function withUsableDns(c: KubeletSettings, input: Input): KubeletSettings {
  const wrong = c.clusterDNS.filter((entry) => !isIp(entry));
  for (const entry of wrong)
    input.warnings.push(
      `${input.origin('KubeletConfiguration', 'clusterDNS')}: ${shown(entry)} is not an IP address and is left out`,
    );
  return wrong.length === 0 ? c : { ...c, clusterDNS: c.clusterDNS.filter(isIp) };
}

function logSettings(input: Input, ofKubelet: LogFields, ofProxy: LogFields): LogSettings {
  const patterns = [...(ofKubelet.vmodule ?? []), ...(ofProxy.vmodule ?? [])];
  return {
    format: ofKubelet.format || ofProxy.format || 'json',
    verbosity: input.value<number>('v') ?? (ofKubelet.verbosity || ofProxy.verbosity),
    vmodule: patterns.map(({ filePattern, verbosity }) => ({ pattern: filePattern ?? '', verbosity: verbosity ?? 0 })),
  };
}

/** Undefined without both flags. */
function credentialProviders(input: Input): AgentConfig['credentialProviders'] {
  const configPath = input.text('image-credential-provider-config') ?? '';
  const binDir = input.text('image-credential-provider-bin-dir') ?? '';
  if ((configPath === '') !== (binDir === '')) {
    input.fault('--image-credential-provider-config and --image-credential-provider-bin-dir: expected both or neither');
  }
  return configPath === '' || binDir === '' ? undefined : { configPath, binDir };
}

function featureGates(
  which: Which,
  input: Input,
  ofKubelet: Readonly<Record<string, boolean>>,
  ofProxy: Readonly<Record<string, boolean>>,
): ReadonlyMap<string, boolean> {
  const ofFlag = input.value<Readonly<Record<string, boolean>>>('feature-gates') ?? {};
  const ofFiles = which === 'proxy' ? { ...ofKubelet, ...ofProxy } : { ...ofProxy, ...ofKubelet };
  const set = { ...ofFiles, ...ofFlag };
  input.warnings.push(...gateWarnings(set));
  return resolveGates(set, (name, problem) => {
    if (Object.hasOwn(ofFlag, name)) input.fault(`--feature-gates=${name}=${ofFlag[name]}: ${problem}`);
    else if (!Object.hasOwn(set, name)) input.fault(`featureGates.${name}: ${problem}`);
    else {
      const kind = Object.hasOwn(ofKubelet, name) ? 'KubeletConfiguration' : 'KubeProxyConfiguration';
      input.fault(`${input.origin(kind, 'featureGates')}.${name}: ${problem}`);
    }
  });
}

function partsOf(which: Which, input: Input): ReadonlySet<Part> {
  if (which !== 'agent') return new Set([which]);
  const named = input.value<readonly Part[]>('parts');
  return new Set(named === undefined || named.length === 0 ? PARTS : named);
}

/** The kubeconfig, looked at once so that a wrong path is told together with all else that is wrong. */
async function kubeconfigOf(
  which: Which,
  parts: ReadonlySet<Part>,
  leasesInEtcd: boolean,
  proxy: ProxyFileSettings,
  input: Input,
): Promise<string | undefined> {
  const ofFile =
    which === 'proxy' && proxy.clientConnection.kubeconfig !== '' ? proxy.clientConnection.kubeconfig : undefined;
  const name =
    input.text('kubeconfig') === undefined && input.text('kubeconfig-file') !== undefined
      ? 'kubeconfig-file'
      : 'kubeconfig';
  const file = input.text(name) ?? ofFile;
  if (file === undefined) {
    const needy = PARTS.filter((part) => part === 'proxy' || (part === 'network' && !leasesInEtcd)).filter((p) =>
      parts.has(p),
    );
    const without = which === 'agent' ? '; or leave them out with --parts=kubelet' : '';
    if (needy.length > 0)
      input.fault(
        `--kubeconfig: expected a file, as ${needy.join(' and ')} cannot run without an API server${without}`,
      );
    return undefined;
  }
  try {
    await input.deps.readFile(file);
  } catch (err) {
    const isToCome = errnoOf(err) === 'ENOENT' && input.text('bootstrap-kubeconfig') !== undefined;
    if (!isToCome) input.fault(`--${name}=${file}: ${unreadable(err)}`);
  }
  return file;
}

function nodeletSettings(c: NodeletFields): NodeletSettings {
  const { cniBinDir, cniConfDir, containerLogsDir, subnetFile } = c;
  return { cniBinDir, cniConfDir, containerLogsDir, subnetFile };
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
