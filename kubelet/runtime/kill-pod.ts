// Stopping containers: preStop hook, grace period, sidecar order, StopContainer; then the sandboxes
// (pkg/kubelet/kuberuntime/kuberuntime_container.go killContainer, kuberuntime_termination_order.go).
import type { ObjectReference } from '../../api/kinds.ts';
import type { Container, Pod } from '../../api/pod.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import { isCriError } from '../../cri/errors.ts';
import { type HookTarget, runHook } from './hooks.ts';
import { type AnyContainer, type ContainerMeta, type LifecycleHandler, parseContainerMeta } from './labels.ts';
import type { KillReason } from './pod-actions.ts';
import type { PodRuntimeStatus, RuntimeContainer } from './pod-runtime-status.ts';
import { podReference, type RuntimeDeps } from './runtime-deps.ts';
import type { KillPodInput } from './runtime-manager.ts';
import { TerminationOrder } from './termination-order.ts';

/** A process gets at least this long between SIGTERM and SIGKILL, whatever a hook used up. */
const MIN_STOP_SECONDS = 2;
/**
 * A container that runs since less is stopped only then. The runtime tells of a start while runc's own first process is
 * about to become the program: SIGTERM would end that one, with exit code 2, and the program would never hear of it.
 * Kubelets get there no sooner, since they look at the runtime once a second before they stop anything.
 */
const SETTLE_MS = 250;

export interface KillContainerInput {
  /** Undefined for an orphan. */
  readonly pod: Pod | undefined;
  readonly status: PodRuntimeStatus;
  readonly container: RuntimeContainer;
  /** Of the Killing event; default `Stopping container <name>`. */
  readonly message?: string;
  readonly reason: KillReason;
  readonly graceOverrideSeconds?: number;
  readonly order?: TerminationOrder;
  readonly signal?: AbortSignal;
}

type KillDeps = Pick<RuntimeDeps, 'runtime' | 'recorder' | 'observer' | 'clock' | 'log'>;

interface RunningHook {
  readonly ended: Promise<void>;
  readonly stop: AbortController;
}

export class PodKiller {
  readonly #deps: KillDeps;
  /** preStop hooks by container id: a kill that is started again with less grace joins the hook, it does not repeat it. */
  readonly #hooks = new Map<string, RunningHook>();

  constructor(deps: KillDeps) {
    this.#deps = deps;
  }

