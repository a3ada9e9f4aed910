// One pass towards a pod's spec: performs what computeActions decided, in the kubelet's order
// (pkg/kubelet/kuberuntime/kuberuntime_manager.go SyncPod). A failing step is reported, not thrown: the worker decides
// when to come back.
import { readFile } from 'node:fs/promises';
import { isIP } from 'node:net';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Pod } from '../../api/pod.ts';
import { usesClaims } from '../../api/resource-claims.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import type { DNSConfig, IDMapping, PodSandboxConfig } from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';
import { DEFAULT_CONTAINER_GC } from '../config.ts';
import { computeActions } from './compute-actions.ts';
import { MISSING_CLUSTER_DNS, MISSING_CLUSTER_DNS_TEXT, parseResolvConf, podDns } from './dns.ts';
import type { RuntimeGarbage } from './gc.ts';
import { type PodHostname, podHostname } from './hostname.ts';
import type { PodKiller } from './kill-pod.ts';
import type { AnyContainer } from './labels.ts';
import type { PodActions } from './pod-actions.ts';
import { type EtcHosts, ensureEtcHosts, ensurePodLogDir, writeEtcHosts } from './pod-files.ts';
import { podLogDir } from './pod-paths.ts';
import { findContainer, type PodRuntimeStatus, type RuntimeContainer } from './pod-runtime-status.ts';
import type { PodStatusReader } from './pod-status-reader.ts';
import { type ContainerPreparation, settled } from './prepare-container.ts';
import type { PodResizer } from './resize-pod.ts';
import type { RestartBackoff } from './restart-backoff.ts';
import { isSidecar } from './restart-policy.ts';
import { withoutRuncFaults } from './runc-faults.ts';
import { nodeReference, podReference, type RuntimeDeps, type RuntimeSettings } from './runtime-deps.ts';
import type { ContainerStartFailure, PodSyncResult, SyncPodInput } from './runtime-manager.ts';
import { sandboxConfig } from './sandbox-config.ts';
import type { ContainerStarter, StartContext } from './start-container.ts';

export interface PodSyncerParts {
  readonly starter: ContainerStarter;
  readonly killer: PodKiller;
  readonly garbage: RuntimeGarbage;
  readonly backoff: RestartBackoff;
  readonly reader: Pick<PodStatusReader, 'expectSandbox'>;
  /** Without it the resources of running containers stay as they are. */
  readonly resizer?: PodResizer;
}

/** What has come of the pass so far. */
interface Progress {
  changed: boolean;
  readonly started: string[];
  readonly failures: ContainerStartFailure[];
  resizeError?: string;
}

interface Sandbox {
  readonly id: string;
  readonly config: Init<PodSandboxConfig>;
  readonly runtimeHandler: string;
  /** Asked of the runtime while the first container is being made. */
  readonly addresses: Promise<readonly string[]>;
  readonly etcHosts: EtcHosts;
  readonly userIds: IDMapping | undefined;
  /** Work for containers that was begun while the runtime had other work. */
  readonly prepared: Map<string, ContainerPreparation>;
}

/** Period of upstream's relist (genericPlegRelistPeriod). */
const RELIST_MS = 1_000;

export class PodSyncer {
  readonly #settings: RuntimeSettings;
  readonly #deps: RuntimeDeps;
  readonly #parts: PodSyncerParts;

  constructor(settings: RuntimeSettings, deps: RuntimeDeps, parts: PodSyncerParts) {
    this.#settings = settings;
    this.#deps = deps;
    this.#parts = parts;
  }

  async sync(input: SyncPodInput): Promise<PodSyncResult> {
    const progress: Progress = { changed: false, started: [], failures: [] };
    try {
      const { actuated } = this.#deps.resizing ?? {};
      const actions = computeActions(actuated === undefined ? input : { ...input, resources: actuated });
      await this.#run(input, actions, input.signal ?? new AbortController().signal, progress);
      return progress;
    } catch (cause) {
      const error = cause instanceof Error ? cause : new Error(String(cause));
      return { ...progress, error };
    }
  }

