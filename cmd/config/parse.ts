// Flags, files and defaults → one frozen AgentConfig. A flag wins over --config-dir, which wins over --config, which wins
// over the default. Every fault is found before anything is reported, each named by what a person would change.
import { readdir, readFile } from 'node:fs/promises';
import os from 'node:os';
import { applyMergePatch } from '../../api/patch/merge-patch.ts';
import { AgentError, errnoOf } from '../../core/errors.ts';
import { DEFAULT_CONTAINER_GC } from '../../kubelet/config.ts';
import type { AgentConfig, LogSettings, NodeletSettings, Part } from './agent-config.ts';
import { renderConfigz } from './configz.ts';
import { gateWarnings, resolveGates } from './feature-gates.ts';
import { changedFields, type Effect, refusalOf, settle } from './field.ts';
import { type ConfigKind, KINDS, nodeletFields } from './fields.ts';
import { type ConfigDocument, type FileAccess, readConfigFile, readDropIns, unreadable } from './files.ts';
import type { Which } from './flag-table.ts';
import { type FlagTexts, type GivenFlag, readFlags } from './flags.ts';
import { identitySettings, shutdownGroups } from './identity-settings.ts';
import { EVICTION_HARD, kubeletFields, LEGACY_DEFAULTS } from './kubelet-fields.ts';
import type { LogFields } from './logging-fields.ts';
import { readNetConf } from './net-conf.ts';
import { type NodeletFields, networkSettings, rangeOf } from './network-settings.ts';
import { checkNodeLabels, nodeIpsOf, nodeNameOf } from './node-identity.ts';
import { proxyFields } from './proxy-fields.ts';
import { checkKubelet, checkProxy, type ProxyFileSettings } from './rules.ts';
import {
  apiSettings,
  kubeletConfig,
  nodeSettings,
  processSettings,
  proxySettings,
  serverSettings,
} from './settings.ts';
import type { Report } from './values.ts';

export interface ParseDeps extends FileAccess {
  /** The host's own name. */
  readonly hostname: () => string;
}

export const systemDeps: ParseDeps = {
  readFile: (file) => readFile(file, 'utf8'),
  listFiles: async (dir) => {
    const entries = await readdir(dir, { recursive: true, withFileTypes: true });
    const prefix = dir.replace(/\/+$/, '').length + 1;
    return entries.filter((e) => !e.isDirectory()).map((e) => `${e.parentPath}/${e.name}`.slice(prefix));
  },
  hostname: os.hostname,
};

export interface ParsedConfig {
  readonly config: AgentConfig;
  /** One line each, for the log. */
  readonly warnings: readonly string[];
}

type Values = Readonly<Record<string, unknown>>;
type Documents = Readonly<Record<ConfigKind, Values>>;

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

/** Everything that was written, merged, and where it was written. */
class Input {
  readonly faults: string[] = [];
  readonly warnings: string[] = [];
  readonly deps: ParseDeps;
  documents: Documents = { KubeletConfiguration: {}, KubeProxyConfiguration: {}, NodeletConfiguration: {} };
  readonly #which: Which;
  readonly #texts: FlagTexts;
  #given: ReadonlyMap<string, GivenFlag> = new Map();
  #written: readonly ConfigDocument[] = [];

  constructor(which: Which, texts: FlagTexts, deps: ParseDeps) {
    this.#which = which;
    this.#texts = texts;
    this.deps = deps;
  }

  readonly fault = (problem: string): void => {
    if (!this.faults.includes(problem)) this.faults.push(problem);
  };

  readonly report: Report = (where, problem) => this.fault(`${where}: ${problem}`);

