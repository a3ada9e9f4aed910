// What the agent does about each change of the desired pods: it is remembered, admitted, and handed to the pod's worker.
// After pkg/kubelet/kubelet.go HandlePodAdditions, -Updates, -Removes, -Reconcile.
import type { Node } from '../api/kinds.ts';
import { isMirrorPod, isTerminalPhase, type Pod, podFullName } from '../api/pod.ts';
import { claimStatusesDiffer } from '../api/resource-claims.ts';
import type { Logger } from '../core/log.ts';
import { withoutUndefined } from '../core/without-undefined.ts';
import {
  type AdmissionInput,
  admit,
  EARLY_HANDLERS,
  isActive,
  LATE_HANDLERS,
  type Rejection,
  rejectedStatus,
} from './admission.ts';
import { AdmissionTurns } from './managers/admission-turns.ts';
import { withHeldAmounts } from './managers/held-amounts.ts';
import type { PodDispatchDeps } from './pod-dispatch-deps.ts';
import { isStaticPod } from './pod-manager.ts';
import type { PodChange, PodSourceHandler } from './pod-source.ts';
import { PREEMPTION_MESSAGE, preemptedStatus } from './preemption.ts';
import { type ResizeRefusal, refuseResize } from './resize/resize-admission.ts';
import { ResizeQueue } from './resize/resize-queue.ts';
import { swapResizeRefusal } from './resources/swap.ts';
import { podReference } from './runtime/runtime-deps.ts';
import { readinessGatesDiffer } from './status/conditions.ts';

/** Upstream counts what it refuses among the pods that only the runtime knows. */
const STOP_GRACE_SECONDS = 1;

interface HeldPod {
  readonly pod: Pod;
  /** It counts among the pods that hold resources: room is being made for it. */
  readonly hasPlace: boolean;
  readonly isBlocked: () => boolean;
  /** The node as it was read for this pod alone. */
  readonly freshNode?: Node;
}

export class PodDispatch implements PodSourceHandler, Disposable {
  readonly #deps: PodDispatchDeps;
  readonly #log: Logger;
  /** Refused pods: they have no worker until their object is to be deleted. */
  readonly #rejected = new Set<string>();
  /** Pods by uid, in the order of their arrival, that cannot be asked about yet. They have no worker. */
  readonly #held = new Map<string, HeldPod>();
  readonly #resizes: ResizeQueue;
  readonly #turns: AdmissionTurns;
  /** Its worker is about to be told of it anyway. */
  #updating: string | undefined;

