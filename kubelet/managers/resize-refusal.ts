// Containers that are tied to CPUs or memory cannot be given more or less of them while they run. Pure. After
// pkg/kubelet/allocation/allocation_manager.go canResizePod.
import { ParseError } from '../../api/parse-error.ts';
import type { Pod } from '../../api/pod.ts';
import { podQosClass } from '../../api/qos.ts';
import type { ManagerSettings } from './settings.ts';

/** Why the pod can never be resized; undefined when it can. */
export function managedResizeRefusal(
  pod: Pod,
  { cpuPolicy, memoryPolicy }: Pick<ManagerSettings, 'cpuPolicy' | 'memoryPolicy'>,
): string | undefined {
  if ((cpuPolicy !== 'static' && memoryPolicy !== 'Static') || !isGuaranteed(pod)) return undefined;
  const manager = cpuPolicy === 'static' ? 'CPU' : 'Memory';
  return `Resize is infeasible for Guaranteed Pods alongside ${manager} Manager static policy`;
}

function isGuaranteed(pod: Pod): boolean {
  try {
    return podQosClass(pod) === 'Guaranteed';
  } catch (err) {
    if (err instanceof ParseError) return false; // refused for its amounts
    throw err;
  }
}