  async #run(input: SyncPodInput, actions: PodActions, signal: AbortSignal, progress: Progress): Promise<void> {
    const { pod, status } = input;
    if (actions.containersToReset.length > 0) {
      await this.#resetContainers(pod, status, actions.containersToReset, signal);
      progress.changed = true;
      return;
    }
    if (actions.killPod) await this.#killPod(pod, status, actions, signal, progress);
    else await this.#killContainers(pod, status, actions, signal, progress);
    if (actions.killPod && !actions.createSandbox) return;
    await this.#pruneEnded(pod, status, actions);
    signal.throwIfAborted();
    if (actions.containersToResize.length > 0 || actions.resizePod) await this.#resize(pod, actions, signal, progress);
    if (!actions.createSandbox && !startsAnything(actions)) return;
    const sandbox = actions.createSandbox
      ? await this.#createSandbox(input, actions, signal, progress)
      : await this.#existingSandbox(input, actions, signal);
    try {
      await input.mountVolumes?.();
      const imageVolumes = await this.#parts.starter.pullImageVolumes(pod, sandbox.config, signal);
      const ctx = { pod, status, signal, imageVolumes, ...startContext(sandbox) };
      await this.#startContainers(ctx, actions, sandbox, progress);
      await sandbox.etcHosts.written;
    } finally {
      await allSettled(sandbox.prepared, sandbox.etcHosts);
    }
  }

  async #killPod(
    pod: Pod,
    status: PodRuntimeStatus,
    actions: PodActions,
    signal: AbortSignal,
    progress: Progress,
  ): Promise<void> {
    const replaced = actions.createSandbox && status.sandboxes.length > 0;
    if (replaced) {
      const message = 'Pod sandbox changed, it will be killed and re-created.';
      this.#deps.recorder.event(podReference(pod), 'Normal', 'SandboxChanged', message);
    }
    progress.changed ||=
      replaced || status.sandboxes.some((s) => s.state === 'SANDBOX_READY') || status.containers.some(isAlive);
    await this.#parts.killer.killPod({ pod, status, signal });
    if (!actions.createSandbox) return;
    const initNames = new Set((pod.spec?.initContainers ?? []).map((c) => c.name));
    const stale = status.containers.filter((c) => initNames.has(c.name));
    const isNewest = (c: RuntimeContainer) => findContainer(status, c.name) === c;
    await Promise.all(stale.map((c) => this.#parts.garbage.removeContainer(c.id, { keepsLog: isNewest(c) })));
  }

  async #killContainers(
    pod: Pod,
    status: PodRuntimeStatus,
    actions: PodActions,
    signal: AbortSignal,
    progress: Progress,
  ): Promise<void> {
    if (actions.containersToKill.length === 0) return;
    progress.changed = true;
    await Promise.all(
      actions.containersToKill.map(({ container, message, reason }) =>
        this.#parts.killer.killContainer({ pod, status, container, message, reason, signal }),
      ),
    );
  }

  /** Before anything is started: what starts with more than before finds room in its pod. */
  async #resize(pod: Pod, actions: PodActions, signal: AbortSignal, progress: Progress): Promise<void> {
    try {
      await this.#parts.resizer?.resize(pod, actions, signal);
      progress.changed ||= actions.containersToResize.length > 0;
    } catch (err) {
      if (signal.aborted) throw err;
      this.#deps.log.warn({ err, podUid: pod.metadata?.uid }, 'containers not resized, will retry');
      progress.resizeError = errorMessage(err);
    }
  }

  /** Restart of all containers in place: one after the other, logs are kept. */
  async #resetContainers(
    pod: Pod,
    status: PodRuntimeStatus,
    containers: readonly RuntimeContainer[],
    signal: AbortSignal,
  ): Promise<void> {
    for (const container of containers) {
      if (isAlive(container)) {
        const kill = { pod, status, container, message: 'killing', reason: 'other', graceOverrideSeconds: 0 } as const;
        await this.#parts.killer.killContainer({ ...kill, signal });
      }
      await this.#deps.runtime.removeContainer(container.id, { signal });
    }
  }

  /** Of ended instances only the newest are kept. Costs nothing unless a container was restarted. */
  async #pruneEnded(pod: Pod, status: PodRuntimeStatus, actions: PodActions): Promise<void> {
    const ended = (name: string) =>
      status.containers.filter((c) => c.name === name && (c.state === 'exited' || c.state === 'unknown'));
    const { maxPerContainer } = this.#settings.containerGc ?? DEFAULT_CONTAINER_GC;
    const kept = maxPerContainer < 0 ? Number.POSITIVE_INFINITY : Math.max(1, maxPerContainer);
    const surplus = (pod.spec?.containers ?? []).flatMap(({ name }) => ended(name).slice(kept));
    if (!actions.killPod) surplus.push(...(pod.spec?.initContainers ?? []).flatMap(({ name }) => ended(name).slice(1)));
    for (const { id } of surplus) {
      await this.#parts.garbage.removeContainer(id).catch((err: unknown) => {
        this.#deps.log.warn({ err, containerId: id }, 'dead container not removed, left to garbage collection');
      });
    }
  }

  async #createSandbox(
    input: SyncPodInput,
    actions: PodActions,
    signal: AbortSignal,
    progress: Progress,
  ): Promise<Sandbox> {
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
        this.#sandboxConfig(pod, actions.attempt, logDirectory, userIds),
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
      for (const container of containersToStart(actions)) {
        prepared.set(container.name, this.#parts.starter.prepare(pod, container, status, signal));
      }
      id = await running;
      progress.changed = true;
    } catch (cause) {
      await Promise.all([allSettled(prepared), etcHostsFile?.catch(() => {})]);
      const message = `Failed to create pod sandbox: ${errorMessage(cause)}`;
      // A pod that is about to end needs no such news: the cause is usually the cancelled call itself.
      if (!signal.aborted) this.#deps.recorder.event(about, 'Warning', 'FailedCreatePodSandBox', message);
      throw new AgentError(message, { code: 'SANDBOX_CREATE_FAILED', cause, retryable: true });
    }
    const addresses = this.#sandboxIps(pod, id, signal);
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

  async #sandboxIps(pod: Pod, sandboxId: string, signal: AbortSignal): Promise<readonly string[]> {
    if (pod.spec?.hostNetwork) return [];
    try {
      const made = await this.#deps.runtime.podSandboxStatus(sandboxId, { signal });
      this.#parts.reader.expectSandbox(pod.metadata?.uid ?? '', made);
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

  async #existingSandbox(input: SyncPodInput, actions: PodActions, signal: AbortSignal): Promise<Sandbox> {
    const { pod, status } = input;
    // Of a pod that was started before, what its containers need is known, unless the record of it was lost.
    if (usesClaims(pod) && this.#deps.claims?.isKnown(pod) === false) await this.#prepareClaims(pod, signal);
    const runtimeHandler = status.sandboxes[0]?.runtimeHandler ?? '';
    const userIds = await this.#userIds(pod, runtimeHandler);
    const config = await this.#sandboxConfig(pod, actions.attempt, podLogDir(this.#settings, pod), userIds);
    const prepared = new Map<string, ContainerPreparation>();
    const addresses = Promise.resolve(status.ips);
    const etcHosts = this.#etcHosts(pod, ensureEtcHosts(this.#settings, pod, this.#hostname(pod)), addresses);
    const sandbox = { id: actions.sandboxId, config, runtimeHandler, addresses, etcHosts, userIds, prepared };
    input.mountVolumes?.().catch(() => {}); // begun before the container is prepared, as for a new sandbox
    this.#prepareNext({ pod, status, signal }, containersToStart(actions)[0], sandbox);
    return sandbox;
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

  async #sandboxConfig(
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

  /** One after the other, as users expect of init containers and as images are then pulled. */
  async #startContainers(ctx: StartContext, actions: PodActions, sandbox: Sandbox, progress: Progress): Promise<void> {
    const init = new Set<AnyContainer>(actions.initContainersToStart);
    const all = containersToStart(actions);
    for (const [i, container] of all.entries()) {
      this.#prepareNext(ctx, all[i + 1], sandbox);
      const ok = await this.#startOne(ctx, container, sandbox, progress);
      if (!ok && init.has(container) && !isSidecar(container)) return;
    }
  }

  /** While something else takes its time. Not for a restart, which its back-off may put off. */
  #prepareNext(
    { pod, status, signal }: Pick<StartContext, 'pod' | 'status' | 'signal'>,
    next: AnyContainer | undefined,
    { prepared }: Sandbox,
  ): void {
    if (next === undefined || prepared.has(next.name) || findContainer(status, next.name) !== undefined) return;
    prepared.set(next.name, this.#parts.starter.prepare(pod, next, status, signal));
  }

  /** False when the container did not start, which is then among the failures. */
  async #startOne(ctx: StartContext, container: AnyContainer, sandbox: Sandbox, progress: Progress): Promise<boolean> {
    ctx.signal.throwIfAborted();
    const delay = this.#parts.backoff.tryStart(ctx.pod, container, ctx.status);
    if (delay !== undefined) {
      const { name = '', namespace = '', uid = '' } = ctx.pod.metadata ?? {};
      const text = `Back-off restarting failed container ${container.name} in pod ${name}_${namespace}(${uid})`;
      this.#deps.recorder.event(podReference(ctx.pod, container), 'Warning', 'BackOff', text);
      progress.failures.push({ container: container.name, reason: 'CrashLoopBackOff', ...delay });
      return false;
    }
    const failure = await this.#parts.starter.start(ctx, container, sandbox.prepared.get(container.name));
    if (failure === undefined) {
      progress.changed = true;
      progress.started.push(container.name);
      return true;
    }
    // Something may have come into being before it failed.
    if (/^(CreateContainerError|RunContainerError|PostStartHookError)$/.test(failure.reason)) progress.changed = true;
    // Such a container has ended: without ever running, of which containerd tells nobody, or within this very pass, which
    // makes its event no news. Upstream's next relist would find it; this second look does.
    const isThere = failure.reason === 'RunContainerError' || failure.reason === 'PostStartHookError';
    progress.failures.push(isThere ? { ...failure, retryAtMs: this.#deps.clock.now() + RELIST_MS } : failure);
    return false;
  }
}

function startContext(sandbox: Sandbox) {
  const { id: sandboxId, config, runtimeHandler, addresses, etcHosts, userIds } = sandbox;
  return { sandboxId, sandboxConfig: config, runtimeHandler, addresses, etcHosts, userIds };
}

/** What is being made for a pod must not go on behind the back of who removes it. */
async function allSettled(prepared: ReadonlyMap<string, ContainerPreparation>, etcHosts?: EtcHosts): Promise<void> {
  await Promise.all([...prepared.values()].map(settled));
  if (etcHosts !== undefined) await Promise.allSettled([etcHosts.file, etcHosts.written]);
}

function containersToStart(actions: PodActions): AnyContainer[] {
  return [...actions.ephemeralContainersToStart, ...actions.initContainersToStart, ...actions.containersToStart];
}

function startsAnything(actions: PodActions): boolean {
  return containersToStart(actions).length > 0;
}

function isAlive(container: RuntimeContainer): boolean {
  return container.state === 'running' || container.state === 'unknown';
}
