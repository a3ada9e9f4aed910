// Machines for tests, with as many sockets, NUMA nodes, cores and threads as are asked for; and pods for them.
import type { Container, Pod } from '../../api/pod.ts';
import { Registry } from '../../core/metrics.ts';
import type { CpuTopology, LogicalCpu, NumaNode } from '../../host/cpu-topology.ts';
import { ManagerMetrics } from './manager-metrics.ts';

export interface MachineShape {
  readonly sockets?: number;
  /** Of each socket. */
  readonly numaNodes?: number;
  /** Of each NUMA node. */
  readonly cores: number;
  readonly threads?: number;
  /** Cores of a NUMA node that share a cache; all when absent. */
  readonly coresPerCache?: number;
  readonly nodeBytes?: number;
  readonly hugePages?: NumaNode['hugePages'];
}

/** First threads of all cores are numbered first, then second ones, as Linux does on x86. */
export function fakeMachine(shape: MachineShape): CpuTopology {
  const { sockets = 1, numaNodes = 1, cores, threads = 1, coresPerCache = cores } = shape;
  const total = sockets * numaNodes * cores;
  const cpus = Array.from({ length: total * threads }, (_, id): LogicalCpu => {
    const core = id % total;
    const node = Math.floor(core / cores);
    const cache = Math.floor((core % cores) / coresPerCache) * coresPerCache + node * cores;
    return { id, core, socket: Math.floor(node / numaNodes), numaNode: node, uncoreCache: cache };
  });
  const nodes = Array.from({ length: sockets * numaNodes }, (_, id) => ({
    id,
    memoryBytes: shape.nodeBytes ?? 2 ** 30,
    hugePages: shape.hugePages ?? [],
    distances: Array.from({ length: sockets * numaNodes }, (_, to) => (to === id ? 10 : 10 + Math.abs(to - id))),
  }));
  return { cpus, nodes };
}

/** A container with equal requests and limits. */
export function container(name: string, cpu: string, memory = '100Mi', more: Partial<Container> = {}): Container {
  const amounts = { cpu, memory };
  return { name, image: 'busybox', resources: { requests: amounts, limits: amounts }, ...more };
}

export function podOf(uid: string, containers: Container[], initContainers: Container[] = []): Pod {
  return {
    metadata: { name: uid, namespace: 'default', uid },
    spec: { containers, ...(initContainers.length === 0 ? {} : { initContainers }) },
  };
}

export function newMetrics(): { readonly registry: Registry; readonly metrics: ManagerMetrics } {
  const registry = new Registry();
  return { registry, metrics: new ManagerMetrics(registry) };
}

/** The figures of one metric, `labels value` each. */
export async function figures(registry: Registry, name: string): Promise<string[]> {
  const text = await registry.metrics();
  return text
    .split('\n')
    .filter((line) => line.startsWith(name) && (line[name.length] === ' ' || line[name.length] === '{'))
    .map((line) => line.slice(name.length).trim());
}
