// A pod's sandbox, made or found, with what its containers are going to need of it. The runtime takes most of a pod's
// start to make it: whatever does not depend on it is done meanwhile.
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Pod } from '../../api/pod.ts';
import { usesClaims } from '../../api/resource-claims.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import type { DNSConfig, IDMapping, PodSandboxConfig } from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';
import { MISSING_CLUSTER_DNS, MISSING_CLUSTER_DNS_TEXT, parseResolvConf, podDns } from './dns.ts';
import { type PodHostname, podHostname } from './hostname.ts';
import type { AnyContainer } from './labels.ts';
import { type EtcHosts, ensureEtcHosts, ensurePodLogDir, writeEtcHosts } from './pod-files.ts';
import { podLogDir } from './pod-paths.ts';
import type { PodStatusReader } from './pod-status-reader.ts';
import { type ContainerPreparation, settled } from './prepare-container.ts';
import { withoutRuncFaults } from './runc-faults.ts';
import { nodeReference, podReference, type RuntimeDeps, type RuntimeSettings } from './runtime-deps.ts';
import type { SyncPodInput } from './runtime-manager.ts';
import { sandboxConfig } from './sandbox-config.ts';
import type { ContainerStarter } from './start-container.ts';

/** What containers are made in. */
export interface PodSandbox {
  readonly id: string;
  readonly config: Init<PodSandboxConfig>;
  readonly runtimeHandler: string;
  /** Asked of the runtime while the first container is being made. */
  readonly addresses: Promise<readonly string[]>;
  readonly etcHosts: EtcHosts;
  readonly userIds: IDMapping | undefined;
  /** Work for containers, by name, that was begun while the runtime had other work. */
  readonly prepared: Map<string, ContainerPreparation>;
}

export interface PodSandboxesParts {
  readonly starter: Pick<ContainerStarter, 'prepare'>;
  readonly reader: Pick<PodStatusReader, 'expectSandbox'>;
}

export class PodSandboxes {
  readonly #settings: RuntimeSettings;
  readonly #deps: RuntimeDeps;
  readonly #starter: PodSandboxesParts['starter'];
  readonly #reader: PodSandboxesParts['reader'];

  constructor(settings: RuntimeSettings, deps: RuntimeDeps, { starter, reader }: PodSandboxesParts) {
    this.#settings = settings;
    this.#deps = deps;
    this.#starter = starter;
    this.#reader = reader;
  }