  async read(): Promise<this> {
    this.#given = readFlags(this.#which, this.#texts, this.fault);
    const [file, dir] = [this.text('config'), this.text('config-dir')];
    this.#written = [
      ...(file === undefined ? [] : await readConfigFile(file, this.deps, this.fault)),
      ...(dir === undefined ? [] : await readDropIns(dir, this.deps, this.fault)),
    ];
    // With --config-dir alone the old defaults are the base that is merged onto, as upstream has it.
    const base = file === undefined ? LEGACY_DEFAULTS : {};
    const filled = file === undefined ? {} : { evictionHard: EVICTION_HARD };
    this.documents = {
      KubeletConfiguration: this.#merge('KubeletConfiguration', base, filled),
      KubeProxyConfiguration: this.#merge('KubeProxyConfiguration', {}),
      NodeletConfiguration: this.#merge('NodeletConfiguration', {}),
    };
    this.#tellEffects();
    return this;
  }

  /** `filled`: defaults that --config already has when drop-ins are merged onto it, so that they merge with maps of theirs. */
  #merge(kind: ConfigKind, base: Values, filled: Values = {}): Values {
    const documents = this.#written.filter((doc) => doc.kind === kind);
    const file = this.text('config');
    let merged = base;
    let isFilled = false;
    for (const doc of documents) {
      if (doc.file !== file && !isFilled) {
        merged = { ...filled, ...merged };
        isFilled = true;
      }
      merged = applyMergePatch(merged, doc.values) as Values;
    }
    const targets = [...this.#given.values()].filter(({ flag }) => flag.target?.kind === kind);
    return targets.reduce((sum, { flag, value }) => withValue(sum, flag.target!.path.split('.'), value), merged);
  }

  /** What is set and refused is a fault; what is set and not built yet, or deprecated, is told in one line each. */
  #tellEffects(): void {
    const idle: string[] = [];
    for (const { flag, value } of this.#given.values()) {
      if (flag.target !== undefined) continue; // told with the field it sets
      if (value === '' || value === false || value === 0) continue;
      if (flag.effect === 'later') idle.push(`--${flag.name}`);
      this.#refuse(`--${flag.name}=${this.#textsOf(flag.name)}`, flag.effect);
    }
    for (const kind of Object.keys(KINDS) as ConfigKind[]) {
      for (const { path, effect } of changedFields(KINDS[kind].fields, this.documents[kind])) {
        if (!this.#isWritten(kind, path)) continue; // an old default
        const flag = this.#flagOf(kind, path)?.split('=')[0];
        if (effect === 'later') idle.push(flag ?? `${kind}.${path}`);
        this.#refuse(this.origin(kind, path), effect);
      }
    }
    if (idle.length > 0) this.warnings.push(`these settings are valid but do nothing yet: ${idle.join(', ')}`);
    const deprecated = [...this.#given.values()].filter(({ flag }) => flag.deprecated !== undefined);
    if (deprecated.length > 0) {
      const listed = deprecated.map(({ flag }) => `--${flag.name} (${flag.deprecated})`).join(', ');
      this.warnings.push(`these flags are deprecated and will be taken away: ${listed}`);
    }
  }

  #refuse(where: string, effect: Effect): void {
    const why = refusalOf(effect);
    if (why !== undefined) this.fault(`${where}: cannot be set: ${why}`);
  }

  #isWritten(kind: ConfigKind, path: string): boolean {
    return this.#flagOf(kind, path) !== undefined || this.#fileOf(kind, path) !== undefined;
  }

  /** `--name=value` when a flag set this field. */
  #flagOf(kind: ConfigKind, path: string): string | undefined {
    for (const { flag } of this.#given.values())
      if (flag.target?.kind === kind && flag.target.path === path) return `--${flag.name}=${this.#textsOf(flag.name)}`;
    return undefined;
  }

  #textsOf(name: string): string {
    return (this.#texts[name.replace(/-(.)/g, (_, letter: string) => letter.toUpperCase())] ?? []).join(',');
  }

  /** Where a field was set: the flag, the last file that has it, else the kind. */
  origin(kind: ConfigKind, path: string): string {
    const file = this.#fileOf(kind, path);
    return this.#flagOf(kind, path) ?? (file === undefined ? `${kind}.${path}` : `${file}: ${path}`);
  }

  #fileOf(kind: ConfigKind, path: string): string | undefined {
    const has = (doc: ConfigDocument): boolean =>
      doc.kind === kind && valueAt(doc.values, path.split('.')) !== undefined;
    return this.#written.findLast(has)?.file;
  }

  reportFor(kind: ConfigKind): Report {
    return (path, problem) => this.fault(`${this.origin(kind, path)}: ${problem}`);
  }

  /** A flag that stands alone; '' counts as not given. */
  text(name: string): string | undefined {
    const value = this.#given.get(name)?.value;
    return value === '' ? undefined : (value as string | undefined);
  }

  value<T>(name: string): T | undefined {
    return this.#given.get(name)?.value as T | undefined;
  }
}

async function buildConfig(which: Which, input: Input): Promise<AgentConfig> {
  const { documents } = input;
  const netConf = which === 'network' ? await readNetConf(input.text('net-config-path'), input.deps, input.fault) : {};
  const kubelet = settle(kubeletFields, documents.KubeletConfiguration);
  const proxy = settle(proxyFields, documents.KubeProxyConfiguration);
  const nodelet = settle(nodeletFields, { ...netConf, ...documents.NodeletConfiguration });
  const gates = featureGates(which, input, kubelet.featureGates, proxy.featureGates);
  checkKubelet(kubelet, gates, input.reportFor('KubeletConfiguration'));
  checkProxy(proxy, input.reportFor('KubeProxyConfiguration'));

  const override = input.text('hostname-override') ?? (which === 'proxy' ? proxy.hostnameOverride : undefined);
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
  });
  const { qps, burst } = proxy.clientConnection;
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
    api: which === 'proxy' ? { ...apiSettings(kubelet), qps, burst } : apiSettings(kubelet),
    proxy: proxySettings(proxy, rangeOf(4, flagCidr ?? (proxy.clusterCIDR || nodelet.clusterCIDR))),
    network,
    nodelet: nodeletSettings(nodelet),
  };
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

function valueAt(values: Values, path: readonly string[]): unknown {
  return path.reduce<unknown>((at, key) => (at as Values | undefined)?.[key], values);
}

function withValue(values: Values, [head, ...rest]: readonly string[], value: unknown): Values {
  const inner = rest.length === 0 ? value : withValue((values[head!] ?? {}) as Values, rest, value);
  return { ...values, [head!]: inner };
}

function deepFreeze<T>(value: T): T {
  if (typeof value === 'object' && value !== null && !Object.isFrozen(value)) {
    Object.freeze(value);
    for (const inner of Object.values(value)) deepFreeze(inner);
  }
  return value;
}
