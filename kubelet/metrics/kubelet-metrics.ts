// The kubelet's own counters and times, by upstream's names (pkg/kubelet/metrics/metrics.go).
import type { Pod, PodStatus } from '../../api/pod.ts';
import type { Clock } from '../../core/clock.ts';
import { Counter, Gauge, Histogram, type Registry } from '../../core/metrics.ts';
import { ContainerEnds } from './container-ends.ts';
import type { ContainerKind, KubeletObserver, PodWork } from './observer.ts';
import { PodStarts } from './pod-starts.ts';
import { type Seldom, SeldomMetrics } from './seldom-metrics.ts';

/** prometheus.DefBuckets. */
export const DEFAULT_BUCKETS_S = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
const START_BUCKETS_S = [
  0.5, 1, 2, 3, 4, 5, 6, 8, 10, 20, 30, 45, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600,
];
const STATUS_BUCKETS_S = [0.01, 0.05, 0.1, 0.5, 1, 5, 10, 20, 30, 45, 60];
const PULL_BUCKETS_S = [1, 5, 10, 20, 30, 60, 120, 180, 240, 300, 360, 480, 600, 900, 1200, 1800, 2700, 3600];
const STORAGE_BUCKETS_S = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 15, 25, 50, 120, 300, 600];

const GIB = 2 ** 30;
const IMAGE_SIZES: readonly (readonly [belowBytes: number, label: string])[] = [
  [10 * 2 ** 20, '0-10MB'],
  [100 * 2 ** 20, '10MB-100MB'],
  [500 * 2 ** 20, '100MB-500MB'],
  [GIB, '500MB-1GB'],
  [5 * GIB, '1GB-5GB'],
  [10 * GIB, '5GB-10GB'],
  [20 * GIB, '10GB-20GB'],
  [30 * GIB, '20GB-30GB'],
  [40 * GIB, '30GB-40GB'],
  [60 * GIB, '40GB-60GB'],
  [100 * GIB, '60GB-100GB'],
];

/** Pure: the range of sizes that an image is in. */
export function imageSizeLabel(bytes: number | undefined): string {
  if (bytes === undefined) return 'N/A';
  return IMAGE_SIZES.find(([below]) => bytes < below)?.[1] ?? 'GT100GB';
}

/** Pure: what kind of container of the pod that is. */
export function containerKind(pod: Pod, name: string): ContainerKind {
  if (pod.spec?.initContainers?.some((c) => c.name === name)) return 'init_container';
  return pod.spec?.ephemeralContainers?.some((c) => c.name === name) ? 'ephemeral_container' : 'container';
}

export class KubeletMetrics implements KubeletObserver {
  readonly #starts: PodStarts;
  readonly #ends = new ContainerEnds();
  readonly #seldom: SeldomMetrics;
  readonly #rejections: Counter<'reason'>;
  readonly #preemptions: Counter<'preemption_signal'>;
  readonly #work: Histogram<'operation_type'>;
  readonly #workerStart: Histogram;
  readonly #start: Histogram;
  readonly #startSli: Histogram;
  readonly #startTotal: Histogram;
  readonly #firstStart: Gauge;
  readonly #statusWrites: Histogram;
  readonly #relist: Histogram;
  readonly #relistInterval: Histogram;
  readonly #podRelist: Histogram;
  readonly #relistSeen: Gauge;
  readonly #containersPerPod: Histogram;
  readonly #containers: Counter<'container_type'>;
  readonly #containerErrors: Counter<'container_type' | 'code'>;
  readonly #terminated: Counter<'container_type' | 'exit_code' | 'reason'>;
  readonly #pulls: Histogram<'image_size_in_bytes'>;
  readonly #imagesRemoved: Counter<'reason'>;
  readonly #storage: Histogram<'volume_plugin' | 'operation_name' | 'status' | 'migrated'>;
  readonly #clock: Clock;

