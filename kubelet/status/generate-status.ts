// What `status` of a pod should say, from its spec, the runtime, the probes and what was said before. Pure; the parts
// are in the files beside this one. After pkg/kubelet/kubelet_pods.go generateAPIPodStatus.
import { formatTime } from '../../api/meta.ts';
import {
  type ContainerStatus,
  isTerminalPhase,
  type Pod,
  type PodCondition,
  type PodPhase,
  type PodStatus,
  type ResourceRequirements,
} from '../../api/pod.ts';
import { podQosClass } from '../../api/qos.ts';
import type { PodRuntimeStatus } from '../runtime/pod-runtime-status.ts';
import { computeConditions, isOwnedCondition } from './conditions.ts';
import { containerStatuses, type StartFailureReason } from './container-statuses.ts';
import { computePhase } from './phase.ts';
import { podResourceStatus } from './pod-resources.ts';
import { type ProbeFacts, withProbeFields } from './probe-fields.ts';
import { type ResourceHealthOf, withResourceHealth } from './resource-health.ts';

export interface StatusInput {
  /** Metadata as desired, spec with the resources that were given, status as the API has it. */
  readonly pod: Pod;
  readonly runtime: PodRuntimeStatus;
  /** The status stored last by the writer; the API's when there is none. */
  readonly previous: PodStatus;
  /** Everything has been stopped for good. */
  readonly isTerminal: boolean;
  /** Internal addresses of the node, its primary family first. */
  readonly hostIps: readonly string[];
  readonly probes: ProbeFacts;
  readonly startFailure: (container: string) => StartFailureReason | undefined;
  /** What a container was made to use; nothing is known of any when absent. */
  readonly actuated?: (container: string) => ResourceRequirements | undefined;
  /** The same of the pod as a whole. */
  readonly actuatedPod?: ResourceRequirements | undefined;
  /** Of the devices that a regular container holds. */
  readonly resourceHealth?: ResourceHealthOf;
  /** PodResizePending and PodResizeInProgress, where they hold. */
  readonly resizeConditions?: readonly PodCondition[];
  readonly runtimeName: string;
  /** Wall ms. */
  readonly agentStartedAtMs: number;
  readonly nowMs: number;
}

const DEADLINE_MESSAGE = 'Pod was active on the node longer than the specified deadline';

export function generateStatus(input: StatusInput): PodStatus {
  const { pod, previous, nowMs } = input;
  const api = pod.status ?? {};
  const init = listStatuses('init', previous.initContainerStatuses, input);
  const listed = listStatuses('regular', previous.containerStatuses, input);
  const regular = withResourceHealth(listed, previous.containerStatuses, input);
  const ephemeral = listStatuses('ephemeral', previous.ephemeralContainerStatuses, input);
  const outcome = decidePhase(input, init, regular);
  const { phase } = outcome;
  const foreign = (api.conditions ?? []).filter((c) => !isOwnedCondition(c.type) && c.type !== 'DisruptionTarget');
  const disruption = (previous.conditions ?? []).filter((c) => c.type === 'DisruptionTarget');
  const owned = computeConditions({
    pod,
    runtime: input.runtime,
    phase,
    init,
    regular,
    previous: previous.conditions ?? [],
    foreign,
    nowMs,
  });
  const generation = Math.max(pod.metadata?.generation ?? 0, previous.observedGeneration ?? 0);
  return {
    ...(generation > 0 ? { observedGeneration: generation } : {}),
    ...outcome,
    conditions: [...foreign, ...(input.resizeConditions ?? []), ...disruption, ...owned],
    ...ipFields(input),
    startTime: previous.startTime ?? api.startTime ?? formatTime(nowMs),
    qosClass: previous.qosClass ?? podQosClass(pod),
    ...(init.length === 0 ? {} : { initContainerStatuses: init }),
    containerStatuses: regular,
    ...(ephemeral.length === 0 ? {} : { ephemeralContainerStatuses: ephemeral }),
    ...podResourceStatus(pod, [...init, ...regular], input.actuatedPod),
  };
}

