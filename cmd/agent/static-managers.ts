// The static CPU and memory managers and the topology manager, wired. Loaded only where one of them is switched on.
import { addQuantities, type Quantity, quantityMilliValue, ZERO_QUANTITY } from '../../api/quantity.ts';
import { aborted } from '../../core/abort.ts';
import { AgentError } from '../../core/errors.ts';
import type { Task } from '../../core/tasks.ts';
import { type CpuTopology, readCpuTopology } from '../../host/cpu-topology.ts';
import { CpuLayout } from '../../kubelet/managers/cpu/cpu-layout.ts';
import { CpuManager, reservedCpus } from '../../kubelet/managers/cpu/cpu-manager.ts';
import { CpusetReconciler, type RunningContainer } from '../../kubelet/managers/cpu/cpuset-reconciler.ts';
import { parseCpuSet } from '../../kubelet/managers/cpu-set.ts';
import type { ResourceManager } from '../../kubelet/managers/hint-provider.ts';
import type { ManagerMetrics } from '../../kubelet/managers/manager-metrics.ts';
import { MemoryManager } from '../../kubelet/managers/memory/memory-manager.ts';
import { reservedMemory } from '../../kubelet/managers/memory/reserved-memory.ts';
import { PodResources } from '../../kubelet/managers/pod-resources.ts';
import type { ManagerSettings } from '../../kubelet/managers/settings.ts';
import { TopologyManager } from '../../kubelet/managers/topology-manager.ts';
import type { ManagersPartInput, StaticManagers } from './managers-part.ts';
import type { Reservations } from './reservations.ts';
import type { AgentContext } from './shared.ts';

/** @throws {AgentError} MANAGER_STATE_INVALID, CONFIG_INVALID */
export async function createStaticManagers(
  ctx: AgentContext,
  input: ManagersPartInput,
  metrics: ManagerMetrics,
): Promise<StaticManagers> {
  const { log, config } = ctx;
  const { managers: settings } = config.kubelet;
  const { rootDir, machine, reserved } = input;
  const topology = await readCpuTopology({ memoryBytes: machine.memoryBytes, hugePages: machine.hugePages });
  refuseUnfitMachine(topology, settings);
  const aligner = topologyManager(ctx, topology, metrics);
  const cpu = settings.cpuPolicy === 'static' ? await cpuManager(ctx, input, topology, metrics) : undefined;
  const reservedPerNode = () =>
    reservedMemory(
      settings.reservedMemory,
      topology.nodes.map(({ id }) => id),
      keptFromPods(reserved),
    );
  const memory =
    settings.memoryPolicy === 'Static'
      ? await MemoryManager.open(
          { rootDir, nodes: topology.nodes, reserved: reservedPerNode() },
          { metrics, log: log.child({ component: 'memory-manager' }) },
        )
      : undefined;
  const managers: ResourceManager[] = [...input.others, ...(cpu === undefined ? [] : [cpu.manager])];
  if (memory !== undefined) managers.push(memory);
  return {
    ...(cpu === undefined ? {} : { cpu: cpu.manager }),
    ...(memory === undefined ? {} : { memory }),
    hasUnlimitedCpus: (pod, name) => cpu?.manager.hasUnlimitedCpus(pod, name) ?? false,
    resources: new PodResources(managers, { aligner, log }),
    task: cpu?.task ?? ((signal) => aborted(signal).then(() => {})),
  };
}

function topologyManager(ctx: AgentContext, { nodes }: CpuTopology, metrics: ManagerMetrics) {
  const { topologyPolicy: policy, topologyScope: scope, topologyOptions } = ctx.config.kubelet.managers;
  if (policy === 'none') return undefined;
  metrics.showTopology();
  const opts = { policy, scope, nodes, preferClosest: topologyOptions.preferClosest };
  return new TopologyManager(opts, { metrics, clock: ctx.clock });
}

async function cpuManager(
  { config, clock, log }: AgentContext,
  { rootDir, reserved, runtime, kubelet }: ManagersPartInput,
  topology: CpuTopology,
  metrics: ManagerMetrics,
): Promise<{ readonly manager: CpuManager; readonly task: Task }> {
  const { managers: settings } = config.kubelet;
  const layout = new CpuLayout(topology);
  const named = parseCpuSet(settings.reservedSystemCpus);
  const reservedMillis = quantityMilliValue(reserved.forSystem.cpu ?? ZERO_QUANTITY);
  const { cpuPolicyOptions: policy, keepCpuQuota } = settings;
  const manager = await CpuManager.open(
    { rootDir, layout, reserved: reservedCpus(layout, named, reservedMillis), policy, keepCpuQuota },
    {
      metrics,
      onPoolChanged: () => reconciler.request(),
      onGranted: (podUid, name, cpuset) => reconciler.granted(podUid, name, cpuset),
      log: log.child({ component: 'cpu-manager' }),
    },
  );
  const reconciler = new CpusetReconciler(settings.cpuReconcilePeriodMs, {
    running: () => runningContainers(kubelet()),
    cpusetOf: (podUid, name) => manager.cpusetOf(podUid, name),
    update: (id, cpusetCpus, signal) => runtime.updateContainerResources(id, { cpusetCpus }, { signal }),
    clock,
    log,
  });
  return { manager, task: (signal) => reconciler.run(signal) };
}

function runningContainers(kubelet: ReturnType<ManagersPartInput['kubelet']>): RunningContainer[] {
  return kubelet
    .runningPods()
    .flatMap(({ pod, status }) =>
      status.containers.flatMap(({ id, name, state }) =>
        state === 'running' ? [{ podUid: pod.metadata?.uid ?? '', name, id }] : [],
      ),
    );
}

/** What the node does not offer to pods. */
function keptFromPods({ forSystem, againstEviction }: Reservations): Readonly<Record<string, Quantity>> {
  const kept: Record<string, Quantity> = { ...forSystem };
  for (const [name, amount] of Object.entries(againstEviction)) {
    kept[name] = addQuantities(kept[name] ?? ZERO_QUANTITY, amount);
  }
  return kept;
}

/** @throws {AgentError} CONFIG_INVALID */
function refuseUnfitMachine({ nodes, cpus }: CpuTopology, settings: ManagerSettings): void {
  const { topologyPolicy, topologyOptions, cpuPolicyOptions } = settings;
  const sockets = new Set(cpus.map(({ socket }) => socket)).size;
  if (topologyPolicy !== 'none' && nodes.length > topologyOptions.maxNodes) {
    throw new AgentError(`unsupported on machines with more than ${topologyOptions.maxNodes} NUMA Nodes`, {
      code: 'CONFIG_INVALID',
      hint: 'set max-allowable-numa-nodes in topologyManagerPolicyOptions, or topologyManagerPolicy: none',
    });
  }
  if (cpuPolicyOptions.alignBySocket && sockets > nodes.length) {
    throw new AgentError('align-by-socket needs as many NUMA nodes as sockets', {
      code: 'CONFIG_INVALID',
      hint: 'leave align-by-socket out of cpuManagerPolicyOptions',
    });
  }
}
