// Node.status as pure functions of what is known about the node. After pkg/kubelet/nodestatus/setters.go: the order of
// conditions, reasons and messages are part of the contract.
import type { Node, NodeAddress, NodeCondition, NodeStatus } from '../../api/kinds.ts';
import { formatTime } from '../../api/meta.ts';
import { formatQuantity, parseQuantity, type Quantity, quantityOf, subtractQuantities } from '../../api/quantity.ts';
import { aggregateMessage } from '../../core/errors.ts';
import type { Image, RuntimeFeatures, RuntimeHandler } from '../../cri/gen/messages.ts';
import type { MachineInfo } from '../../host/machine.ts';

/** Set aside from capacity, by resource name. */
export type Reservation = Readonly<Record<string, Quantity>>;

export interface NodeFacts {
  readonly nodeName: string;
  /** Undefined when none could be found: the addresses already reported then stay. */
  readonly addresses: readonly NodeAddress[] | undefined;
  /** Addresses once reported are the cloud controller manager's. */
  readonly externalCloud?: boolean;
  readonly machine: MachineInfo;
  /** Size of the file system of the root directory, bytes; undefined leaves the resource out. */
  readonly ephemeralStorageBytes: number | undefined;
  readonly maxPods: number;
  /** 0: no such bound. */
  readonly podsPerCore: number;
  /** What device plugins offer, by resource: how many devices there are, and how many of them are healthy. */
  readonly devices?: ReadonlyMap<string, { readonly capacity: number; readonly allocatable: number }>;
  /** systemReserved, kubeReserved and hard eviction thresholds. */
  readonly reservations: readonly Reservation[];
  readonly kubeletVersion: string;
  readonly runtimeName: string;
  /** Undefined while the runtime has not answered. */
  readonly runtimeVersion: string | undefined;
  /** Undefined when the server is off. */
  readonly kubeletPort: number | undefined;
  readonly images: readonly Image[];
  /** −1: no limit. */
  readonly maxImages: number;
  readonly runtimeHandlers: readonly RuntimeHandler[];
  readonly runtimeFeatures: RuntimeFeatures | undefined;
  /** Sorted; undefined when nodes here declare nothing. */
  readonly declaredFeatures?: readonly string[];
  /** What the node is short of: `MemoryPressure`, `DiskPressure`, `PIDPressure`. */
  readonly pressure: readonly string[];
  /** Why the node is not ready; empty when it is. */
  readonly notReady: readonly string[];
  /** Sorted unique names; undefined while volumes are not reconstructed. */
  readonly volumesInUse: readonly string[] | undefined;
}

/** Fields that v1.36 has beyond the v1.30 types. */
interface NodeStatus136 extends NodeStatus {
  features?: { supplementalGroupsPolicy?: boolean };
  declaredFeatures?: string[];
}

export interface ComputedStatus {
  readonly status: NodeStatus;
  /** Reasons of the `Node <name> status is now: <reason>` Events, in order. */
  readonly eventReasons: readonly string[];
}

/** The status of `old` brought up to date. Fields and conditions of other writers are kept as they are. */
export function computeNodeStatus(old: NodeStatus, facts: NodeFacts, nowMs: number): ComputedStatus {
  const capacity = computeCapacity(old.capacity ?? {}, facts);
  const status: NodeStatus136 = {
    ...old,
    capacity,
    allocatable: {
      ...computeAllocatable(old.allocatable ?? {}, capacity, facts.reservations),
      ...deviceAmounts(facts, 'allocatable'),
    },
    nodeInfo: computeNodeInfo(facts),
    images: computeImages(facts.images, facts.maxImages),
  };
  const hasOthers = facts.externalCloud === true && (old.addresses?.length ?? 0) > 0;
  if (facts.addresses !== undefined && !hasOthers) status.addresses = [...facts.addresses];
  if (facts.kubeletPort !== undefined) status.daemonEndpoints = { kubeletEndpoint: { Port: facts.kubeletPort } };
  if (facts.runtimeHandlers.length > 0) status.runtimeHandlers = computeRuntimeHandlers(facts.runtimeHandlers);
  else delete status.runtimeHandlers;
  if (facts.runtimeFeatures === undefined) delete status.features;
  else status.features = { supplementalGroupsPolicy: facts.runtimeFeatures.supplementalGroupsPolicy };
  if (facts.declaredFeatures === undefined || facts.declaredFeatures.length === 0) delete status.declaredFeatures;
  else status.declaredFeatures = [...facts.declaredFeatures];
  if (facts.volumesInUse !== undefined && facts.volumesInUse.length > 0) status.volumesInUse = [...facts.volumesInUse];
  else if (facts.volumesInUse !== undefined) delete status.volumesInUse;
  const { conditions, eventReasons } = computeConditions(old.conditions ?? [], facts, capacity, nowMs);
  status.conditions = conditions;
  return { status, eventReasons };
}

