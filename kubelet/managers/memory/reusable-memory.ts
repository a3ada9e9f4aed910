// Memory that init containers leave to those after them in the same pod. Pods are admitted one at a time, so that of one
// is kept alone. After pkg/kubelet/cm/memorymanager/policy_static.go updatePodReusableMemory, updateInitContainersMemoryBlocks.
import type { Container, Pod } from '../../../api/pod.ts';
import { isPlainInit } from '../exclusive-requests.ts';
import type { NumaMask } from '../hint-provider.ts';
import { maskOf } from '../numa-mask.ts';
import type { Block } from './memory-state.ts';

export class ReusableMemory {
  #podUid = '';
  /** Bytes, by nodes and type. */
  #bytes = new Map<string, number>();

  of(podUid: string, mask: NumaMask, type: string): number {
    return podUid === this.#podUid ? (this.#bytes.get(`${mask} ${type}`) ?? 0) : 0;
  }

  /** A container of the pod was given `blocks`; an init container that ends leaves them. */
  used(podUid: string, blocks: readonly Block[], isInit: boolean): void {
    if (podUid !== this.#podUid) this.#bytes = new Map();
    this.#podUid = podUid;
    for (const { numaAffinity, type, size } of blocks) {
      const key = `${maskOf(numaAffinity)} ${type}`;
      const before = this.#bytes.get(key) ?? 0;
      this.#bytes.set(key, isInit ? Math.max(before, size) : Math.max(0, before - size));
    }
  }
}

/** What the pod's init containers have when `container` uses some of it again: nothing is counted twice. */
export function withoutReused(
  pod: Pod,
  container: Container,
  entries: ReadonlyMap<string, readonly Block[]>,
  blocks: readonly Block[],
): ReadonlyMap<string, readonly Block[]> {
  const next = new Map(entries);
  for (const block of blocks) {
    let left = block.size;
    for (const init of pod.spec?.initContainers ?? []) {
      if (init.name === container.name) break;
      if (!isPlainInit(pod, init)) continue;
      const own = (next.get(init.name) ?? []).map((b) => {
        if (b.type !== block.type || maskOf(b.numaAffinity) !== maskOf(block.numaAffinity)) return b;
        const part = Math.min(left, b.size);
        left -= part;
        return { ...b, size: b.size - part };
      });
      if (next.has(init.name)) next.set(init.name, own);
    }
  }
  return next;
}
