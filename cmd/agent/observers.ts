// Whoever counts and times what the kubelet does.
import { Counter, Histogram, type Registry } from '../../core/metrics.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import type { CgroupObserver } from '../../host/observed-cgroups.ts';
import { DEFAULT_BUCKETS_S, KubeletMetrics } from '../../kubelet/metrics/kubelet-metrics.ts';
import { ProbeMetrics } from '../../kubelet/metrics/probe-metrics.ts';
import { ResizeMetrics } from '../../kubelet/metrics/resize-metrics.ts';
import type { CsiObserver } from '../../kubelet/volumes/csi/csi-client.ts';
import type { ProberDeps } from '../../probes/prober.ts';
import type { AgentContext } from './shared.ts';

/** pkg/volume/util/metrics.go, seconds. */
const CSI_BUCKETS_S = [0.1, 0.15, 0.2, 0.5, 1, 1.5, 2, 2.5, 5, 10, 15, 25, 50, 120, 300, 600];

export interface Observers {
  readonly observer: KubeletMetrics;
  readonly resizes: ResizeMetrics;
  readonly cgroups: CgroupObserver;
  readonly probes: Pick<ProberDeps, 'observe' | 'onRemoved'>;
  /** Of /metrics/probes. */
  readonly probeRegistry: Registry;
}

export function createObservers({ registry, clock }: Pick<AgentContext, 'registry' | 'clock'>): Observers {
  const probes = new ProbeMetrics();
  const cgroupSeconds = new Histogram({
    name: 'kubelet_cgroup_manager_duration_seconds',
    help: 'Time that changes of cgroups took, seconds',
    labelNames: ['operation_type'],
    buckets: DEFAULT_BUCKETS_S,
    registers: [registry],
  });
  return {
    observer: new KubeletMetrics(registry, clock),
    resizes: new ResizeMetrics(registry),
    cgroups: (operation_type, tookSeconds) => cgroupSeconds.observe({ operation_type }, tookSeconds),
    probes: {
      observe: (kind, { pod, container }, result, tookSeconds) =>
        probes.observe(kind, pod, container.name, result, tookSeconds),
      onRemoved: (podUid) => probes.forget(podUid),
    },
    probeRegistry: probes.registry,
  };
}

/** Calls of CSI drivers, by driver, method and answer. */
export function csiMetrics(registry: Registry): (driver: string) => CsiObserver {
  const duration = new Histogram({
    name: 'csi_operations_seconds',
    help: 'Time that calls of CSI drivers took, seconds',
    labelNames: ['driver_name', 'method_name', 'grpc_status_code', 'migrated'],
    buckets: CSI_BUCKETS_S,
    registers: [registry],
  });
  return (driver_name) => (method_name, grpc_status_code, tookSeconds) =>
    duration.observe({ driver_name, method_name, grpc_status_code, migrated: 'false' }, tookSeconds);
}

/** `runtime`, whose sandboxes are counted and timed; upstream counts each as a pod that was started. */
export function observedSandboxes(runtime: RuntimeService, registry: Registry): RuntimeService {
  const registers = [registry];
  const counter = (name: string, help: string) => new Counter({ name, help, registers });
  const labelNames = ['runtime_handler'] as const;
  const duration = new Histogram({
    name: 'kubelet_run_podsandbox_duration_seconds',
    help: 'Time to make a sandbox, seconds',
    labelNames,
    buckets: DEFAULT_BUCKETS_S,
    registers,
  });
  const errors = new Counter({
    name: 'kubelet_run_podsandbox_errors_total',
    help: 'Sandboxes that could not be made',
    labelNames,
    registers,
  });
  const started = counter('kubelet_started_pods_total', 'Starts of pods, also those that failed');
  const failed = counter('kubelet_started_pods_errors_total', 'Starts of pods that failed');
  const runPodSandbox: RuntimeService['runPodSandbox'] = async (config, handler, opts) => {
    const startMs = performance.now();
    started.inc();
    try {
      return await runtime.runPodSandbox(config, handler, opts);
    } catch (err) {
      errors.inc({ runtime_handler: handler });
      failed.inc();
      throw err;
    } finally {
      duration.observe({ runtime_handler: handler }, (performance.now() - startMs) / 1000);
    }
  };
  return new Proxy(runtime, {
    get(target, name) {
      if (name === 'runPodSandbox') return runPodSandbox;
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}