/** `Node.status.capacity`; keys of others (extended resources set by hand) are kept. */
function computeCapacity(old: Readonly<Record<string, string>>, facts: NodeFacts): Record<string, string> {
  const { machine } = facts;
  const capacity: Record<string, string> = {};
  // A page size the kernel no longer offers must not stay schedulable.
  for (const [name, text] of Object.entries(old)) if (!name.startsWith('hugepages-')) capacity[name] = text;
  capacity.cpu = String(machine.cores);
  capacity.memory = formatQuantity(quantityOf(machine.memoryBytes, 'BinarySI'));
  for (const { pageBytes, count } of machine.hugePages) {
    const size = formatQuantity(quantityOf(pageBytes, 'BinarySI'));
    capacity[`hugepages-${size}`] = formatQuantity(quantityOf(pageBytes * count, 'BinarySI'));
  }
  const byCores = facts.podsPerCore > 0 ? machine.cores * facts.podsPerCore : Number.POSITIVE_INFINITY;
  capacity.pods = String(Math.min(byCores, facts.maxPods));
  if (facts.ephemeralStorageBytes !== undefined) {
    capacity['ephemeral-storage'] = formatQuantity(quantityOf(facts.ephemeralStorageBytes, 'BinarySI'));
  }
  return { ...capacity, ...deviceAmounts(facts, 'capacity') };
}

function deviceAmounts({ devices }: NodeFacts, which: 'capacity' | 'allocatable'): Record<string, string> {
  return Object.fromEntries([...(devices ?? [])].map(([name, amounts]) => [name, String(amounts[which])]));
}

/** Capacity less what is reserved, never below zero; huge pages are memory that ordinary pods cannot have. */
function computeAllocatable(
  old: Readonly<Record<string, string>>,
  capacity: Readonly<Record<string, string>>,
  reservations: readonly Reservation[],
): Record<string, string> {
  const amounts = new Map<string, Quantity>();
  for (const [name, text] of Object.entries(old)) {
    if (!isExtendedResource(name) && !name.startsWith('hugepages-')) amounts.set(name, parseQuantity(text));
  }
  for (const [name, text] of Object.entries(capacity)) {
    let amount = parseQuantity(text);
    for (const reserved of reservations) {
      const part = reserved[name];
      if (part !== undefined) amount = floorZero(subtractQuantities(amount, part));
    }
    amounts.set(name, amount);
  }
  for (const [name, text] of Object.entries(capacity)) {
    const memory = amounts.get('memory');
    if (!name.startsWith('hugepages-') || memory === undefined) continue;
    amounts.set('memory', floorZero(subtractQuantities(memory, parseQuantity(text))));
  }
  return Object.fromEntries([...amounts].map(([name, amount]) => [name, formatQuantity(amount)]));
}

function isExtendedResource(name: string): boolean {
  return name.includes('/') && !name.split('/')[0]!.endsWith('kubernetes.io');
}

function floorZero(q: Quantity): Quantity {
  return q.nanos < 0n ? { ...q, nanos: 0n } : q;
}

function computeNodeInfo(facts: NodeFacts): NonNullable<NodeStatus['nodeInfo']> & { swap?: { capacity: number } } {
  const { machine } = facts;
  return {
    architecture: machine.architecture,
    bootID: machine.bootId,
    containerRuntimeVersion: `${facts.runtimeName}://${facts.runtimeVersion ?? 'Unknown'}`,
    kernelVersion: machine.kernelVersion,
    kubeProxyVersion: '', // cleared for good in v1.36: the node cannot know it
    kubeletVersion: facts.kubeletVersion,
    machineID: machine.machineId,
    operatingSystem: 'linux',
    osImage: machine.osImage,
    systemUUID: machine.systemUuid,
    ...(machine.swapBytes > 0 ? { swap: { capacity: machine.swapBytes } } : {}),
  };
}

const MAX_IMAGE_NAMES = 5;

/** The biggest images first, ties by id descending, as the scheduler's image locality wants them. */
export function computeImages(images: readonly Image[], max: number): NonNullable<NodeStatus['images']> {
  const sorted = [...images].sort((a, b) => b.size - a.size || (a.id < b.id ? 1 : a.id > b.id ? -1 : 0));
  return (max < 0 ? sorted : sorted.slice(0, max)).map((image) => ({
    names: [...image.repoDigests, ...image.repoTags].slice(0, MAX_IMAGE_NAMES),
    sizeBytes: image.size,
  }));
}

function computeRuntimeHandlers(handlers: readonly RuntimeHandler[]): NonNullable<NodeStatus['runtimeHandlers']> {
  return [...handlers]
    .sort((a, b) => (a.name < b.name ? -1 : 1))
    .map(({ name, features }) => ({
      name,
      features: {
        recursiveReadOnlyMounts: features?.recursiveReadOnlyMounts ?? false,
        userNamespaces: features?.userNamespaces ?? false,
      },
    }));
}

interface Wording {
  readonly reason: string;
  readonly message: string;
  readonly event: string;
}

