// Whether a node is to grow the file system of a claim's volume, and what the claim then says of it. Pure; after
// pkg/volume/util/operationexecutor/node_expander.go and pkg/volume/util/resize_util.go.
import type { PersistentVolume, PersistentVolumeClaim } from '../../../api/kinds.ts';
import { formatTime } from '../../../api/meta.ts';
import { compareQuantities, parseQuantity } from '../../../api/quantity.ts';

/** What the resizer and the node tell each other; kubernetes-types are of an older version. */
interface ResizeStatus {
  readonly allocatedResources?: { readonly storage?: string };
  readonly allocatedResourceStatuses?: { readonly storage?: string };
}

type Condition = NonNullable<NonNullable<PersistentVolumeClaim['status']>['conditions']>[number];

export interface Expansion {
  /** As the claim shows it afterwards. */
  readonly size: string;
  readonly bytes: number;
  /** The resizer reads how far the node has come; an old one does not. */
  readonly isTracked: boolean;
  /** The user has asked for another size since. */
  readonly isOutdated: boolean;
}

const NODE_TURN = new Set(['NodeResizePending', 'NodeResizeInProgress']);
const ERROR_CONDITION = 'NodeResizeError';
const RESIZE_CONDITIONS = new Set(['Resizing', 'FileSystemResizePending', 'ControllerResizeError', ERROR_CONDITION]);

const resizeStatus = (claim: PersistentVolumeClaim): ResizeStatus => (claim.status ?? {}) as ResizeStatus;
const nodeStatus = (claim: PersistentVolumeClaim) => resizeStatus(claim).allocatedResourceStatuses?.storage;

/** Undefined when the volume is not larger than the claim shows, or it is not the node's turn. */
export function expansionOf(claim: PersistentVolumeClaim, pv: PersistentVolume): Expansion | undefined {
  const ofVolume = pv.spec?.capacity?.storage;
  const current = claim.status?.capacity?.storage;
  if (ofVolume === undefined || current === undefined) return undefined;
  if (compareQuantities(parseQuantity(ofVolume), parseQuantity(current)) <= 0) return undefined;
  const { allocatedResources } = resizeStatus(claim);
  const status = nodeStatus(claim);
  const isTracked = status !== undefined || allocatedResources !== undefined;
  if (isTracked && !NODE_TURN.has(status ?? '')) return undefined; // the controller's turn, or given up
  const size = allocatedResources?.storage ?? ofVolume;
  const quantity = parseQuantity(size);
  const asked = claim.spec?.resources?.requests?.storage;
  return {
    size,
    bytes: Number(quantity.nanos / 1_000_000_000n),
    isTracked,
    isOutdated: asked !== undefined && compareQuantities(parseQuantity(asked), quantity) !== 0,
  };
}

/** Said before the driver is asked; undefined when it is said already. A merge patch. */
export function startedStatus(claim: PersistentVolumeClaim): object | undefined {
  if (nodeStatus(claim) === 'NodeResizeInProgress') return undefined;
  const { resourceVersion } = claim.metadata ?? {};
  return {
    metadata: { resourceVersion },
    status: { allocatedResourceStatuses: { storage: 'NodeResizeInProgress' } },
  };
}

/** A strategic patch for a refusal; `isInfeasible`: this size is not tried again. Undefined when all is said already. */
export function failedStatus(
  claim: PersistentVolumeClaim,
  text: string,
  isInfeasible: boolean,
  nowMs: number,
): object | undefined {
  const isKnown = claim.status?.conditions?.some((c) => c.type === ERROR_CONDITION && c.status === 'True') ?? false;
  if (isKnown && !isInfeasible) return undefined;
  const condition: Condition = {
    type: ERROR_CONDITION,
    status: 'True',
    lastTransitionTime: formatTime(nowMs),
    message: `failed to expand pvc with ${text}`,
  };
  return {
    status: {
      ...(isKnown ? {} : { conditions: [condition] }),
      ...(isInfeasible ? { allocatedResourceStatuses: { storage: 'NodeResizeInfeasible' } } : {}),
    },
  };
}

/** The claim's status after its file system has grown, as a merge patch. */
export function expandedStatus(claim: PersistentVolumeClaim, size: string): object {
  const conditions = (claim.status?.conditions ?? []).filter((c) => !RESIZE_CONDITIONS.has(c.type));
  return {
    metadata: { resourceVersion: claim.metadata?.resourceVersion },
    status: { capacity: { storage: size }, conditions, allocatedResourceStatuses: { storage: null } },
  };
}
