// The pods that should be on this node, by uid and by full name, whatever source they come from. Mirror pods, the API's
// copies of static pods, are kept apart: they are never run. After pkg/kubelet/pod/pod_manager.go.
import { isMirrorPod, type Pod, podFullName } from '../api/pod.ts';

export const SOURCE_ANNOTATION = 'kubernetes.io/config.source';
export const SEEN_ANNOTATION = 'kubernetes.io/config.seen';

export class PodManager {
  readonly #pods = new Map<string, Pod>();
  readonly #byFullName = new Map<string, Pod>();
  readonly #mirrors = new Map<string, Pod>();

  set(pod: Pod): void {
    if (isMirrorPod(pod)) {
      this.#mirrors.set(podFullName(pod), pod);
      return;
    }
    this.#pods.set(pod.metadata?.uid ?? '', pod);
    this.#byFullName.set(podFullName(pod), pod);
  }

  remove(pod: Pod): void {
    const uid = pod.metadata?.uid ?? '';
    const name = podFullName(pod);
    if (isMirrorPod(pod)) {
      if (this.#mirrors.get(name)?.metadata?.uid === uid) this.#mirrors.delete(name);
      return;
    }
    this.#pods.delete(uid);
    // A namesake may have come before this one was reported gone.
    if (this.#byFullName.get(name)?.metadata?.uid === uid) this.#byFullName.delete(name);
  }

  get(uid: string): Pod | undefined {
    return this.#pods.get(uid);
  }

  byName(namespace: string, name: string): Pod | undefined {
    return this.#byFullName.get(`${name}_${namespace}`);
  }

  /** Without mirror pods. */
  list(): Pod[] {
    return [...this.#pods.values()];
  }

  /** What the API has of the pod: of a static pod its mirror, undefined while there is none. */
  apiObject(uid: string): Pod | undefined {
    const pod = this.#pods.get(uid);
    return pod !== undefined && isStaticPod(pod) ? this.mirrorOf(pod) : pod;
  }

  mirrors(): Pod[] {
    return [...this.#mirrors.values()];
  }

  mirrorOf(staticPod: Pod): Pod | undefined {
    return this.#mirrors.get(podFullName(staticPod));
  }
}

export function isStaticPod(pod: Pod): boolean {
  const source = pod.metadata?.annotations?.[SOURCE_ANNOTATION];
  return source !== undefined && source !== 'api';
}

/** system-cluster-critical and above. */
const CRITICAL_PRIORITY = 2_000_000_000;

/** A pod that the node or the cluster cannot do without: it is not evicted, and others make room for it. */
export function isCriticalPod(pod: Pod): boolean {
  return isStaticPod(pod) || isMirrorPod(pod) || (pod.spec?.priority ?? 0) >= CRITICAL_PRIORITY;
}
