// From the settled KubeletConfiguration to what the node keeps for itself, and when it ends pods.
import { formatQuantity, parseQuantity } from '../../api/quantity.ts';
import type { EvictionSettings } from '../../kubelet/eviction/thresholds.ts';
import type { AllocatableSettings } from '../../kubelet/resources/node-allocatable.ts';
import { EVICTION_HARD } from './kubelet-fields.ts';
import type { KubeletSettings } from './rules.ts';

type Amounts = Readonly<Record<string, string>>;

/** A file that names some thresholds switches the others off, unless it asks for the defaults to be kept. */
export function evictionHard(c: KubeletSettings): Amounts {
  if (c.evictionHard === undefined) return EVICTION_HARD;
  return c.mergeDefaultEvictionSettings ? { ...EVICTION_HARD, ...c.evictionHard } : c.evictionHard;
}

export function evictionSettings(c: KubeletSettings): EvictionSettings {
  return {
    hard: evictionHard(c),
    soft: c.evictionSoft ?? {},
    softGraceMs: c.evictionSoftGracePeriod ?? {},
    minReclaim: c.evictionMinimumReclaim ?? {},
    enforcesPods: c.enforceNodeAllocatable.includes('pods'),
    transitionMs: c.evictionPressureTransitionPeriod,
    maxPodGraceSeconds: c.evictionMaxPodGracePeriod,
    enforcesLocalLimits: c.localStorageCapacityIsolation,
  };
}

export function allocatableSettings(c: KubeletSettings): AllocatableSettings {
  return {
    ...reservedAmounts(c),
    enforce: new Set(c.enforceNodeAllocatable),
    systemReservedCgroup: c.systemReservedCgroup,
    kubeReservedCgroup: c.kubeReservedCgroup,
  };
}

/** CPUs that are reserved by name stand for all CPU that is reserved by amount. */
function reservedAmounts(c: KubeletSettings): { readonly systemReserved: Amounts; readonly kubeReserved: Amounts } {
  const { systemReserved, kubeReserved } = c;
  if (c.reservedSystemCPUs === '') return { systemReserved, kubeReserved };
  const { cpu: _, ...others } = kubeReserved;
  return { systemReserved: { ...systemReserved, cpu: String(cpusIn(c.reservedSystemCPUs)) }, kubeReserved: others };
}

/** `0-1,4` → 3. */
function cpusIn(list: string): number {
  const cpus = new Set<number>();
  for (const range of list.split(',')) {
    const [first = 0, last = first] = range.split('-').map(Number);
    for (let cpu = first; cpu <= last; cpu++) cpus.add(cpu);
  }
  return cpus.size;
}

/** kubeReserved and systemReserved together. */
export function reservedTogether(c: KubeletSettings): Amounts {
  const { systemReserved, kubeReserved } = reservedAmounts(c);
  const sum: Record<string, string> = { ...kubeReserved };
  for (const [name, text] of Object.entries(systemReserved)) {
    const [left, right] = [parseQuantity(sum[name] ?? '0'), parseQuantity(text)];
    sum[name] = formatQuantity({ nanos: left.nanos + right.nanos, format: right.format });
  }
  return sum;
}
