// Can a pod be given what it asks for now? Never (Infeasible), or not before others have gone (Deferred). Pure. After
// pkg/kubelet/allocation/handlers.go.
import { ParseError } from '../../api/parse-error.ts';
import type { Pod } from '../../api/pod.ts';
import { podRequests } from '../../api/pod-resources.ts';
import { parseQuantity, type Quantity, quantityMilliValue, quantityValue } from '../../api/quantity.ts';
import { type AdmissionInput, admit } from '../admission.ts';
import type { InfeasibleDetail } from '../metrics/resize-metrics.ts';
import { isStaticPod } from '../pod-manager.ts';
import type { PendingReason } from './resize-conditions.ts';

export interface ResizeRefusal {
  readonly reason: PendingReason;
  readonly message: string;
  /** Of what is infeasible, for metrics. */
  readonly detail?: InfeasibleDetail;
}

/**
 * Undefined when it can. `input.pod` is the pod as wished for, `input.activePods` the others as allocated. That others
 * might make room for a critical pod is not considered: it runs already, with what it has.
 */
export function refuseResize(input: AdmissionInput): ResizeRefusal | undefined {
  const rejection = admit(input); // first: it finds amounts that cannot be read
  if (isStaticPod(input.pod)) return { reason: 'Infeasible', message: NO_STATIC_PODS, detail: 'static_pod' };
  const never = rejection === undefined ? undefined : beyondNode(input);
  if (never !== undefined) return { reason: 'Infeasible', message: never, detail: 'insufficient_node_allocatable' };
  return rejection === undefined ? undefined : { reason: 'Deferred', message: rejection.message };
}

const NO_STATIC_PODS = 'In-place resize of static-pods is not supported';

function readableRequests(pod: Pod): ReadonlyMap<string, Quantity> {
  try {
    return podRequests(pod);
  } catch (err) {
    if (err instanceof ParseError) return new Map();
    throw err;
  }
}

/** More than the whole node has for pods. Control planes from v1.36 on do not let that through to begin with. */
function beyondNode({ pod, node }: AdmissionInput): string | undefined {
  const allocatable = node?.status?.allocatable ?? {};
  const requests = readableRequests(pod);
  for (const resource of ['memory', 'cpu'] as const) {
    const [requested, capacity] = [requests.get(resource), allocatable[resource]];
    if (requested === undefined || capacity === undefined) continue;
    const most = parseQuantity(capacity);
    if (requested.nanos <= most.nanos) continue;
    const figure = (q: Quantity) => (resource === 'cpu' ? quantityMilliValue(q) : quantityValue(q));
    return `Node didn't have enough capacity: ${resource}, requested: ${figure(requested)}, capacity: ${figure(most)}`;
  }
  return undefined;
}
