// Creating the Node object, or making an existing one fit. After pkg/kubelet/kubelet_node_status.go.
import type { Node, Taint } from '../../api/kinds.ts';
import { createStrategicMerge } from '../../api/patch/strategic-diff.ts';
import { nodes } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { isAlreadyExists, isForbidden } from '../../client/errors.ts';
import { isExtendedResourceName } from '../devices/device-types.ts';

export interface NodeIdentity {
  readonly nodeName: string;
  readonly hostname: string;
  /** Go's name. */
  readonly architecture: string;
  /** `--node-labels`, checked by the flag parser. They override the defaults. */
  readonly labels: Readonly<Record<string, string>>;
  /** Set when the object is created; never on an existing one. */
  readonly taints: readonly Taint[];
  readonly providerId: string | undefined;
  readonly controllerManagedAttachDetach: boolean;
  /** Nothing is known here of devices that the node had before: it was made anew, and what its object says is void. */
  readonly isFresh?: boolean;
  /** `--node-ip` for the cloud controller manager, which sets the Node's addresses; undefined where there is none. */
  readonly providedNodeIp?: string;
}

const ATTACH_DETACH_ANNOTATION = 'volumes.kubernetes.io/controller-managed-attach-detach';
const PROVIDED_IP_ANNOTATION = 'alpha.kubernetes.io/provided-node-ip';

/** Labels that registration brings in line on an existing Node; other `--node-labels` are not applied again. */
const RECONCILED_LABELS = [
  'kubernetes.io/hostname',
  'topology.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'failure-domain.beta.kubernetes.io/zone',
  'failure-domain.beta.kubernetes.io/region',
  'node.kubernetes.io/instance-type',
  'beta.kubernetes.io/instance-type',
  'kubernetes.io/os',
  'kubernetes.io/arch',
  'beta.kubernetes.io/os',
  'beta.kubernetes.io/arch',
];

/** The Node as it would be created, without a status. */
export function initialNode(identity: NodeIdentity): Node {
  const spec: NonNullable<Node['spec']> = {};
  if (identity.taints.length > 0) spec.taints = [...identity.taints];
  if (identity.providerId !== undefined && identity.providerId !== '') spec.providerID = identity.providerId;
  const annotations = {
    ...(identity.controllerManagedAttachDetach ? { [ATTACH_DETACH_ANNOTATION]: 'true' } : {}),
    ...(identity.providedNodeIp === undefined ? {} : { [PROVIDED_IP_ANNOTATION]: identity.providedNodeIp }),
  };
  return {
    apiVersion: 'v1',
    kind: 'Node',
    metadata: {
      name: identity.nodeName,
      labels: {
        'kubernetes.io/hostname': identity.hostname,
        'kubernetes.io/os': 'linux',
        'beta.kubernetes.io/os': 'linux',
        'kubernetes.io/arch': identity.architecture,
        'beta.kubernetes.io/arch': identity.architecture,
        ...identity.labels,
      },
      ...(Object.keys(annotations).length === 0 ? {} : { annotations }),
    },
    spec,
  };
}

/** `existing` with what registration owns taken from `initial`. Spec and taints stay as they are. */
export function reconcileNode(existing: Node, initial: Node, isFresh = false): Node {
  const labels = { ...existing.metadata?.labels };
  for (const key of RECONCILED_LABELS) {
    const wanted = initial.metadata?.labels?.[key];
    if (wanted === undefined) continue;
    if (wanted === '') delete labels[key];
    else labels[key] = wanted;
  }
  const annotations = { ...existing.metadata?.annotations };
  const managed = initial.metadata?.annotations?.[ATTACH_DETACH_ANNOTATION];
  if (managed === undefined) delete annotations[ATTACH_DETACH_ANNOTATION];
  else annotations[ATTACH_DETACH_ANNOTATION] = managed;
  return {
    ...existing,
    metadata: { ...existing.metadata, labels, annotations },
    status: {
      ...existing.status,
      capacity: reconcileAmounts(existing.status?.capacity, initial.status?.capacity, isFresh),
      allocatable: reconcileAmounts(existing.status?.allocatable, initial.status?.allocatable, isFresh),
    },
  };
}