  /**
   * Makes one, and has what `containers` need begun meanwhile.
   *
   * @throws {AgentError} SANDBOX_CREATE_FAILED; what drivers say of the pod's claims.
   */
  async create(
    input: SyncPodInput,
    attempt: number,
    containers: readonly AnyContainer[],
    signal: AbortSignal,
  ): Promise<PodSandbox> {
    const { pod, status } = input;
    const about = podReference(pod);
    await this.#prepareClaims(pod, signal);
    const prepared = new Map<string, ContainerPreparation>();
    let etcHostsFile: Promise<string> | undefined;
    let id: string;
    let config: Init<PodSandboxConfig>;
    let runtimeHandler: string;
    let userIds: IDMapping | undefined;
    try {
      runtimeHandler = await this.#runtimeHandler(pod);
      userIds = await this.#userIds(pod, runtimeHandler);
      const logDirectory = podLogDir(this.#settings, pod);
      [config] = await Promise.all([
        this.#config(pod, attempt, logDirectory, userIds),
        ensurePodLogDir(this.#settings, pod),
      ]);
      const running = withoutRuncFaults(() => this.#deps.runtime.runPodSandbox(config, runtimeHandler, { signal }));
      running.catch(() => {}); // awaited below
      await nextTurn(); // the request is on its way before the work that is done meanwhile takes the processor
      // Before the containers are prepared: it makes known which ConfigMaps and Secrets they will ask for. Its outcome
      // is asked for before they start.
      input.mountVolumes?.().catch(() => {});
      etcHostsFile = ensureEtcHosts(this.#settings, pod, this.#hostname(pod));
      etcHostsFile.catch(() => {}); // asked for when the sandbox is there
      for (const container of containers) {
        prepared.set(container.name, this.#starter.prepare(pod, container, status, signal));
      }
      id = await running;
    } catch (cause) {
      await Promise.allSettled([...[...prepared.values()].map(settled), etcHostsFile]);
      const message = `Failed to create pod sandbox: ${errorMessage(cause)}`;
      // A pod that is about to end needs no such news: the cause is usually the cancelled call itself.
      if (!signal.aborted) this.#deps.recorder.event(about, 'Warning', 'FailedCreatePodSandBox', message);
      throw new AgentError(message, { code: 'SANDBOX_CREATE_FAILED', cause, retryable: true });
    }
    // The first container goes first, where it does not show them.
    const addresses = nextTurn().then(() => this.#addresses(pod, id, signal));
    addresses.then(input.onSandboxReady, () => {}); // a failure is told to whoever needs the addresses
    return {
      id,
      config,
      runtimeHandler,
      userIds,
      prepared,
      addresses,
      etcHosts: this.#etcHosts(pod, etcHostsFile, addresses),
    };
  }

  /** The one that the pod has. @throws {AgentError} USER_NAMESPACES_UNSUPPORTED; what drivers say of the pod's claims. */
  async existing(input: SyncPodInput, id: string, attempt: number, signal: AbortSignal): Promise<PodSandbox> {
    const { pod, status } = input;
    // Of a pod that was started before, what its containers need is known, unless the record of it was lost.
    if (usesClaims(pod) && this.#deps.claims?.isKnown(pod) === false) await this.#prepareClaims(pod, signal);
    const runtimeHandler = status.sandboxes[0]?.runtimeHandler ?? '';
    const userIds = await this.#userIds(pod, runtimeHandler);
    const config = await this.#config(pod, attempt, podLogDir(this.#settings, pod), userIds);
    input.mountVolumes?.().catch(() => {}); // begun before the container is prepared, as for a new sandbox
    const addresses = Promise.resolve(status.ips);
    const etcHosts = this.#etcHosts(pod, ensureEtcHosts(this.#settings, pod, this.#hostname(pod)), addresses);
    return { id, config, runtimeHandler, addresses, etcHosts, userIds, prepared: new Map() };
  }

  #etcHosts(pod: Pod, file: Promise<string>, addresses: Promise<readonly string[]>): EtcHosts {
    const written = Promise.all([addresses, file]).then(([ips]) =>
      writeEtcHosts(this.#settings, pod, ips, this.#hostname(pod)),
    );
    for (const promise of [file, written]) promise.catch(() => {}); // asked for later, if at all
    return { file, written };
  }

  #hostname(pod: Pod): PodHostname {
    return podHostname(pod, this.#settings.clusterDomain);
  }

  /** Drivers go first: what they prepare may be needed to make the sandbox. @throws what they say */
  async #prepareClaims(pod: Pod, signal: AbortSignal): Promise<void> {
    const { claims, recorder } = this.#deps;
    if (claims === undefined || !usesClaims(pod)) return;
    try {
      await claims.prepare(pod, signal);
    } catch (err) {
      const message = `Failed to prepare dynamic resources: ${errorMessage(err)}`;
      if (!signal.aborted) recorder.event(podReference(pod), 'Warning', 'FailedPrepareDynamicResources', message);
      throw err;
    }
  }

  async #addresses(pod: Pod, sandboxId: string, signal: AbortSignal): Promise<readonly string[]> {
    if (pod.spec?.hostNetwork) return [];
    try {
      const made = await this.#deps.runtime.podSandboxStatus(sandboxId, { signal });
      this.#reader.expectSandbox(pod.metadata?.uid ?? '', made);
      const { network } = made;
      const ips = [network?.ip ?? '', ...(network?.additionalIps ?? []).map((a) => a.ip)];
      return ips.every((ip) => isIP(ip) !== 0) ? ips : [];
    } catch (cause) {
      const message = `Unable to get pod sandbox status: ${errorMessage(cause)}`;
      if (!signal.aborted) {
        this.#deps.recorder.event(podReference(pod), 'Warning', 'FailedPodSandBoxStatus', message);
      }
      throw new AgentError(message, { code: 'SANDBOX_STATUS_FAILED', cause, retryable: true });
    }
  }

  /** @throws {AgentError} USER_NAMESPACES_UNSUPPORTED: root in a pod that asks for them would be root of the host. */
  async #userIds(pod: Pod, runtimeHandler: string): Promise<IDMapping | undefined> {
    if (pod.spec?.hostUsers !== false) return undefined;
    if (!this.#deps.supportsUserNamespaces(runtimeHandler)) {
      const who = runtimeHandler === '' ? 'runtime' : `RuntimeClass handler "${runtimeHandler}"`;
      throw new AgentError(`can't set \`spec.hostUsers: false\`, ${who} does not support user namespaces`, {
        code: 'USER_NAMESPACES_UNSUPPORTED',
      });
    }
    return await this.#deps.userNamespaces.mappingOf(pod.metadata?.uid ?? '');
  }

  async #config(
    pod: Pod,
    attempt: number,
    logDirectory: string,
    userIds: IDMapping | undefined,
  ): Promise<Init<PodSandboxConfig>> {
    const { clusterDns, clusterDomain, resources } = this.#settings;
    const host = await this.#hostDns();
    const dns = podDns(pod, { clusterDns, clusterDomain, host, nodeIps: this.#deps.nodeIps() });
    for (const { reason, message } of dns.warnings) {
      this.#deps.recorder.event(podReference(pod), 'Warning', reason, message);
      if (reason !== MISSING_CLUSTER_DNS) continue; // the others are the pod's own doing
      this.#deps.recorder.event(nodeReference(this.#settings.nodeName), 'Warning', reason, MISSING_CLUSTER_DNS_TEXT);
    }
    return sandboxConfig({
      pod,
      attempt,
      logDirectory,
      hostname: this.#hostname(pod).kernelHostname,
      dns: dns.config,
      cgroupParent: this.#deps.cgroupParent(pod),
      resources,
      userIds,
    });
  }

  /** Read each time: whoever runs the node may change it at any time. */
  async #hostDns(): Promise<DNSConfig | undefined> {
    const file = this.#settings.resolvConfFile;
    return file === '' ? undefined : parseResolvConf(await readFile(file, 'utf8'));
  }

  async #runtimeHandler(pod: Pod): Promise<string> {
    const className = pod.spec?.runtimeClassName;
    return className ? this.#deps.runtimeHandler(className) : '';
  }
}

/** What is being made for a pod must not go on behind the back of who removes it. */
export async function sandboxSettled({ prepared, etcHosts }: PodSandbox): Promise<void> {
  await Promise.all([...prepared.values()].map(settled));
  await Promise.allSettled([etcHosts.file, etcHosts.written]);
}
