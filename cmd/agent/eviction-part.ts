// The eviction of pods, wired: what it watches, what it can have reclaimed, and who is told.
import type { Task } from '../../core/tasks.ts';
import { EvictionManager } from '../../kubelet/eviction/eviction-manager.ts';
import { evictionMetrics } from '../../kubelet/eviction/eviction-metrics.ts';
import { parseThresholds } from '../../kubelet/eviction/thresholds.ts';
import type { Kubelet } from '../../kubelet/kubelet.ts';
import { nodeReference } from '../../kubelet/runtime/runtime-deps.ts';
import type { UsageSource } from '../../kubelet/stats/usage.ts';
import type { AgentContext } from './shared.ts';

/** The kernel keeps what it logs meanwhile: the node has more urgent things to do when it starts. */
const OOM_WATCH_AFTER_MS = 5_000;

export interface EvictionPartInput {
  readonly usage: UsageSource;
  readonly kubelet: () => Pick<Kubelet, 'podsKnown' | 'activePods' | 'evictPod' | 'removeDeadContainers'>;
  readonly removeUnusedImages: (signal: AbortSignal) => Promise<unknown>;
  /** The node's conditions have changed. */
  readonly requestNodeStatus: () => void;
}

export interface EvictionPart {
  /** Conditions of the node: `MemoryPressure`, `DiskPressure`, `PIDPressure`. */
  readonly pressure: () => readonly string[];
  readonly tasks: Readonly<Record<string, Task>>;
}

/** @throws {AgentError} CONFIG_INVALID for thresholds that make no sense. */
export function createEvictionPart(ctx: AgentContext, input: EvictionPartInput): EvictionPart {
  const { config, registry, recorder, clock, log } = ctx;
  const { eviction } = config.node;
  const manager = new EvictionManager(
    { ...eviction, thresholds: parseThresholds(eviction) },
    {
      usage: input.usage,
      podsKnown: () => input.kubelet().podsKnown,
      activePods: () => input.kubelet().activePods(),
      endPod: (pod, end, signal) => input.kubelet().evictPod(pod, end, signal),
      reclaim: {
        'dead-containers': (signal) => input.kubelet().removeDeadContainers(signal),
        'unused-images': async (signal) => void (await input.removeUnusedImages(signal)),
      },
      onConditions: input.requestNodeStatus,
      events: recorder,
      node: nodeReference(config.nodeName),
      metrics: evictionMetrics(registry),
      clock,
      log,
    },
  );
  const oom = async (signal: AbortSignal) => {
    const sinceUs = Number(process.hrtime.bigint() / 1000n); // the kernel's log counts from the boot as well
    await clock.sleep(OOM_WATCH_AFTER_MS, signal);
    const { watchOom } = await import('../../kubelet/node/oom-watcher.ts');
    const { followKmsg } = await import('../../host/kmsg.ts');
    const records = (stop: AbortSignal) => followKmsg(sinceUs, clock, stop);
    await watchOom({ node: nodeReference(config.nodeName), records, events: recorder, log }, signal);
  };
  return { pressure: () => manager.conditions, tasks: { eviction: (signal) => manager.run(signal), oom } };
}
