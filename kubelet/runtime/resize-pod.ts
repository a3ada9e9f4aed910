// Gives running containers, and the cgroup of their pod, other resources. One resource after the other: a pod that grows
// gets its room before its containers do, one that shrinks loses it after them; so at no moment is a container promised
// more than its pod has. After pkg/kubelet/kuberuntime/kuberuntime_manager.go doPodResizeAction.
import type { Pod, ResourceRequirements } from '../../api/pod.ts';
import { amountsOf } from '../../api/pod-resources.ts';
import { quantityValue } from '../../api/quantity.ts';
import { AgentError } from '../../core/errors.ts';
import type { LinuxContainerResources } from '../../cri/gen/messages.ts';
import type { Init, RuntimeService } from '../../cri/runtime-service.ts';
import type { CgroupLimits } from '../../host/cgroup.ts';
import type { ActuatedResources } from '../resize/allocations.ts';
import { type ResizableResource, replaceResource, withResources } from '../resize/pod-allocation.ts';
import type { ContainerResize } from '../resize/resize-progress.ts';
import type { PodActions } from './pod-actions.ts';
import { containerResources, type ResourceSettings, resizableUnified } from './resources.ts';

/** The cgroup of a pod, where the agent looks after it. */
export interface ResizablePodCgroups {
  /** Undefined where it does not. Limits of −1 are none. */
  readPodMemory(pod: Pod): Promise<{ readonly usageBytes: number; readonly limitBytes: number } | undefined>;
  readPodCpu(pod: Pod): Promise<{ readonly quotaUs: number; readonly share: number } | undefined>;
  /** What the pod, as allocated, is to have; `share` in the unit of `readPodCpu`. */
  podLimits(pod: Pod): CgroupLimits & { readonly share: number };
  setPodLimits(pod: Pod, limits: CgroupLimits): Promise<void>;
}

export interface ResizeDeps {
  readonly runtime: Pick<RuntimeService, 'updateContainerResources' | 'containerStats'>;
  readonly actuated: ActuatedResources;
  readonly podCgroups: ResizablePodCgroups;
  readonly resources: ResourceSettings;
}

type Work = Pick<PodActions, 'containersToResize' | 'resizePod'>;

export class PodResizer {
  readonly #deps: ResizeDeps;

  constructor(deps: ResizeDeps) {
    this.#deps = deps;
  }

  /**
   * Each step that was taken is remembered, so that after a failure, or a kill of the agent, the next run goes on.
   * @throws {AgentError} RESIZE_REFUSED when a limit would be less than what is used; what the runtime throws.
   */
  async resize(pod: Pod, work: Work, signal: AbortSignal): Promise<void> {
    const of = (resource: ResizableResource) => work.containersToResize.filter((c) => c.changes.has(resource));
    if (work.resizePod || of('memory').length > 0) await this.#resizeMemory(pod, of('memory'), signal);
    if (work.resizePod || of('cpu').length > 0) await this.#resizeCpu(pod, of('cpu'), signal);
  }

