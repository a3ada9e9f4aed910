// What can be counted from what the kubelet knows, when somebody asks (pkg/kubelet/metrics/metrics.go).
import type { Pod } from '../../api/pod.ts';
import { Gauge, type Registry } from '../../core/metrics.ts';
import { isStaticPod } from '../pod-manager.ts';
import type { WorkerState } from '../pod-worker-state.ts';
import type { PodRuntimeStatus } from '../runtime/pod-runtime-status.ts';

/** The Kubelet has this shape. */
export interface CountedPods {
  /** Desired pods, without mirror pods. */
  desiredPods(): readonly Pod[];
  mirrorPodCount(): number;
  workerStates(): readonly WorkerState[];
  runtimeStatuses(): readonly PodRuntimeStatus[];
}

export interface PodCounts {
  readonly runningPods: number;
  readonly containers: Readonly<Record<'created' | 'running' | 'exited' | 'unknown', number>>;
  readonly desired: { readonly static: number; readonly other: number };
  readonly active: { readonly static: number; readonly other: number };
  readonly mirrors: number;
  readonly ephemeralContainers: number;
  /** By `lifecycle`, `config` and `static`, joined by commas; every combination is there. */
  readonly working: ReadonlyMap<string, number>;
}

/** Every kind of worker there can be: one of which there is none is shown as 0, so that its series does not end. */
const WORKER_KINDS = ['sync', 'terminating', 'terminated'].flatMap((phase) => [
  ...['desired', 'orphan'].flatMap((config) => [`${phase},${config},`, `${phase},${config},true`]),
  `${phase},runtime_only,unknown`,
]);

/** Pure. */
export function countPods(pods: CountedPods): PodCounts {
  const containers = { created: 0, running: 0, exited: 0, unknown: 0 };
  let runningPods = 0;
  for (const status of pods.runtimeStatuses()) {
    if (status.sandboxes.some((s) => s.state === 'SANDBOX_READY')) runningPods += 1;
    for (const c of status.containers) containers[c.state] += 1;
  }
  const desired = { static: 0, other: 0 };
  let ephemeralContainers = 0;
  const uids = new Set<string>();
  for (const pod of pods.desiredPods()) {
    desired[isStaticPod(pod) ? 'static' : 'other'] += 1;
    ephemeralContainers += pod.spec?.ephemeralContainers?.length ?? 0;
    uids.add(pod.metadata?.uid ?? '');
  }
  const active = { static: 0, other: 0 };
  const working = new Map(WORKER_KINDS.map((kind) => [kind, 0]));
  for (const { phase, pod, identity } of pods.workerStates()) {
    if (phase === 'finished') continue;
    const isStatic = pod === undefined ? 'unknown' : isStaticPod(pod) ? 'true' : '';
    if (phase === 'sync' && pod !== undefined) active[isStatic === 'true' ? 'static' : 'other'] += 1;
    const config = pod === undefined ? 'runtime_only' : uids.has(identity.uid) ? 'desired' : 'orphan';
    const key = `${phase},${config},${isStatic}`;
    working.set(key, (working.get(key) ?? 0) + 1);
  }
  return { runningPods, containers, desired, active, mirrors: pods.mirrorPodCount(), ephemeralContainers, working };
}

/** Registers the gauges; nothing is counted before a scrape. */
export function registerPodGauges(registry: Registry, pods: () => CountedPods): void {
  const registers = [registry];
  const plain = (name: string, help: string) => new Gauge({ name, help, registers });
  const byStatic = (name: string, help: string) =>
    new Gauge({ name, help, labelNames: ['static'] as const, registers });
  // Collected in the order in which they were made: the first one counts for all.
  const running: Gauge = new Gauge({
    name: 'kubelet_running_pods',
    help: 'Pods with a running sandbox',
    registers,
    collect: () => {
      const counts = countPods(pods());
      running.set(counts.runningPods);
      for (const [container_state, n] of Object.entries(counts.containers)) containers.set({ container_state }, n);
      for (const [gauge, n] of [
        [desired, counts.desired],
        [active, counts.active],
      ] as const) {
        gauge.set({ static: 'true' }, n.static);
        gauge.set({ static: '' }, n.other);
      }
      mirrors.set(counts.mirrors);
      ephemeral.set(counts.ephemeralContainers);
      for (const [key, n] of counts.working) {
        const [lifecycle = '', config = '', isStatic = ''] = key.split(',');
        working.set({ lifecycle, config, static: isStatic }, n);
      }
    },
  });
  const containers = new Gauge({
    name: 'kubelet_running_containers',
    help: 'Containers of the runtime, by state',
    labelNames: ['container_state'],
    registers,
  });
  const desired = byStatic('kubelet_desired_pods', 'Pods that should be on the node');
  const active = byStatic('kubelet_active_pods', 'Pods that are being run');
  const mirrors = plain('kubelet_mirror_pods', 'Mirror pods of this node');
  const ephemeral = plain('kubelet_managed_ephemeral_containers', 'Ephemeral containers of the pods of this node');
  const working = new Gauge({
    name: 'kubelet_working_pods',
    help: 'Pods with a worker, by what it does, whether the pod is known, and whether it is static',
    labelNames: ['lifecycle', 'config', 'static'],
    registers,
  });
}
