// What the node keeps for itself and what that leaves to all pods together, as limits of cgroups. Pure. After
// pkg/kubelet/cm/node_container_manager_linux.go.
import { parseQuantity, type Quantity, quantityMilliValue, quantityValue } from '../../api/quantity.ts';
import type { CgroupLimits } from '../../host/cgroup.ts';
import { cpuShares } from './cpu-shares.ts';

type Amounts = Readonly<Record<string, string>>;

export interface AllocatableSettings {
  /** Quantities of cpu, memory, ephemeral-storage and pid. */
  readonly systemReserved: Amounts;
  readonly kubeReserved: Amounts;
  /** enforceNodeAllocatable: `pods`, `system-reserved`, `kube-reserved`, `…-compressible`, `none`. */
  readonly enforce: ReadonlySet<string>;
  /** In the words of the cgroup driver; '' where there is none. */
  readonly systemReservedCgroup: string;
  readonly kubeReservedCgroup: string;
}

export interface NodeCapacity {
  readonly cpuMillis: number;
  readonly memoryBytes: number;
  /** As many processes as the kernel takes. */
  readonly pids: number;
  /** Bytes by page size as the kernel names it: `2MB`. */
  readonly hugetlbBytes: Readonly<Record<string, number>>;
  /** Where no pod has CPUs of its own: systemd takes away what it was not told of. '' leaves them alone. */
  readonly cpus: string;
}

/**
 * Of the cgroup of all pods. What eviction wants free is inside: the kernel would else kill before anything is evicted.
 * Huge pages cannot be reserved.
 */
export function allPodsLimits(capacity: NodeCapacity, settings: AllocatableSettings): CgroupLimits {
  const reserved = (name: string) => {
    if (!settings.enforce.has('pods')) return [];
    return [settings.systemReserved[name], settings.kubeReserved[name]].flatMap((text) =>
      text === undefined ? [] : [parseQuantity(text)],
    );
  };
  const left = (whole: number, name: string, value: (q: Quantity) => number) =>
    Math.max(
      0,
      reserved(name).reduce((rest, q) => rest - value(q), whole),
    );
  return {
    memoryBytes: left(capacity.memoryBytes, 'memory', quantityValue),
    cpuShares: cpuShares(left(capacity.cpuMillis, 'cpu', quantityMilliValue)),
    pids: left(capacity.pids, 'pid', quantityValue),
    hugetlbBytes: capacity.hugetlbBytes,
    ...(capacity.cpus === '' ? {} : { cpus: capacity.cpus }),
  };
}

export interface ReservedCgroup {
  /** `system` or `kube`. */
  readonly kind: string;
  /** As configured. */
  readonly cgroup: string;
  readonly limits: CgroupLimits;
}

/** Cgroups of the operator's that are held to what is reserved for them; only their CPU where that was asked for. */
export function reservedCgroups(
  settings: AllocatableSettings,
  opts: { readonly hugepageSizes: readonly string[]; readonly keepsMemory: boolean },
): ReservedCgroup[] {
  const { enforce, systemReserved, kubeReserved, systemReservedCgroup, kubeReservedCgroup } = settings;
  const all = [
    { kind: 'system', cgroup: systemReservedCgroup, amounts: systemReserved },
    { kind: 'kube', cgroup: kubeReservedCgroup, amounts: kubeReserved },
  ];
  return all.flatMap(({ kind, cgroup, amounts }) => {
    const compressible = enforce.has(`${kind}-reserved-compressible`);
    if (!compressible && !enforce.has(`${kind}-reserved`)) return [];
    return [{ kind, cgroup, limits: compressible ? cpuOf(amounts) : limitsOf(amounts, opts) }];
  });
}

function cpuOf({ cpu }: Amounts): CgroupLimits {
  return cpu === undefined ? {} : { cpuShares: cpuShares(quantityMilliValue(parseQuantity(cpu))) };
}

/** Who is not given huge pages may use none. With the gate MemoryQoS what is reserved is kept as well. */
function limitsOf(
  amounts: Amounts,
  { hugepageSizes, keepsMemory }: { readonly hugepageSizes: readonly string[]; readonly keepsMemory: boolean },
): CgroupLimits {
  const { memory, pid } = amounts;
  const memoryBytes = memory === undefined ? undefined : quantityValue(parseQuantity(memory));
  return {
    ...cpuOf(amounts),
    ...(memoryBytes === undefined ? {} : { memoryBytes }),
    ...(memoryBytes !== undefined && keepsMemory ? { memoryMinBytes: memoryBytes } : {}),
    ...(pid === undefined ? {} : { pids: quantityValue(parseQuantity(pid)) }),
    hugetlbBytes: Object.fromEntries(hugepageSizes.map((size) => [size, 0])),
  };
}
