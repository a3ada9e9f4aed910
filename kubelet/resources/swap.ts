// How much swap a container may use (KEP-2400; pkg/kubelet/kuberuntime kuberuntime_container_linux.go). Pure.
import type { Pod } from '../../api/pod.ts';
import { amountsOf } from '../../api/pod-resources.ts';
import { podQosClass } from '../../api/qos.ts';
import { quantityValue } from '../../api/quantity.ts';
import { isCriticalPod } from '../pod-manager.ts';
import type { ResizeRefusal } from '../resize/resize-admission.ts';
import type { AnyContainer } from '../runtime/labels.ts';

export interface SwapSettings {
  /** memorySwap.swapBehavior: NoSwap unless LimitedSwap is asked for. */
  readonly limited: boolean;
  readonly nodeMemoryBytes: number;
  readonly nodeSwapBytes: number;
}

/**
 * Bytes of swap: as much of the node's swap as the container asked for of its memory. None for those whose memory is
 * promised (Guaranteed), for those that asked for nothing, and for critical pods.
 */
export function swapLimitBytes(pod: Pod, container: AnyContainer, settings: SwapSettings): number {
  const { limited, nodeMemoryBytes, nodeSwapBytes } = settings;
  if (!limited || nodeMemoryBytes <= 0 || isCriticalPod(pod) || podQosClass(pod) !== 'Burstable') return 0;
  const own = 'resources' in container ? container.resources : undefined;
  const [requested, limit] = (['requests', 'limits'] as const).map((kind) => {
    const amount = amountsOf(own, kind).get('memory');
    return amount === undefined ? 0 : quantityValue(amount);
  });
  if (requested === 0 || requested === limit) return 0;
  return Math.floor((requested! / nodeMemoryBytes) * nodeSwapBytes);
}

/** Why memory of `desired` cannot be resized while its containers run: what they have in swap stays as it was. */
export function swapResizeRefusal(
  desired: Pod,
  allocated: Pod | undefined,
  settings: SwapSettings | undefined,
): ResizeRefusal | undefined {
  if (allocated === undefined || settings?.limited !== true) return undefined;
  const isRefused = desired.spec?.containers.some((wanted) => {
    const given = allocated.spec?.containers.find((c) => c.name === wanted.name);
    if (given === undefined || memoryRequest(wanted) === memoryRequest(given)) return false;
    const policy = given.resizePolicy?.find((p) => p.resourceName === 'memory')?.restartPolicy;
    if (policy === 'RestartContainer') return false;
    return swapLimitBytes(desired, wanted, settings) > 0 || swapLimitBytes(allocated, given, settings) > 0;
  });
  return isRefused ? REFUSAL : undefined;
}

const REFUSAL: ResizeRefusal = {
  reason: 'Infeasible',
  message: 'In-place resize of containers with swap is not supported.',
  detail: 'swap_limitation',
};

function memoryRequest(container: AnyContainer): number {
  const amount = amountsOf('resources' in container ? container.resources : undefined, 'requests').get('memory');
  return amount === undefined ? 0 : quantityValue(amount);
}