  /**
   * All containers in parallel, then all sandboxes. @throws {AgentError} KILL_POD_FAILED when something may still run,
   * also when `signal` aborts.
   */
  async killPod(input: KillPodInput): Promise<void> {
    const { pod, status, signal } = input;
    const running = status.containers.filter((c) => c.state === 'running' || c.state === 'unknown');
    const order = pod === undefined ? undefined : TerminationOrder.of(pod, new Set(running.map((c) => c.name)));
    const { graceOverrideSeconds } = input;
    await this.killContainers(
      running.map((container) => ({
        pod,
        status,
        container,
        reason: 'other',
        ...(graceOverrideSeconds === undefined ? {} : { graceOverrideSeconds }),
        ...(order === undefined ? {} : { order }),
        signal,
      })),
    );
    await all(
      'stop sandbox',
      status.sandboxes.map((s) => ({ name: s.id, done: this.#deps.runtime.stopPodSandbox(s.id, { signal }) })),
    );
  }

  /** In parallel. @throws {AgentError} KILL_POD_FAILED when all have been tried and one may still run. */
  async killContainers(inputs: readonly KillContainerInput[]): Promise<void> {
    await all(
      'kill container',
      inputs.map((input) => ({ name: input.container.name, done: this.killContainer(input) })),
    );
  }

  /** @throws CriError of StopContainer, or the reason of `signal`: then the container may still run. */
  async killContainer(input: KillContainerInput): Promise<void> {
    const { container, signal } = input;
    const { clock, runtime, recorder } = this.#deps;
    const meta = parseContainerMeta(container.cri.labels, container.cri.annotations);
    const spec = input.pod === undefined ? undefined : findSpec(input.pod, container.name);
    const about = aboutContainer(input.pod, spec, meta);
    recorder.event(about, 'Normal', 'Killing', input.message ?? `Stopping container ${container.name}`);
    const graceSeconds = input.graceOverrideSeconds ?? graceOf(input.pod, spec, meta, input.reason);
    const startMs = clock.monotonicMs();
    const remaining = () => Math.max(0, graceSeconds - Math.trunc((clock.monotonicMs() - startMs) / 1000));
    try {
      const preStop = spec === undefined ? meta.preStop : spec.lifecycle?.preStop;
      if (preStop !== undefined && graceSeconds > 0) {
        const target = hookTarget(preStop, input, spec, meta, about);
        await this.#runPreStop(target, about, graceSeconds * 1000, signal);
      }
      await input.order?.waitForTurn(container.name, remaining() * 1000, clock, signal);
      const ageMs = clock.now() - container.startedAtMs;
      if (ageMs >= 0 && ageMs < SETTLE_MS) await clock.sleep(SETTLE_MS - ageMs, signal);
      signal?.throwIfAborted();
      const stopSeconds = Math.max(MIN_STOP_SECONDS, remaining());
      await runtime.stopContainer(container.id, stopSeconds, signal === undefined ? {} : { signal });
    } catch (err) {
      // Superseded: the next kill joins the hook. Otherwise nobody will.
      if (!signal?.aborted) this.#forgetHook(container.id);
      // The runtime has gone. Sidecars would wait out their grace for what nobody tells of, and the others for them.
      if (isCriError(err, 'UNAVAILABLE')) input.order?.breakOff(err);
      throw err;
    }
    input.order?.terminated(container.name);
    this.#forgetHook(container.id);
  }

  /** Waits for the hook, at most the grace period; a hook still running then is left alone until the container ends. */
  async #runPreStop(target: HookTarget, about: ObjectReference, graceMs: number, signal?: AbortSignal): Promise<void> {
    const hook = this.#hooks.get(target.containerId) ?? this.#startPreStop(target, about);
    const enough = new AbortController();
    const stopWaiting = () => enough.abort();
    signal?.addEventListener('abort', stopWaiting, { once: true });
    if (signal?.aborted) stopWaiting();
    await Promise.race([hook.ended, this.#deps.clock.sleep(graceMs, enough.signal)]);
    stopWaiting();
    signal?.removeEventListener('abort', stopWaiting);
  }

  #startPreStop(target: HookTarget, about: ObjectReference): RunningHook {
    const stop = new AbortController();
    const run = async () => {
      try {
        await runHook(target, this.#deps, stop.signal);
      } catch (err) {
        this.#deps.log.warn({ err, containerId: target.containerId }, 'preStop hook failed');
        this.#deps.recorder.event(about, 'Warning', 'FailedPreStopHook', 'PreStopHook failed');
      }
    };
    const hook = { ended: run(), stop };
    this.#hooks.set(target.containerId, hook);
    return hook;
  }

  #forgetHook(containerId: string): void {
    this.#hooks.get(containerId)?.stop.abort();
    this.#hooks.delete(containerId);
  }
}

/** Seconds: the deletion's, else the pod's with the killing probe's own before it, else the least. */
function graceOf(
  pod: Pod | undefined,
  spec: AnyContainer | undefined,
  meta: ContainerMeta,
  reason: KillReason,
): number {
  if (pod === undefined) return meta.podDeletionGrace ?? meta.podTerminationGrace ?? MIN_STOP_SECONDS;
  const deletionGrace = pod.metadata?.deletionGracePeriodSeconds;
  if (deletionGrace !== undefined) return deletionGrace;
  const podGrace = pod.spec?.terminationGracePeriodSeconds;
  if (podGrace === undefined) return MIN_STOP_SECONDS;
  const probe =
    reason === 'startup-probe' ? spec?.startupProbe : reason === 'liveness-probe' ? spec?.livenessProbe : undefined;
  return probe?.terminationGracePeriodSeconds ?? podGrace;
}

function findSpec(pod: Pod, name: string): AnyContainer | undefined {
  const lists = [pod.spec?.containers, pod.spec?.initContainers, pod.spec?.ephemeralContainers];
  return lists.flatMap((l): readonly AnyContainer[] => l ?? []).find((c) => c.name === name);
}

function aboutContainer(pod: Pod | undefined, spec: AnyContainer | undefined, meta: ContainerMeta): ObjectReference {
  if (pod !== undefined) return podReference(pod, spec);
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    namespace: meta.podNamespace,
    name: meta.podName,
    uid: meta.podUid,
    fieldPath: `spec.containers{${meta.containerName}}`,
  };
}

function hookTarget(
  handler: LifecycleHandler,
  { container, status }: KillContainerInput,
  spec: AnyContainer | undefined,
  meta: ContainerMeta,
  about: ObjectReference,
): HookTarget {
  const { fieldPath: _container, ...aboutPod } = about;
  return {
    handler,
    containerName: container.name,
    containerId: container.id,
    podDescription: `${status.name}_${status.namespace}(${status.uid})`,
    about: aboutPod,
    podIp: status.ips[0] ?? '',
    ports: (spec as Container | undefined)?.ports ?? meta.ports,
  };
}

/** Waits for everything, so that nothing goes on behind the caller's back. */
async function all(what: string, jobs: readonly { name: string; done: Promise<void> }[]): Promise<void> {
  const results = await Promise.allSettled(jobs.map((j) => j.done));
  const failures = results.flatMap((r, i) =>
    r.status === 'rejected' ? [{ text: `${what} ${jobs[i]!.name}: ${errorMessage(r.reason)}`, cause: r.reason }] : [],
  );
  if (failures.length === 0) return;
  throw new AgentError(failures.map((f) => f.text).join('; '), {
    code: 'KILL_POD_FAILED',
    cause: failures[0]!.cause,
    retryable: true,
  });
}
