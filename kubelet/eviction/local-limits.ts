// Pods that use more of the node's disk than they may: an emptyDir with a size limit, the pod's containers together, or
// one of them. Pure. After pkg/kubelet/eviction/eviction_manager.go localStorageEviction.
import type { Pod } from '../../api/pod.ts';
import { amountsOf, podLimits } from '../../api/pod-resources.ts';
import { formatQuantity, parseQuantity, quantityValue } from '../../api/quantity.ts';
import type { PodStorage } from '../stats/usage.ts';

export interface LimitExceeded {
  /** Label of the metric kubelet_evictions. */
  readonly signal: 'emptydirfs.limit' | 'ephemeralpodfs.limit' | 'ephemeralcontainerfs.limit';
  /** With the blank at the end that upstream's has. */
  readonly message: string;
}

const STORAGE = 'ephemeral-storage';

/** The first limit that the pod is beyond. @throws {ParseError} for amounts that cannot be read. */
export function exceededLimit(pod: Pod, storage: PodStorage, hasImageFs: boolean): LimitExceeded | undefined {
  return emptyDirLimit(pod, storage) ?? podLimit(pod, storage) ?? containerLimit(pod, storage, hasImageFs);
}

/** The pod has a limit that `exceededLimit` could find it beyond: only then need its use be measured. */
export function hasLocalLimit(pod: Pod): boolean {
  const { spec } = pod;
  if (spec?.volumes?.some((v) => v.emptyDir?.sizeLimit !== undefined)) return true;
  if (spec?.resources?.limits?.[STORAGE] !== undefined) return true;
  const all = [...(spec?.containers ?? []), ...(spec?.initContainers ?? [])];
  return all.some((c) => c.resources?.limits?.[STORAGE] !== undefined);
}

function emptyDirLimit(pod: Pod, storage: PodStorage): LimitExceeded | undefined {
  for (const { name, emptyDir } of pod.spec?.volumes ?? []) {
    const used = storage.volumes.get(name)?.usedBytes;
    if (emptyDir?.sizeLimit === undefined || used === undefined) continue;
    const limit = parseQuantity(emptyDir.sizeLimit);
    if (limit.nanos <= 0n || used <= quantityValue(limit)) continue;
    return {
      signal: 'emptydirfs.limit',
      message: `Usage of EmptyDir volume "${name}" exceeds the limit "${formatQuantity(limit)}". `,
    };
  }
  return undefined;
}

function podLimit(pod: Pod, storage: PodStorage): LimitExceeded | undefined {
  const limit = podLimits(pod).get(STORAGE);
  if (limit === undefined || storage.total.usedBytes <= quantityValue(limit)) return undefined;
  return {
    signal: 'ephemeralpodfs.limit',
    message: `Pod ephemeral local storage usage exceeds the total limit of containers ${formatQuantity(limit)}. `,
  };
}

/** Writable layers on a disk of their own are not what the container's limit is about. */
function containerLimit(pod: Pod, storage: PodStorage, hasImageFs: boolean): LimitExceeded | undefined {
  for (const { name, resources } of pod.spec?.containers ?? []) {
    const limit = amountsOf(resources, 'limits').get(STORAGE);
    if (limit === undefined || limit.nanos <= 0n) continue;
    const layer = hasImageFs ? 0 : (storage.rootfs.get(name)?.usedBytes ?? 0);
    const used = layer + (storage.logs.get(name)?.usedBytes ?? 0);
    if (used <= quantityValue(limit)) continue;
    return {
      signal: 'ephemeralcontainerfs.limit',
      message: `Container ${name} exceeded its local ephemeral storage limit "${formatQuantity(limit)}". `,
    };
  }
  return undefined;
}
