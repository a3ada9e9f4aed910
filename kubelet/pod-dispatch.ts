// What the agent does about each change of the desired pods: it is remembered, admitted, and handed to the pod's worker.
// After pkg/kubelet/kubelet.go HandlePodAdditions, -Updates, -Removes, -Reconcile.
import type { Node } from '../api/kinds.ts';
import { isTerminalPhase, type Pod, podFullName } from '../api/pod.ts';
import type { EventRecorder } from '../client/event-recorder.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { admit, isActive, rejectedStatus } from './admission.ts';
import { isMirrorPod, isStaticPod, type PodManager } from './pod-manager.ts';
import type { PodChange, PodSourceHandler } from './pod-source.ts';
import type { PodWorkers } from './pod-worker.ts';
import { podReference } from './runtime/runtime-deps.ts';
import { readyVerdict } from './status/conditions.ts';
import type { StatusWriter } from './status/status-writer.ts';

export interface PodDispatchDeps {
  readonly pods: PodManager;
  readonly workers: Pick<PodWorkers, 'update' | 'poke' | 'isTerminationRequested' | 'state' | 'uids'>;
  readonly statuses: Pick<StatusWriter, 'get' | 'set' | 'podChanged'>;
  readonly getNode: () => Node | undefined;
  readonly allowedUnsafeSysctls: readonly string[];
  readonly appArmorEnabled?: boolean;
  readonly events: EventRecorder;
  /** Something ended or vanished: there may be something to clean up. */
  readonly requestHousekeeping: () => void;
  readonly clock: Clock;
  readonly log: Logger;
}

export class PodDispatch implements PodSourceHandler {
  readonly #deps: PodDispatchDeps;
  readonly #log: Logger;
  /** Refused pods: they have no worker until their object is to be deleted. */
  readonly #rejected = new Set<string>();
  /** Static pods by full name that wait until the one before them, of the same name, has ended. */
  readonly #waiting = new Map<string, Pod>();