/** Labels repaired with every status, not only at registration. */
const KEPT_LABELS = ['kubernetes.io/os', 'kubernetes.io/arch'];

/** `node` with the labels and the annotation that go with every status; the same object when they are as they must be. */
export function withKeptMetadata(node: Node, identity: NodeIdentity): Node {
  const wanted = initialNode(identity).metadata!;
  const labels = { ...node.metadata?.labels, ...pick(wanted.labels, KEPT_LABELS) };
  const annotations = { ...node.metadata?.annotations };
  delete annotations[PROVIDED_IP_ANNOTATION];
  Object.assign(annotations, pick(wanted.annotations, [PROVIDED_IP_ANNOTATION]));
  const isSame =
    KEPT_LABELS.every((key) => labels[key] === node.metadata?.labels?.[key]) &&
    annotations[PROVIDED_IP_ANNOTATION] === node.metadata?.annotations?.[PROVIDED_IP_ANNOTATION];
  return isSame ? node : { ...node, metadata: { ...node.metadata, labels, annotations } };
}

function pick(from: Readonly<Record<string, string>> | undefined, keys: readonly string[]): Record<string, string> {
  return Object.fromEntries(Object.entries(from ?? {}).filter(([key]) => keys.includes(key)));
}

/** A missing map is filled; huge pages follow the kernel, devices end; everything else is the status loop's matter. */
function reconcileAmounts(
  existing: Readonly<Record<string, string>> | undefined,
  initial: Readonly<Record<string, string>> | undefined,
  isFresh: boolean,
): Record<string, string> {
  if (existing === undefined) return { ...initial };
  const merged: Record<string, string> = {};
  for (const [name, amount] of Object.entries(existing)) {
    if (!name.startsWith('hugepages-')) merged[name] = isFresh && isExtendedResourceName(name) ? '0' : amount;
  }
  for (const [name, amount] of Object.entries(initial ?? {})) if (name.startsWith('hugepages-')) merged[name] = amount;
  return merged;
}

export interface RegisterOptions {
  /** Of one call, ms. */
  readonly timeoutMs: number;
  /** The Node was not there before. */
  readonly onCreated?: () => void;
  /** See NodeIdentity. */
  readonly isFresh?: boolean;
}

/**
 * One attempt. Returns the Node as the server has it now. A create whose answer was lost is found as an existing Node
 * by the next attempt. @throws what the client throws.
 */
export async function registerOnce(
  client: ApiClient,
  initial: Node,
  signal: AbortSignal,
  { timeoutMs, onCreated = () => {}, isFresh = false }: RegisterOptions,
): Promise<Node> {
  const name = { name: initial.metadata!.name! };
  const call = { signal, timeoutMs };
  try {
    const created = await client.create(nodes, {}, initial, call);
    onCreated();
    return created;
  } catch (err) {
    // Forbidden too: the credential may be allowed to keep its Node but not to make one.
    if (!isAlreadyExists(err) && !isForbidden(err)) throw err;
  }
  const existing = await client.get(nodes, name, call);
  const patch = nodePatch(existing, reconcileNode(existing, initial, isFresh));
  if (patch === undefined) return existing;
  return await client.patch(nodes, name, { type: 'strategic', body: patch }, { ...call, subresource: 'status' });
}

/** The strategic merge patch for nodes/status; metadata travels along, spec never. Undefined when nothing differs. */
export function nodePatch(old: Node, changed: Node): unknown {
  const { spec: _, ...rest } = changed;
  const target: Node = old.spec === undefined ? rest : { ...rest, spec: old.spec };
  const patch = createStrategicMerge('Node', old, target);
  return Object.keys(patch).length === 0 ? undefined : patch;
}