const PRESSURES = [
  {
    type: 'MemoryPressure',
    yes: ['KubeletHasInsufficientMemory', 'kubelet has insufficient memory available', 'NodeHasInsufficientMemory'],
    no: ['KubeletHasSufficientMemory', 'kubelet has sufficient memory available', 'NodeHasSufficientMemory'],
  },
  {
    type: 'DiskPressure',
    yes: ['KubeletHasDiskPressure', 'kubelet has disk pressure', 'NodeHasDiskPressure'],
    no: ['KubeletHasNoDiskPressure', 'kubelet has no disk pressure', 'NodeHasNoDiskPressure'],
  },
  {
    type: 'PIDPressure',
    yes: ['KubeletHasInsufficientPID', 'kubelet has insufficient PID available', 'NodeHasInsufficientPID'],
    no: ['KubeletHasSufficientPID', 'kubelet has sufficient PID available', 'NodeHasSufficientPID'],
  },
] as const;

function computeConditions(
  old: readonly NodeCondition[],
  facts: NodeFacts,
  capacity: Readonly<Record<string, string>>,
  nowMs: number,
): { conditions: NodeCondition[]; eventReasons: string[] } {
  const now = formatTime(nowMs);
  const eventReasons: string[] = [];
  const own = new Map<string, NodeCondition>();
  for (const { type, yes, no } of PRESSURES) {
    const isShort = facts.pressure.includes(type);
    const [reason, message, event] = isShort ? yes : no;
    const wording: Wording = { reason, message, event };
    const status = isShort ? 'True' : 'False';
    const before = old.find((c) => c.type === type);
    own.set(type, nextCondition(before, type, status, wording, now));
    if (before?.status !== status) eventReasons.push(event);
  }
  const { condition: ready, event } = computeReady(old, facts, capacity, now);
  own.set('Ready', ready);
  if (event !== undefined) eventReasons.push(event);
  const kept = old.map((c) => own.get(c.type) ?? c);
  const added = [...own.values()].filter((c) => !old.some((o) => o.type === c.type));
  return { conditions: [...kept, ...added], eventReasons };
}

function computeReady(
  old: readonly NodeCondition[],
  facts: NodeFacts,
  capacity: Readonly<Record<string, string>>,
  now: string,
): { condition: NodeCondition; event: string | undefined } {
  const needed = ['cpu', 'memory', 'pods', ...(facts.ephemeralStorageBytes === undefined ? [] : ['ephemeral-storage'])];
  const missing = needed.filter((name) => capacity[name] === undefined);
  const errors = [...facts.notReady];
  if (missing.length > 0) errors.push(`missing node capacity for resources: ${missing.join(', ')}`);
  const isReady = errors.length === 0;
  const before = old.find((c) => c.type === 'Ready');
  const status = isReady ? 'True' : 'False';
  const condition: NodeCondition = {
    type: 'Ready',
    status,
    lastHeartbeatTime: now,
    lastTransitionTime: before?.status === status ? (before.lastTransitionTime ?? now) : now,
    reason: isReady ? 'KubeletReady' : 'KubeletNotReady',
    message: isReady ? 'kubelet is posting ready status' : aggregateMessage(errors),
  };
  const flipped = before !== undefined && before.status !== status;
  return { condition, event: flipped ? (isReady ? 'NodeReady' : 'NodeNotReady') : undefined };
}

/** Reason and message of a pressure change only together with its status. */
function nextCondition(
  before: NodeCondition | undefined,
  type: string,
  status: 'True' | 'False',
  wording: Wording,
  now: string,
): NodeCondition {
  if (before?.status === status) return { ...before, lastHeartbeatTime: now };
  return {
    type,
    status,
    lastHeartbeatTime: now,
    lastTransitionTime: now,
    reason: wording.reason,
    message: wording.message,
  };
}

/** True when two statuses differ in more than heartbeat times. */
export function isStatusChanged(a: NodeStatus, b: NodeStatus): boolean {
  return fingerprint(a) !== fingerprint(b);
}

function fingerprint(status: NodeStatus): string {
  const conditions = [...(status.conditions ?? [])]
    .sort((a, b) => (a.type < b.type ? -1 : 1))
    .map((c) => ({ ...c, lastHeartbeatTime: undefined }));
  return JSON.stringify(sortKeys({ ...status, conditions, capacity: amounts(status.capacity) }));
}

function amounts(list: Readonly<Record<string, string>> | undefined): Record<string, string> {
  return Object.fromEntries(
    Object.entries(list ?? {}).map(([name, text]) => [name, String(parseQuantity(text).nanos)]),
  );
}

function sortKeys(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sortKeys);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .filter(([, v]) => !isBlank(v))
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([k, v]) => [k, sortKeys(v)]),
  );
}

/** Go leaves out what is empty, or writes null for it (the names of an image that has none): an absent one is the same. */
function isBlank(value: unknown): boolean {
  return value === undefined || value === null || value === '' || (Array.isArray(value) && value.length === 0);
}

/** True once this node has reported itself Ready. */
export function isNodeReady(node: Node): boolean {
  return node.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') ?? false;
}