  constructor(deps: PodDispatchDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'pods' });
  }

  handle(changes: readonly PodChange[]): void {
    for (const { op, pod } of changes) {
      this.#log.debug({ op, pod: `${pod.metadata?.namespace}/${pod.metadata?.name}` }, 'pod changed');
      if (isMirrorPod(pod)) this.#handleMirror(op === 'REMOVE', pod);
      else if (op === 'REMOVE') this.#remove(pod);
      else if (op === 'ADD') this.#add(pod);
      else if (op === 'RECONCILE') this.#reconcile(pod);
      else this.#update(pod);
    }
  }

  /** Pods that were refused and whose objects are still there. */
  isRejected(uid: string): boolean {
    return this.#rejected.has(uid);
  }

  /** A mirror is the API's picture of a static pod: its worker looks whether the picture is still right. */
  #handleMirror(gone: boolean, mirror: Pod): void {
    const { pods, workers, statuses } = this.#deps;
    if (gone) pods.remove(mirror);
    else pods.set(mirror);
    const original = pods.byName(mirror.metadata?.namespace ?? '', mirror.metadata?.name ?? '');
    if (original === undefined) return;
    const uid = original.metadata?.uid ?? '';
    if (!gone) statuses.podChanged(mirror, uid);
    workers.poke(uid);
  }

  #add(pod: Pod): void {
    const { pods, workers } = this.#deps;
    const uid = pod.metadata?.uid ?? '';
    pods.set(pod);
    if (isStaticPod(pod) && this.#predecessorRuns(pod)) {
      this.#waiting.set(podFullName(pod), pod);
      return;
    }
    if (!workers.isTerminationRequested(uid) && !isTerminalPhase(pod.status?.phase) && !this.#admit(pod)) return;
    workers.update({ type: 'create', pod });
  }

  /** A worker reached its end: a static pod that waited for it may start. */
  workerFinished(): void {
    for (const [name, pod] of this.#waiting) {
      if (this.#predecessorRuns(pod)) continue;
      this.#waiting.delete(name);
      this.#add(pod);
    }
  }

  /** A changed manifest is another pod with the same name: host ports and the like belong to the old one still. */
  #predecessorRuns(pod: Pod): boolean {
    const { workers } = this.#deps;
    return workers.uids().some((uid) => {
      const state = workers.state(uid);
      if (state === undefined || uid === pod.metadata?.uid || state.phase === 'finished') return false;
      return `${state.identity.name}_${state.identity.namespace}` === podFullName(pod);
    });
  }

  /** False when the pod was refused, which it then has been told. A pod that is being deleted is not asked again. */
  #admit(pod: Pod): boolean {
    const { pods, statuses, events, getNode, allowedUnsafeSysctls, appArmorEnabled, clock } = this.#deps;
    if (pod.metadata?.deletionTimestamp !== undefined) return true;
    const uid = pod.metadata?.uid ?? '';
    const activePods = pods.list().filter((p) => {
      const other = p.metadata?.uid ?? '';
      return other !== uid && this.#isAdmitted(other) && isActive(p, statuses.get(other));
    });
    const rejection = admit({
      pod,
      activePods,
      node: getNode(),
      allowedUnsafeSysctls,
      ...(appArmorEnabled === undefined ? {} : { appArmorEnabled }),
    });
    if (rejection === undefined) return true;
    this.#log.info({ pod: `${pod.metadata?.namespace}/${pod.metadata?.name}`, ...rejection }, 'pod refused');
    this.#rejected.add(uid);
    events.event(podReference(pod), 'Warning', rejection.reason, rejection.message);
    statuses.set(pod, rejectedStatus(pod, rejection, clock.now()));
    return false;
  }

  #isAdmitted(uid: string): boolean {
    const phase = this.#deps.workers.state(uid)?.phase;
    return phase === 'sync' || phase === 'terminating';
  }

  #update(pod: Pod): void {
    const { pods, workers, statuses } = this.#deps;
    const uid = pod.metadata?.uid ?? '';
    pods.set(pod);
    statuses.podChanged(pod);
    if (!this.#rejected.has(uid)) {
      workers.update({ type: 'update', pod });
      return;
    }
    if (pod.metadata?.deletionTimestamp === undefined) return;
    // Nothing of it ever ran, but its last status and its delete go the way of every other pod.
    const status = statuses.get(uid) ?? pod.status ?? {};
    workers.update({ type: 'kill', pod: { ...pod, status } });
  }

  #reconcile(pod: Pod): void {
    const { pods, workers, statuses } = this.#deps;
    pods.set(pod);
    statuses.podChanged(pod);
    // Not a mere poke: the worker's own copy of the pod lacks the condition that was just written.
    if (readinessGatesDiffer(pod)) workers.update({ type: 'sync', pod });
  }

  #remove(pod: Pod): void {
    const { pods, workers, requestHousekeeping } = this.#deps;
    const uid = pod.metadata?.uid ?? '';
    pods.remove(pod);
    if (this.#waiting.get(podFullName(pod))?.metadata?.uid === uid) this.#waiting.delete(podFullName(pod));
    else if (!this.#rejected.delete(uid)) workers.update({ type: 'kill', pod });
    requestHousekeeping();
  }
}

/** Somebody wrote a condition that a readiness gate waits for. */
function readinessGatesDiffer(pod: Pod): boolean {
  if ((pod.spec?.readinessGates?.length ?? 0) === 0) return false;
  const conditions = pod.status?.conditions ?? [];
  const containersReady = conditions.find((c) => c.type === 'ContainersReady');
  const ready = conditions.find((c) => c.type === 'Ready');
  const containersVerdict = {
    status: containersReady?.status === 'True' ? ('True' as const) : ('False' as const),
    ...(containersReady?.message === undefined ? {} : { message: containersReady.message }),
  };
  const wanted = readyVerdict(pod, containersVerdict, conditions);
  return ready?.status !== wanted.status || (ready?.message ?? '') !== (wanted.message ?? '');
}
