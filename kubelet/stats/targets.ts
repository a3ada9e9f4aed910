// Which pods and containers have figures, and in which cgroups: what runs now, as the newest known status has it.
import type { Pod } from '../../api/pod.ts';
import type { PodRuntimeStatus } from '../runtime/pod-runtime-status.ts';

export interface ContainerTarget {
  readonly id: string;
  readonly name: string;
  /** As the runtime names it. */
  readonly image: string;
  readonly createdAtMs: number;
  /** Its cgroup, by each of the names that runtimes give it. */
  readonly cgroups: readonly string[];
}

export interface PodTarget {
  readonly pod: Pod;
  readonly uid: string;
  readonly name: string;
  readonly namespace: string;
  readonly hostNetwork: boolean;
  /** The pod's own cgroup; '' where pods have none. */
  readonly cgroup: string;
  readonly sandbox: ContainerTarget;
  /** Running ones only, the newest of each name. */
  readonly containers: readonly ContainerTarget[];
}

export interface RunningPod {
  readonly pod: Pod;
  readonly status: PodRuntimeStatus;
}

/** Pure: pods with a ready sandbox. `cgroupParentOf` as CRI is told it; '' leaves it to the runtime. */
export function podTargets(running: readonly RunningPod[], cgroupParentOf: (pod: Pod) => string): PodTarget[] {
  return running.flatMap(({ pod, status }) => {
    const sandbox = status.sandboxes.find((s) => s.state === 'SANDBOX_READY');
    if (sandbox === undefined) return [];
    const cgroup = cgroupParentOf(pod);
    const containers = new Map<string, ContainerTarget>();
    for (const { id, name, state, createdAtMs, sandboxId, cri } of status.containers) {
      if (state !== 'running' || sandboxId !== sandbox.id || containers.has(name)) continue;
      const image = cri.image?.image || cri.imageRef;
      containers.set(name, { id, name, image, createdAtMs, cgroups: containerCgroups(cgroup, id) });
    }
    const createdAtMs = Number(sandbox.createdAt / 1_000_000n);
    return {
      pod,
      uid: status.uid,
      name: status.name,
      namespace: status.namespace,
      hostNetwork: pod.spec?.hostNetwork === true,
      cgroup,
      sandbox: { id: sandbox.id, name: '', image: '', createdAtMs, cgroups: containerCgroups(cgroup, sandbox.id) },
      containers: [...containers.values()],
    };
  });
}

/** Pure: cgroupfs, then systemd with containerd and with CRI-O; without a parent containerd has one of its own. */
export function containerCgroups(parent: string, id: string): string[] {
  if (parent === '') return [`/k8s.io/${id}`, `/system.slice/cri-containerd-${id}.scope`];
  const base = parent === '/' ? '' : parent;
  return [`${base}/${id}`, `${base}/cri-containerd-${id}.scope`, `${base}/crio-${id}.scope`];
}
