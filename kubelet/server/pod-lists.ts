// /pods and /runningpods/: what this node should run, and what its runtime runs.
import type { Pod } from '../../api/pod.ts';
import type { PodRuntimeStatus } from '../runtime/pod-runtime-status.ts';
import type { ServedPods } from './served-pods.ts';

/** As the kubelet's Go prints it: an empty list is null, and the items of a list do not say what they are. */
export function renderPodList(pods: readonly Pod[]): string {
  const items = pods.map(({ apiVersion, kind, ...pod }) => pod);
  return JSON.stringify({ kind: 'PodList', apiVersion: 'v1', metadata: {}, items: pods.length === 0 ? null : items });
}

/** Pods with running containers, as the runtime has them: names and images, no spec of the API. */
export async function runningPods(pods: ServedPods): Promise<Pod[]> {
  const statuses = await Promise.all(
    pods
      .getPods()
      .map(({ metadata: m = {} }) =>
        pods.runtimeStatus({ uid: m.uid ?? '', name: m.name ?? '', namespace: m.namespace ?? '' }),
      ),
  );
  return statuses.map(podOfRuntime).filter((pod) => pod.spec!.containers.length > 0);
}

function podOfRuntime({ uid, name, namespace, containers }: PodRuntimeStatus): Pod {
  const running = containers.filter((c) => c.state === 'running');
  return {
    metadata: { name, namespace, uid },
    spec: { containers: running.map((c) => ({ name: c.name, image: c.cri.image?.image ?? '', resources: {} })) },
    status: {},
  };
}
