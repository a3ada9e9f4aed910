// What the managers of exclusive resources count, by the names that dashboards know (pkg/kubelet/metrics/metrics.go). What
// has no labels is 0 on nodes without them, as upstream: the suite looks at the CPU manager's where memory alone is managed.
import { Counter, Gauge, Histogram, type Registry } from '../../core/metrics.ts';

/** Doubling from 0.05 ms, 15 of them. */
const DURATION_BUCKETS_MS = Array.from({ length: 15 }, (_, i) => 0.05 * 2 ** i);

type Manager = 'cpu' | 'memory';

interface Outcomes {
  readonly requests: Counter;
  readonly errors: Counter;
}

export type AlignmentScope = 'container' | 'pod';
export type AlignmentBoundary = 'numa_node' | 'physical_cpu' | 'uncore_cache';

export class ManagerMetrics {
  readonly #pinning: Readonly<Record<Manager, Outcomes>>;
  readonly #topology: Outcomes;
  readonly #topologyMs: Histogram;
  readonly #pool: Gauge;
  readonly #exclusive: Gauge;
  readonly #perNuma: Gauge<'numa_node'>;
  readonly #aligned: Counter<'scope' | 'boundary'>;
  readonly #misaligned: Counter<'scope' | 'boundary'>;

  constructor(registry: Registry) {
    const registers = [registry];
    const counter = (name: string, help: string) => new Counter({ name, help, registers });
    const gauge = (name: string, help: string) => new Gauge({ name, help, registers });
    const pinning = (manager: Manager): Outcomes => ({
      requests: counter(`kubelet_${manager}_manager_pinning_requests_total`, 'Containers that asked to be tied'),
      errors: counter(`kubelet_${manager}_manager_pinning_errors_total`, 'Containers that could not be tied'),
    });
    this.#pinning = { cpu: pinning('cpu'), memory: pinning('memory') };
    this.#topology = {
      requests: counter(
        'kubelet_topology_manager_admission_requests_total',
        'Pods that the topology manager was asked about',
      ),
      errors: counter('kubelet_topology_manager_admission_errors_total', 'Pods that the topology manager refused'),
    };
    this.#topologyMs = new Histogram({
      name: 'kubelet_topology_manager_admission_duration_ms',
      help: 'Time that the topology manager took for a pod, ms',
      buckets: DURATION_BUCKETS_MS,
      registers,
    });
    this.#pool = gauge('kubelet_cpu_manager_shared_pool_size_millicores', 'CPU that containers share, millicores');
    this.#exclusive = gauge('kubelet_cpu_manager_exclusive_cpu_allocation_count', 'CPUs that containers have alone');
    this.#perNuma = new Gauge({
      name: 'kubelet_cpu_manager_allocation_per_numa',
      help: 'CPUs that containers have alone, by NUMA node',
      labelNames: ['numa_node'],
      registers,
    });
    const labelNames = ['scope', 'boundary'] as const;
    this.#aligned = new Counter({
      name: 'kubelet_container_aligned_compute_resources_count',
      help: 'Allocations of which it is certain that they keep within the boundary',
      labelNames,
      registers,
    });
    this.#misaligned = new Counter({
      name: 'kubelet_container_aligned_compute_resources_failure_count',
      help: 'Allocations that failed because they could not keep within the boundary',
      labelNames,
      registers,
    });
  }

  /** Shows what the topology manager aligns from now on. */
  showTopology(): void {
    for (const scope of ['container', 'pod'] as const) {
      this.#aligned.inc({ scope, boundary: 'numa_node' }, 0);
      this.#misaligned.inc({ scope, boundary: 'numa_node' }, 0);
    }
  }

  topologyAdmission(tookMs: number, admitted: boolean): void {
    count(this.#topology, admitted);
    this.#topologyMs.observe(tookMs);
  }

  aligned(scope: AlignmentScope, boundary: AlignmentBoundary, ok: boolean): void {
    (ok ? this.#aligned : this.#misaligned).inc({ scope, boundary });
  }

  /** Shows what the CPU manager aligns from now on. */
  showCpuAlignment(): void {
    for (const boundary of ['physical_cpu', 'uncore_cache'] as const) {
      this.#aligned.inc({ scope: 'container', boundary }, 0);
    }
    this.#misaligned.inc({ scope: 'container', boundary: 'physical_cpu' }, 0);
  }

  pinning(manager: Manager, ok: boolean): void {
    count(this.#pinning[manager], ok);
  }

  /** `freeCpus`: those of the pool that could be given away. */
  cpus(freeCpus: number, exclusiveByNuma: ReadonlyMap<number, number>): void {
    this.#pool.set(freeCpus * 1000);
    let sum = 0;
    for (const [node, count] of exclusiveByNuma) {
      sum += count;
      this.#perNuma.set({ numa_node: String(node) }, count);
    }
    this.#exclusive.set(sum);
  }
}

function count({ requests, errors }: Outcomes, ok: boolean): void {
  requests.inc();
  if (!ok) errors.inc();
}
