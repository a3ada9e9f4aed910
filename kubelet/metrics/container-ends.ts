// Ends of containers, each counted once however often a status shows it.
import type { ContainerStatus, Pod, PodStatus } from '../../api/pod.ts';
import type { ContainerKind } from './observer.ts';

export interface ContainerEnd {
  readonly kind: ContainerKind;
  readonly exitCode: number;
  readonly reason: string;
}

/** Of a pod, whose containers may start again for ever; no status shows so many. */
const MAX_KNOWN = 1000;

export class ContainerEnds {
  /** By pod uid: ids of containers whose end is known, those that a status showed last at the end. */
  readonly #known = new Map<string, Set<string>>();
  /** Pods that ran before this process did: what their first status shows has been counted by another one. */
  readonly #adopted = new Set<string>();

  seen({ metadata, status }: Pod): void {
    const uid = metadata?.uid ?? '';
    const isOld = (status?.phase ?? 'Pending') !== 'Pending';
    if (isOld && !this.#known.has(uid)) this.#adopted.add(uid);
  }

  /** Ends that no status before this one showed. */
  status(uid: string, status: PodStatus): ContainerEnd[] {
    let known = this.#known.get(uid);
    if (known === undefined) {
      known = new Set();
      this.#known.set(uid, known);
    }
    const ends = [
      ...newEnds(known, 'init_container', status.initContainerStatuses),
      ...newEnds(known, 'container', status.containerStatuses),
      ...newEnds(known, 'ephemeral_container', status.ephemeralContainerStatuses),
    ];
    for (const id of known) {
      if (known.size <= MAX_KNOWN) break;
      known.delete(id);
    }
    return this.#adopted.delete(uid) ? [] : ends;
  }

  forget(uid: string): void {
    this.#known.delete(uid);
    this.#adopted.delete(uid);
  }
}

function newEnds(known: Set<string>, kind: ContainerKind, statuses: readonly ContainerStatus[] = []): ContainerEnd[] {
  return statuses.flatMap(({ state, lastState }) =>
    [lastState?.terminated, state?.terminated].flatMap((end) => {
      const id = end?.containerID ?? '';
      if (end === undefined || id === '') return [];
      const isKnown = known.delete(id);
      known.add(id);
      if (isKnown) return [];
      return { kind, exitCode: end.exitCode, reason: end.reason ?? '' };
    }),
  );
}
