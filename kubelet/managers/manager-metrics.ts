// What the managers of exclusive resources count, by the names that dashboards know (pkg/kubelet/metrics/metrics.go). Made
// only where a manager is switched on.
import { Counter, Gauge, Histogram, type Registry } from '../../core/metrics.ts';

/** Doubling from 0.05 ms, 15 of them. */
const DURATION_BUCKETS_MS = Array.from({ length: 15 }, (_, i) => 0.05 * 2 ** i);

export type AlignmentScope = 'container' | 'pod';
export type AlignmentBoundary = 'numa_node' | 'physical_cpu' | 'uncore_cache';

export class ManagerMetrics {
  readonly #registers: Registry[];
  readonly #counters = new Map<string, Counter>();
  readonly #aligned: Counter<'scope' | 'boundary'>;
  readonly #misaligned: Counter<'scope' | 'boundary'>;
  #topologyMs: Histogram | undefined;
  #pool: Gauge | undefined;
  #exclusive: Gauge | undefined;
  #perNuma: Gauge<'numa_node'> | undefined;

  constructor(registry: Registry) {
    this.#registers = [registry];
    const labelNames = ['scope', 'boundary'] as const;
    const registers = this.#registers;
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

  /** Shows the figures of the topology manager from now on. */
  showTopology(): void {
    this.#counter('kubelet_topology_manager_admission_requests_total', TOPOLOGY_HELP);
    this.#counter('kubelet_topology_manager_admission_errors_total', TOPOLOGY_FAILED);
    this.#topologyMs = new Histogram({
      name: 'kubelet_topology_manager_admission_duration_ms',
      help: 'Time that the topology manager took for a pod, ms',
      buckets: DURATION_BUCKETS_MS,
      registers: this.#registers,
    });
    for (const scope of ['container', 'pod'] as const) {
      this.#aligned.inc({ scope, boundary: 'numa_node' }, 0);
      this.#misaligned.inc({ scope, boundary: 'numa_node' }, 0);
    }
  }

  topologyAdmission(tookMs: number, admitted: boolean): void {
    this.#counter('kubelet_topology_manager_admission_requests_total', TOPOLOGY_HELP).inc();
    if (!admitted) this.#counter('kubelet_topology_manager_admission_errors_total', TOPOLOGY_FAILED).inc();
    this.#topologyMs?.observe(tookMs);
  }

  aligned(scope: AlignmentScope, boundary: AlignmentBoundary, ok: boolean): void {
    (ok ? this.#aligned : this.#misaligned).inc({ scope, boundary });
  }

  /** Shows the figures of the CPU or the memory manager from now on. */
  showPinning(manager: 'cpu' | 'memory'): void {
    this.#pinning(manager, 'requests');
    this.#pinning(manager, 'errors');
    if (manager === 'memory') return;
    const registers = this.#registers;
    const gauge = (name: string, help: string) => new Gauge({ name, help, registers });
    this.#pool = gauge('kubelet_cpu_manager_shared_pool_size_millicores', 'CPU that containers share, millicores');
    this.#exclusive = gauge('kubelet_cpu_manager_exclusive_cpu_allocation_count', 'CPUs that containers have alone');
    this.#perNuma = new Gauge({
      name: 'kubelet_cpu_manager_allocation_per_numa',
      help: 'CPUs that containers have alone, by NUMA node',
      labelNames: ['numa_node'],
      registers,
    });
    for (const boundary of ['physical_cpu', 'uncore_cache'] as const) {
      this.#aligned.inc({ scope: 'container', boundary }, 0);
    }
    this.#misaligned.inc({ scope: 'container', boundary: 'physical_cpu' }, 0);
  }

  pinning(manager: 'cpu' | 'memory', ok: boolean): void {
    this.#pinning(manager, 'requests').inc();
    if (!ok) this.#pinning(manager, 'errors').inc();
  }

  /** `freeCpus`: those of the pool that could be given away. */
  cpus(freeCpus: number, exclusiveByNuma: ReadonlyMap<number, number>): void {
    this.#pool?.set(freeCpus * 1000);
    let sum = 0;
    for (const [node, count] of exclusiveByNuma) {
      sum += count;
      this.#perNuma?.set({ numa_node: String(node) }, count);
    }
    this.#exclusive?.set(sum);
  }

  #pinning(manager: 'cpu' | 'memory', what: 'requests' | 'errors'): Counter {
    const help = what === 'requests' ? 'Containers that asked to be tied' : 'Containers that could not be tied';
    return this.#counter(`kubelet_${manager}_manager_pinning_${what}_total`, help);
  }

  #counter(name: string, help: string): Counter {
    const known = this.#counters.get(name);
    if (known !== undefined) return known;
    const counter: Counter = new Counter({ name, help, registers: this.#registers });
    this.#counters.set(name, counter);
    return counter;
  }
}

const TOPOLOGY_HELP = 'Pods that the topology manager was asked about';
const TOPOLOGY_FAILED = 'Pods that the topology manager refused';