  constructor(deps: PodDispatchDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'pods' });
    this.#resizes = new ResizeQueue({
      getPod: (uid) => (deps.workers.isTerminationRequested(uid) ? undefined : deps.pods.get(uid)),
      refuse: (pod) => this.#refuseResize(pod, deps.allocations.apply(pod)),
      allPodsKnown: deps.allPodsKnown,
      onChanged: (uid) => {
        if (uid !== this.#updating) deps.workers.poke(uid);
      },
      allocations: deps.allocations,
      conditions: deps.resizeConditions,
      ...withoutUndefined({ resizes: deps.resizes }),
      clock: deps.clock,
      log: deps.log,
    });
    this.#turns = new AdmissionTurns((uid) => this.#takeTurn(uid), { log: this.#log });
  }

  [Symbol.dispose](): void {
    this.#resizes[Symbol.dispose]();
  }

  /** Something may have made room for resizes that wait. */
  retryResizes(): void {
    this.#resizes.retry('pods_added');
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
    const happened = (op: PodChange['op']) => changes.some((c) => c.op === op);
    if (happened('REMOVE')) this.#resizes.retry('pods_removed');
    else if (happened('ADD')) this.#resizes.retry('pods_added');
    else if (changes.some((c) => c.op !== 'RECONCILE')) this.#resizes.retry('pod_updated');
  }

  #refuseResize(pod: Pod, allocated: Pod): ResizeRefusal | undefined {
    const { resizeRefusal, swap, getNode } = this.#deps;
    return (
      resizeRefusal?.(pod, allocated) ??
      refuseResize(this.#admissionInput(pod, getNode(), this.#placedPods())) ??
      swapResizeRefusal(pod, allocated, swap)
    );
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
    this.#deps.observer?.podSeen(pod);
    this.#deps.pods.set(pod);
    if (isStaticPod(pod) && this.#predecessorRuns(pod)) this.#hold(pod, false, () => this.#predecessorRuns(pod));
    else this.start(pod);
  }

  #hold(pod: Pod, hasPlace: boolean, isBlocked: () => boolean, freshNode?: Node): void {
    this.#held.set(pod.metadata?.uid ?? '', { pod, hasPlace, isBlocked, ...withoutUndefined({ freshNode }) });
  }

  /** A worker has stopped its pod: those that waited for it may start. */
  podEnded(): void {
    this.#releaseEnded();
    for (const [uid, { pod, isBlocked }] of this.#held) {
      if (isBlocked()) continue;
      this.#held.delete(uid);
      this.start(pod);
    }
    this.#resizes.retry('pods_removed');
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

  /** Hands the pod to its worker unless it may not run here. `freshNode` was read for this pod alone. */
  start(pod: Pod, freshNode?: Node): void {
    const { workers, allocations } = this.#deps;
    allocations.restore(pod);
    const isEnding =
      workers.isTerminationRequested(pod.metadata?.uid ?? '') ||
      pod.metadata?.deletionTimestamp !== undefined ||
      isTerminalPhase(pod.status?.phase);
    if (isEnding) {
      workers.update({ type: 'create', pod });
      return;
    }
    const input = this.#askedInput(pod, freshNode);
    const early = admit(input, EARLY_HANDLERS);
    const mustAllocate = early === undefined && this.#deps.resources?.concerns(input.pod) === true;
    if (this.#turns.isBusy || mustAllocate) this.#queue(pod, freshNode);
    else this.#settle(pod, early ?? admit(input, LATE_HANDLERS), freshNode);
  }

  /** Something has to be allocated for the pod, or for one that came before it. */
  #queue(pod: Pod, freshNode: Node | undefined): void {
    this.#hold(pod, false, () => true, freshNode);
    const takeTurn = () => this.#turns.add(pod.metadata?.uid ?? '');
    const awaited = this.#deps.resources?.awaited?.(pod); // others have their turns meanwhile
    void (awaited === undefined ? takeTurn() : awaited.then(takeTurn)); // never rejects
  }

  /** What is allocated is on disk before the pod's worker begins. Nothing stays allocated for a pod that is refused. */
  async #takeTurn(uid: string): Promise<void> {
    const { resources } = this.#deps;
    const held = this.#held.get(uid);
    if (held === undefined) return; // ended before its turn came
    this.#releaseEnded();
    const { pod, ...input } = this.#askedInput(held.pod, held.freshNode);
    let rejection = admit({ pod, ...input }, EARLY_HANDLERS);
    if (rejection === undefined && resources?.concerns(pod) === true) rejection = await resources.admit(pod);
    const now = this.#held.get(uid);
    if (now !== undefined) {
      this.#held.delete(uid);
      rejection ??= admit(this.#askedInput(now.pod, now.freshNode), LATE_HANDLERS);
    }
    if (now !== undefined && rejection === undefined) {
      this.#allocate(held.pod); // what was allocated for it, whatever it has come to ask for meanwhile
    } else if (this.#deps.nothingRuns(uid)) resources?.forget(uid); // else it has them until it has been stopped
    if (now !== undefined) this.#settle(now.pod, rejection, now.freshNode);
    this.#resizes.retry('pods_added');
  }

  /** Pods that are over have nothing for themselves any more. */
  #releaseEnded(): void {
    const { resources, workers, allPodsKnown } = this.#deps;
    if (resources === undefined || !allPodsKnown()) return; // one that was not seen yet may run all the same
    const running = workers.uids().filter((uid) => workers.mayBeRunning(uid));
    resources.retain(new Set([...this.#held.keys(), ...running]));
  }

  #settle(pod: Pod, rejection: Rejection | undefined, freshNode: Node | undefined): void {
    if (rejection === undefined) {
      this.#allocate(pod);
      this.#deps.workers.update({ type: 'create', pod });
    } else if (rejection.victims !== undefined) this.#preempt(pod, rejection.victims, rejection.reason);
    else if (rejection.onlyNodeLabels === true && freshNode === undefined) this.#askAgain(pod, rejection);
    else this.#refuse(pod, rejection);
  }

  /** After a restart of the agent the pod has its resources already, and may have asked for others since. */
  #askedInput(pod: Pod, freshNode: Node | undefined): AdmissionInput {
    return this.#admissionInput(this.#deps.allocations.apply(pod), freshNode ?? this.#deps.getNode());
  }

  #allocate(pod: Pod): void {
    const { allocations } = this.#deps;
    if (!allocations.isAllocated(pod.metadata?.uid ?? '')) allocations.allocate(pod);
    this.#resizes.consider(pod);
  }

  /** Pods that hold resources here, with what they were given. */
  activePods(): Pod[] {
    const { pods, statuses, workers, allocations } = this.#deps;
    const active = pods.list().filter((pod) => {
      const uid = pod.metadata?.uid ?? '';
      return this.#held.get(uid)?.hasPlace === true || isActive(pod, statuses.get(uid), workers.state(uid)?.phase);
    });
    return active.map((pod) => allocations.apply(pod));
  }

  /** With those that have not been asked about yet: after a restart of the agent they may run already. */
  #placedPods(): Pod[] {
    const waiting = [...this.#held.values()].filter(({ hasPlace }) => !hasPlace);
    return [...this.activePods(), ...waiting.map(({ pod }) => this.#deps.allocations.apply(pod))];
  }

  #admissionInput(pod: Pod, node: Node | undefined, placed = this.activePods()): AdmissionInput {
    const { allowedUnsafeSysctls, appArmorEnabled, declaredFeatures, pressure, shuttingDown, resources } = this.#deps;
    return {
      pod,
      activePods: placed.filter((other) => other.metadata?.uid !== pod.metadata?.uid),
      node: resources === undefined ? node : withHeldAmounts(node, resources.heldAmounts()),
      pressure: pressure?.() ?? [],
      shuttingDown: shuttingDown?.() ?? false,
      allowedUnsafeSysctls,
      ...withoutUndefined({ appArmorEnabled, declaredFeatures }),
    };
  }

  /** One that runs, of which an agent that was started anew thinks otherwise than the one before, is stopped. */
  #refuse(pod: Pod, rejection: Rejection): void {
    const { statuses, events, workers, nothingRuns, clock } = this.#deps;
    const { reason, message } = rejection;
    const uid = pod.metadata?.uid ?? '';
    const status = rejectedStatus(pod, rejection, clock.now());
    this.#log.info({ pod: `${pod.metadata?.namespace}/${pod.metadata?.name}`, reason, message }, 'pod refused');
    this.#deps.observer?.podRejected(reason);
    events.event(podReference(pod), 'Warning', reason, message);
    if (nothingRuns(uid)) this.#rejected.add(uid);
    else workers.update({ type: 'kill', pod: { ...pod, status }, kill: { graceOverrideSeconds: STOP_GRACE_SECONDS } });
    statuses.set(pod, status); // last: while it is being stopped nobody is told that it is over
  }

  /** Ends `victims` and keeps their place for the pod meanwhile; `reason` is what it would be refused for. */
  #preempt(pod: Pod, victims: readonly Pod[], reason: string): void {
    const { workers, events, clock } = this.#deps;
    const uids = victims.map((v) => v.metadata?.uid ?? '');
    this.#hold(pod, true, () => uids.some((uid) => workers.mayBeRunning(uid)));
    for (const victim of victims) {
      const names = [pod, victim].map((p) => `${p.metadata?.namespace}/${p.metadata?.name}`);
      this.#log.info({ pod: names[0], victim: names[1] }, 'ending a pod to make room for a critical one');
      events.event(podReference(victim), 'Warning', 'Preempting', PREEMPTION_MESSAGE);
      this.#deps.observer?.podPreempted(reason.replace(/^OutOf/, ''));
      const statusOverride = preemptedStatus(victim, clock.now());
      workers.update({ type: 'kill', pod: victim, kill: { evict: true, statusOverride } });
    }
  }

  /** Somebody may have given the node a label a moment ago, and the pod for it; the news of the label may be under way. */
  #askAgain(pod: Pod, rejection: Rejection): void {
    const { readNode } = this.#deps;
    if (readNode === undefined) {
      this.#refuse(pod, rejection);
      return;
    }
    const uid = pod.metadata?.uid ?? '';
    this.#hold(pod, false, () => true);
    const answered = (node: Node | undefined) => {
      const held = this.#held.get(uid);
      if (held === undefined) return; // ended meanwhile
      this.#held.delete(uid);
      if (node === undefined) this.#refuse(held.pod, rejection);
      else this.start(held.pod, node);
      this.#resizes.retry('pods_added');
    };
    void readNode().then(answered, () => answered(undefined));
  }

  #update(pod: Pod): void {
    const { pods, workers, statuses } = this.#deps;
    const uid = pod.metadata?.uid ?? '';
    const before = pods.get(uid);
    if (before !== undefined) this.#deps.resizes?.resourcesAsked(before, pod);
    pods.set(pod);
    statuses.podChanged(pod);
    const held = this.#held.get(uid);
    if (held !== undefined && pod.metadata?.deletionTimestamp === undefined) {
      this.#held.set(uid, { ...held, pod });
      return;
    }
    this.#held.delete(uid);
    if (!this.#rejected.has(uid)) {
      this.#considerResize(pod); // before its worker looks at it
      workers.update({ type: 'update', pod });
      return;
    }
    if (pod.metadata?.deletionTimestamp === undefined) return;
    // Nothing of it ever ran, but its last status and its delete go the way of every other pod.
    const status = statuses.get(uid) ?? pod.status ?? {};
    workers.update({ type: 'kill', pod: { ...pod, status } });
  }

  #considerResize(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    if (pod.metadata?.deletionTimestamp !== undefined || this.#deps.workers.isTerminationRequested(uid)) return;
    this.#updating = uid;
    if (this.#resizes.consider(pod)) this.#resizes.retry('pod_resized');
    this.#updating = undefined;
  }

  #reconcile(pod: Pod): void {
    const { pods, workers, statuses } = this.#deps;
    const uid = pod.metadata?.uid ?? '';
    const hasNewClaims = claimStatusesDiffer(pods.get(uid), pod);
    pods.set(pod);
    statuses.podChanged(pod);
    const held = this.#held.get(uid);
    if (held !== undefined) this.#held.set(uid, { ...held, pod });
    // Not a mere poke: the worker's own copy of the pod lacks what was just written.
    const hasWorker = workers.state(uid) !== undefined;
    if (hasWorker && (hasNewClaims || readinessGatesDiffer(pod))) workers.update({ type: 'sync', pod });
  }

  #remove(pod: Pod): void {
    const { pods, workers, allocations, resizeConditions, observer, requestHousekeeping } = this.#deps;
    const uid = pod.metadata?.uid ?? '';
    pods.remove(pod);
    allocations.forget(uid);
    resizeConditions.forget(uid);
    const neverRan = this.#held.delete(uid) || this.#rejected.delete(uid);
    if (neverRan) observer?.podGone(uid);
    else workers.update({ type: 'kill', pod }); // whose end is told
    requestHousekeeping();
  }
}