function listStatuses(
  kind: 'init' | 'regular' | 'ephemeral',
  previous: readonly ContainerStatus[] = [],
  input: StatusInput,
): ContainerStatus[] {
  const { pod, runtime, runtimeName, startFailure, actuated = () => undefined } = input;
  const plain = containerStatuses(kind, { pod, runtime, previous, runtimeName, startFailure, actuated });
  if (kind === 'ephemeral') return plain;
  return withProbeFields(kind, plain, {
    pod,
    previous,
    probes: input.probes,
    agentStartedAtMs: input.agentStartedAtMs,
    wasPodReady: pod.status?.conditions?.some((c) => c.type === 'Ready' && c.status === 'True') ?? false,
  });
}

type Outcome = { phase: PodPhase; reason?: string; message?: string };

/** A phase that was terminal stays so; equal phases keep reason and message; the active deadline overrules. */
function decidePhase(
  { pod, runtime, previous, isTerminal, nowMs }: StatusInput,
  init: readonly ContainerStatus[],
  regular: readonly ContainerStatus[],
): Outcome {
  const sandbox = runtime.sandboxes[0];
  const names = new Set((pod.spec?.containers ?? []).map((c) => c.name));
  const regularStarted = runtime.containers.some(
    (c) => c.sandboxId === sandbox?.id && names.has(c.name) && c.startedAtMs > 0,
  );
  const computed = computePhase({ pod, init, regular, isTerminal, regularStarted });
  const settled = [pod.status?.phase, previous.phase].find(isTerminalPhase) as PodPhase | undefined;
  if (settled === undefined && isPastActiveDeadline(pod, previous, nowMs)) {
    return { phase: 'Failed', reason: 'DeadlineExceeded', message: DEADLINE_MESSAGE };
  }
  const phase = settled ?? computed;
  const same = [previous, pod.status ?? {}].find((s) => s.phase === phase && s.reason !== undefined);
  return {
    phase,
    ...(same?.reason === undefined ? {} : { reason: same.reason }),
    ...(same?.message === undefined ? {} : { message: same.message }),
  };
}

/** Ms left before `spec.activeDeadlineSeconds` runs out, undefined without one; not positive once it is over. */
export function activeDeadlineLeftMs(pod: Pod, status: PodStatus, nowMs: number): number | undefined {
  const seconds = pod.spec?.activeDeadlineSeconds;
  const startTime = status.startTime ?? pod.status?.startTime;
  if (seconds === undefined || startTime === undefined) return undefined;
  return Date.parse(String(startTime)) + seconds * 1000 - nowMs;
}

function isPastActiveDeadline(pod: Pod, previous: PodStatus, nowMs: number): boolean {
  const leftMs = activeDeadlineLeftMs(pod, previous, nowMs);
  return leftMs !== undefined && leftMs <= 0;
}

/**
 * A pod without a ready sandbox keeps the addresses it was known by; one on the host network those it had first, to
 * which one of the other family may come.
 */
function ipFields({ pod, runtime, previous, hostIps }: StatusInput): Partial<PodStatus> {
  const hosts = hostIps.slice(0, 2);
  const known = previous.podIPs?.map((p) => p.ip ?? '') ?? [];
  let podIps: readonly string[];
  if (pod.spec?.hostNetwork === true)
    podIps = known.length > 0 ? primaryFamilyFirst([...known, ...hosts], known[0]) : hosts;
  else podIps = runtime.ips.length > 0 ? primaryFamilyFirst(runtime.ips, hosts[0]) : known;
  return {
    ...(hosts[0] === undefined ? {} : { hostIP: hosts[0], hostIPs: hosts.map((ip) => ({ ip })) }),
    ...(podIps[0] === undefined ? {} : { podIP: podIps[0], podIPs: podIps.map((ip) => ({ ip })) }),
  };
}

/** One address of the node's family, then one of the other. */
function primaryFamilyFirst(ips: readonly string[], nodeIp: string | undefined): string[] {
  const isV6 = (ip: string) => ip.includes(':');
  const primaryIsV6 = isV6(nodeIp ?? ips[0]!);
  const primary = ips.find((ip) => isV6(ip) === primaryIsV6);
  const secondary = ips.find((ip) => isV6(ip) !== primaryIsV6);
  return [primary, secondary].filter((ip) => ip !== undefined);
}
