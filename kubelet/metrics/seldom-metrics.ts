// What happens seldom and is only counted. Upstream shows these from the start, as 0, and so they are here: a rate over a
// series that begins with its first event misses that event.
import { Counter, Gauge, type Registry } from '../../core/metrics.ts';

/** Name and help of each counter. */
const SELDOM = {
  kubelet_orphaned_runtime_pods_total: 'Pods of the runtime that nobody asked for',
  kubelet_lifecycle_handler_http_fallbacks_total: 'HTTPS hooks whose server spoke HTTP',
  kubelet_sleep_action_terminated_early_total: 'Sleep hooks that were cut short',
  kubelet_image_volume_requested_total: 'Images that a container is to have as a volume',
  kubelet_image_volume_mounted_succeed_total: 'Images that a container has got as a volume',
  kubelet_image_volume_mounted_errors_total: 'Images that a container could not get as a volume',
  kubelet_started_user_namespaced_pods_total: 'Starts of pods with a user namespace of their own',
  kubelet_started_user_namespaced_pods_errors_total: 'Starts of such pods that failed',
} as const;

export type Seldom = keyof typeof SELDOM;

export class SeldomMetrics {
  readonly #counters: ReadonlyMap<Seldom, Counter>;
  readonly #restarts: Counter<'static'>;
  readonly #cleaned: Gauge;
  readonly #uncleaned: Gauge;

  constructor(registry: Registry) {
    const registers = [registry];
    const counters = Object.entries(SELDOM) as [Seldom, string][];
    this.#counters = new Map(counters.map(([name, help]) => [name, new Counter({ name, help, registers })]));
    this.#restarts = new Counter({
      name: 'kubelet_restarted_pods_total',
      help: 'Pods that were ended and begun again under the same uid',
      labelNames: ['static'],
      registers,
    });
    this.#cleaned = new Gauge({
      name: 'kubelet_orphan_pod_cleaned_volumes',
      help: 'Pods that are gone whose directories the last pass was to remove',
      registers,
    });
    this.#uncleaned = new Gauge({
      name: 'kubelet_orphan_pod_cleaned_volumes_errors',
      help: 'Those of them that it could not remove',
      registers,
    });
  }

  counted(what: Seldom, times = 1): void {
    this.#counters.get(what)?.inc(times);
  }

  podRestarted(isStatic: boolean): void {
    this.#restarts.inc({ static: isStatic ? 'true' : '' });
  }

  orphansCleaned(pods: number, failures: number): void {
    this.#cleaned.set(pods);
    this.#uncleaned.set(failures);
  }
}