  constructor(registry: Registry, clock: Clock) {
    const registers = [registry];
    const times = (name: string, help: string, buckets = DEFAULT_BUCKETS_S) =>
      new Histogram({ name, help, buckets, registers });
    this.#clock = clock;
    this.#starts = new PodStarts(clock);
    this.#seldom = new SeldomMetrics(registry);
    this.#rejections = new Counter({
      name: 'kubelet_admission_rejections_total',
      help: 'Pods that were refused, by reason',
      labelNames: ['reason'],
      registers,
    });
    this.#preemptions = new Counter({
      name: 'kubelet_preemptions',
      help: 'Pods that made room for critical ones, by the resource that was missing',
      labelNames: ['preemption_signal'],
      registers,
    });
    this.#work = new Histogram({
      name: 'kubelet_pod_worker_duration_seconds',
      help: 'Time to bring a pod up to date once, seconds',
      labelNames: ['operation_type'],
      buckets: DEFAULT_BUCKETS_S,
      registers,
    });
    this.#workerStart = times(
      'kubelet_pod_worker_start_duration_seconds',
      'From seeing a pod to starting its worker, seconds',
    );
    this.#start = times(
      'kubelet_pod_start_duration_seconds',
      'From seeing a pod to all its containers running, seconds',
      START_BUCKETS_S,
    );
    this.#startSli = times(
      'kubelet_pod_start_sli_duration_seconds',
      'From the creation of a stateless pod to all its containers running, image pulls not counted, seconds',
      START_BUCKETS_S,
    );
    this.#startTotal = times(
      'kubelet_pod_start_total_duration_seconds',
      'From the creation of a pod to all its containers running, seconds',
      START_BUCKETS_S,
    );
    this.#firstStart = new Gauge({
      name: 'kubelet_first_network_pod_start_sli_duration_seconds',
      help: 'The same of the first pod with a network of its own, of whatever kind it is, seconds',
      registers,
    });
    this.#statusWrites = times(
      'kubelet_pod_status_sync_duration_seconds',
      'From a change of a pod status to the API server having it, seconds',
      STATUS_BUCKETS_S,
    );
    this.#relist = times('kubelet_pleg_relist_duration_seconds', 'Time to list all pods of the runtime, seconds');
    this.#relistInterval = times('kubelet_pleg_relist_interval_seconds', 'Time between such lists, seconds');
    this.#podRelist = times(
      'kubelet_pleg_pod_relist_duration_seconds',
      'Time to ask for the status of one pod, seconds',
    );
    this.#relistSeen = new Gauge({
      name: 'kubelet_pleg_last_seen_seconds',
      help: 'When the pods of the runtime were last listed, unix seconds',
      registers,
    });
    this.#containersPerPod = times('kubelet_containers_per_pod_count', 'Containers of each pod', [1, 2, 4, 8, 16]);
    this.#containers = new Counter({
      name: 'kubelet_started_containers_total',
      help: 'Starts of containers, also those that failed',
      labelNames: ['container_type'],
      registers,
    });
    this.#containerErrors = new Counter({
      name: 'kubelet_started_containers_errors_total',
      help: 'Starts of containers that failed, by the reason that users see',
      labelNames: ['container_type', 'code'],
      registers,
    });
    this.#terminated = new Counter({
      name: 'kubelet_terminated_containers_total',
      help: 'Ends of containers, by kind, exit code and reason',
      labelNames: ['container_type', 'exit_code', 'reason'],
      registers,
    });
    this.#pulls = new Histogram({
      name: 'kubelet_image_pull_duration_seconds',
      help: 'Time to pull an image, seconds',
      labelNames: ['image_size_in_bytes'],
      buckets: PULL_BUCKETS_S,
      registers,
    });
    this.#imagesRemoved = new Counter({
      name: 'kubelet_image_garbage_collected_total',
      help: 'Images removed, by why',
      labelNames: ['reason'],
      registers,
    });
    this.#storage = new Histogram({
      name: 'storage_operation_duration_seconds',
      help: 'Time that operations on volumes took, seconds',
      labelNames: ['volume_plugin', 'operation_name', 'status', 'migrated'],
      buckets: STORAGE_BUCKETS_S,
      registers,
    });
  }

  podSeen(pod: Pod): void {
    this.#containersPerPod.observe(pod.spec?.containers?.length ?? 0);
    this.#starts.seen(pod);
    this.#ends.seen(pod);
  }

  podRejected(reason: string): void {
    this.#rejections.inc({ reason });
  }

  podPreempted(resource: string): void {
    this.#preemptions.inc({ preemption_signal: resource });
  }

  podWorked(work: PodWork, tookSeconds: number): void {
    this.#work.observe({ operation_type: work }, tookSeconds);
  }

  podWorkerStarted(afterSeconds: number): void {
    this.#workerStart.observe(afterSeconds);
  }

  podStatus(uid: string, status: PodStatus): void {
    for (const { kind, exitCode, reason } of this.#ends.status(uid, status)) {
      this.#terminated.inc({ container_type: kind, exit_code: String(exitCode), reason });
    }
    const start = this.#starts.status(uid, status);
    if (start === undefined) return;
    this.#start.observe(start.sinceSeenSeconds);
    this.#startTotal.observe(start.totalSeconds);
    if (!start.isStateful) this.#startSli.observe(start.sliSeconds);
    if (start.isFirstOnNetwork) this.#firstStart.set(start.sliSeconds);
  }

  podGone(uid: string): void {
    this.#starts.forget(uid);
    this.#ends.forget(uid);
  }

  statusWritten(afterSeconds: number): void {
    this.#statusWrites.observe(afterSeconds);
  }

  relisted(tookSeconds: number, sinceSeconds: number | undefined): void {
    this.#relist.observe(tookSeconds);
    if (sinceSeconds !== undefined) this.#relistInterval.observe(sinceSeconds);
    this.#relistSeen.set(this.#clock.now() / 1000);
  }

  containerStarted(pod: Pod, container: string, failure?: string): void {
    const container_type = containerKind(pod, container);
    this.#containers.inc({ container_type });
    if (failure !== undefined) this.#containerErrors.inc({ container_type, code: failure });
  }

  imagePulled(podUid: string, tookSeconds: number, sizeBytes: number | undefined): void {
    this.#starts.pulled(podUid, tookSeconds);
    this.#pulls.observe({ image_size_in_bytes: imageSizeLabel(sizeBytes) }, tookSeconds);
  }

  imageRemoved(why: 'age' | 'space'): void {
    this.#imagesRemoved.inc({ reason: why });
  }

  volumeOperation(plugin: string, operation: string, tookSeconds: number, ok: boolean): void {
    const status = ok ? 'success' : 'fail-unknown';
    this.#storage.observe({ volume_plugin: plugin, operation_name: operation, status, migrated: 'false' }, tookSeconds);
  }

  podRelisted(tookSeconds: number): void {
    this.#podRelist.observe(tookSeconds);
  }

  podRestarted(isStatic: boolean): void {
    this.#seldom.podRestarted(isStatic);
  }

  orphansCleaned(pods: number, failures: number): void {
    this.#seldom.orphansCleaned(pods, failures);
  }

  counted(what: Seldom, times = 1): void {
    this.#seldom.counted(what, times);
  }
}
