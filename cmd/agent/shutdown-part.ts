// The graceful end of the node, wired. Nothing of it but its two gauges is loaded on a node whose pods are not
// waited for.
import type { ObjectReference } from '../../api/kinds.ts';
import type { Task } from '../../core/tasks.ts';
import type { Kubelet } from '../../kubelet/kubelet.ts';
import { shutdownGauges } from '../../kubelet/shutdown/shutdown-gauges.ts';
import type { AgentContext } from './shared.ts';

export interface ShutdownPart {
  /** Why the node is not ready, while it goes down. */
  readonly error: () => string | undefined;
  readonly tasks: Readonly<Record<string, Task>>;
}

export interface ShutdownPartInput {
  readonly rootDir: string;
  readonly node: ObjectReference;
  readonly kubelet: () => Pick<Kubelet, 'activePods' | 'evictPod'>;
  /** The node's conditions have changed. */
  readonly requestNodeStatus: () => void;
}

export async function createShutdownPart(ctx: AgentContext, input: ShutdownPartInput): Promise<ShutdownPart> {
  const { config, registry, recorder: events, clock, log } = ctx;
  const { shutdown: groups } = config;
  const gauges = shutdownGauges(registry);
  if (groups.length === 0) return { error: () => undefined, tasks: {} };
  const [{ ShutdownManager }, { ShutdownRecord }, { totalSeconds }, { watchLogind }, { SYSTEM_BUS }] =
    await Promise.all([
      import('../../kubelet/shutdown/shutdown-manager.ts'),
      import('../../kubelet/shutdown/shutdown-record.ts'),
      import('../../kubelet/shutdown/shutdown-groups.ts'),
      import('../../kubelet/shutdown/logind.ts'),
      import('../../host/dbus.ts'),
    ]);
  const record = new ShutdownRecord(input.rootDir, gauges);
  await record.load();
  const manager = new ShutdownManager({
    groups,
    activePods: () => input.kubelet().activePods(),
    endPod: (pod, end, signal) => input.kubelet().evictPod(pod, end, signal),
    record,
    requestNodeStatus: input.requestNodeStatus,
    events,
    node: input.node,
    clock,
    log,
  });
  const busSocket = socketOf(process.env.DBUS_SYSTEM_BUS_ADDRESS ?? '') ?? SYSTEM_BUS;
  const options = { busSocket, delaySeconds: totalSeconds(groups) };
  const handlers = {
    onShutdown: (signal: AbortSignal) => manager.shutDown(signal),
    onCancelled: () => manager.cancelled(),
  };
  return {
    error: () => manager.error,
    tasks: { 'node shutdown': (signal) => watchLogind(options, handlers, { clock, log }, signal) },
  };
}

/** Of `unix:path=…` and `unix:abstract=…`; of several addresses the first. */
function socketOf(address: string): string | undefined {
  const [, kind, value = ''] = /^unix:(path|abstract)=([^,;]+)/.exec(address) ?? [];
  return kind === undefined ? undefined : `${kind === 'abstract' ? '\0' : ''}${decodeURIComponent(value)}`;
}