  async #resizeMemory(pod: Pod, containers: readonly ContainerResize[], signal: AbortSignal): Promise<void> {
    const { podCgroups } = this.#deps;
    const current = await podCgroups.readPodMemory(pod);
    const { memoryBytes: wanted, memoryMinBytes, memoryLowBytes } = podCgroups.podLimits(pod);
    const shrinks = current !== undefined && wanted !== undefined && isLess(wanted, current.limitBytes);
    const refusals = await this.#memoryRefusals(pod, containers, signal);
    if (shrinks && wanted < current.usageBytes) {
      refusals.unshift(`attempting to set pod memory limit (${wanted}) below current usage (${current.usageBytes})`);
    }
    if (refusals.length > 0) throw memoryRefused(refusals);
    const set = async () => {
      if (current !== undefined && wanted !== undefined) await podCgroups.setPodLimits(pod, { memoryBytes: wanted });
    };
    const grows = current !== undefined && wanted !== undefined && isLess(current.limitBytes, wanted);
    if (grows) await set();
    if (memoryMinBytes !== undefined && memoryLowBytes !== undefined) {
      await podCgroups.setPodLimits(pod, { memoryMinBytes, memoryLowBytes });
    }
    await this.#update(pod, 'memory', containers, signal);
    if (shrinks) await set();
    this.#recordPod(pod, 'memory');
  }

  async #resizeCpu(pod: Pod, containers: readonly ContainerResize[], signal: AbortSignal): Promise<void> {
    const { podCgroups } = this.#deps;
    const current = await podCgroups.readPodCpu(pod);
    const { cpuQuotaUs, cpuPeriodUs, cpuShares, share } = podCgroups.podLimits(pod);
    const period = cpuPeriodUs === undefined ? {} : { cpuPeriodUs };
    const quota: CgroupLimits = cpuQuotaUs === undefined ? {} : { cpuQuotaUs, ...period };
    const shares: CgroupLimits = cpuShares === undefined ? {} : { cpuShares };
    const { before, after } = splitByDirection(
      [quota, cpuQuotaUs === undefined || current === undefined ? 0 : order(cpuQuotaUs, current.quotaUs)],
      [shares, current === undefined ? 0 : Math.sign(share - current.share)],
    );
    if (before !== undefined) await podCgroups.setPodLimits(pod, before);
    await this.#update(pod, 'cpu', containers, signal);
    if (after !== undefined) await podCgroups.setPodLimits(pod, after);
    this.#recordPod(pod, 'cpu');
  }

  /** Those that give something back go first: what they leave is there for the others. */
  async #update(
    pod: Pod,
    resource: ResizableResource,
    containers: readonly ContainerResize[],
    signal: AbortSignal,
  ): Promise<void> {
    const rank = (c: ContainerResize) => (c.changes.get(resource) === 'less' ? 0 : 1);
    for (const resize of [...containers].sort((a, b) => rank(a) - rank(b))) {
      const next = this.#nextResources(pod, resource, resize);
      const linux = this.#linuxResources(pod, resource, resize, next);
      await this.#deps.runtime.updateContainerResources(resize.running.id, linux, { signal });
      this.#deps.actuated.setContainer(pod.metadata?.uid ?? '', resize.container.name, next);
    }
  }

  /** `resource` as given, the other as it is now. */
  #nextResources(pod: Pod, resource: ResizableResource, { container, current }: ContainerResize): ResourceRequirements {
    const known = this.#deps.actuated.container(pod.metadata?.uid ?? '', container.name) ?? current;
    return replaceResource(resource, known, container.resources ?? {});
  }

  /** The same of the pod as a whole, whose limits are those of containers without any; undefined where it has none. */
  #nextOfPod(pod: Pod, resource: ResizableResource): ResourceRequirements | undefined {
    const given = pod.spec?.resources;
    const known = this.#deps.actuated.pod(pod.metadata?.uid ?? '');
    return given === undefined || known === undefined ? given : replaceResource(resource, known, given);
  }

  #recordPod(pod: Pod, resource: ResizableResource): void {
    const next = this.#nextOfPod(pod, resource);
    if (next !== undefined) this.#deps.actuated.setPod(pod.metadata?.uid ?? '', next);
  }

  #linuxResources(
    pod: Pod,
    resource: ResizableResource,
    { container }: ContainerResize,
    next: ResourceRequirements,
  ): Init<LinuxContainerResources> {
    const ofPod = this.#nextOfPod(pod, resource);
    const resized = ofPod === undefined ? pod : { ...pod, spec: { ...pod.spec!, resources: ofPod } };
    const changed = withResources(container, next);
    const all = containerResources(resized, changed, this.#deps.resources);
    const unified = resource === 'memory' ? resizableUnified(resized, changed, this.#deps.resources) : {};
    const { cpuShares, cpuPeriod, cpuQuota, memoryLimitInBytes } = all;
    return {
      ...(cpuShares === undefined ? {} : { cpuShares }),
      ...(cpuPeriod === undefined ? {} : { cpuPeriod }),
      ...(cpuQuota === undefined ? {} : { cpuQuota }),
      ...(memoryLimitInBytes === undefined ? {} : { memoryLimitInBytes }),
      ...(Object.keys(unified).length === 0 ? {} : { unified }),
    };
  }

  async #memoryRefusals(pod: Pod, containers: readonly ContainerResize[], signal: AbortSignal): Promise<string[]> {
    const refusals = containers.map(async ({ container, running, current }) => {
      const wanted = memoryLimit(container.resources) || memoryLimit(pod.spec?.resources);
      const before = memoryLimit(current);
      if (wanted === 0 || (before !== 0 && wanted >= before)) return [];
      const { memory } = await this.#deps.runtime.containerStats(running.id, { signal });
      const used = Number(memory?.usageBytes?.value ?? memory?.workingSetBytes?.value ?? 0);
      if (used <= wanted) return [];
      return [`attempting to set container "${container.name}" memory limit (${wanted}) below current usage (${used})`];
    });
    return (await Promise.all(refusals)).flat();
  }
}

/** 0 for none. */
function memoryLimit(resources: ResourceRequirements | undefined): number {
  const limit = amountsOf(resources, 'limits').get('memory');
  return limit === undefined ? 0 : quantityValue(limit);
}

function memoryRefused(refusals: readonly string[]): AgentError {
  const text = refusals.length === 1 ? refusals[0] : `[${refusals.join(', ')}]`;
  return new AgentError(`cannot decrease memory limits: ${text}`, {
    code: 'RESIZE_REFUSED',
    retryable: true,
    hint: 'ask for more memory than the containers use, or wait until they use less',
  });
}

/** Negative, zero or positive; −1 is no limit, and so the most. */
function order(a: number, b: number): number {
  const amount = (n: number) => (n < 0 ? Number.POSITIVE_INFINITY : n);
  return a === b || amount(a) === amount(b) ? 0 : Math.sign(amount(a) - amount(b));
}

function isLess(a: number, b: number): boolean {
  return order(a, b) < 0;
}

/** What grows is set before the containers, what shrinks after them; undefined for nothing. */
function splitByDirection(...parts: readonly (readonly [CgroupLimits, number])[]): {
  readonly before: CgroupLimits | undefined;
  readonly after: CgroupLimits | undefined;
} {
  const merged = (sign: number) => {
    const chosen = parts.filter(([, direction]) => direction === sign).map(([limits]) => limits);
    return chosen.length === 0 ? undefined : (Object.assign({}, ...chosen) as CgroupLimits);
  };
  return { before: merged(1), after: merged(-1) };
}
