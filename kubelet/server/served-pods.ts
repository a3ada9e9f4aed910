// What the HTTPS server sees of the kubelet: pods by name, and what the runtime has of them. `Kubelet` has this shape.
import { type Pod, podFullName } from '../../api/pod.ts';
import { findContainer, type PodRuntimeStatus, type RuntimeContainer } from '../runtime/pod-runtime-status.ts';
import { HttpError } from './http-error.ts';
import type { ContainerPath, PodPath } from './routes.ts';

export interface ServedPods {
  /** Desired pods, without mirror pods, with their newest status. */
  getPods(): Pod[];
  podByName(namespace: string, name: string): Pod | undefined;
  /** The API knows the pod under `uid`, or the node does: a static pod has one uid here and its mirror another. */
  hasUid(pod: Pod, uid: string): boolean;
  /** Cheap while nothing happens to the pod. @throws what the runtime call throws. */
  runtimeStatus(pod: { uid: string; name: string; namespace: string }): Promise<PodRuntimeStatus>;
  /** `listener` is called when `runtimeStatus` may answer differently from before. */
  onRuntimeChange(podUid: string, listener: () => void): Disposable;
}

/** @throws {HttpError} 404 */
export function servedPod(pods: ServedPods, { namespace, pod }: PodPath): Pod {
  const found = pods.podByName(namespace, pod);
  if (found === undefined) throw new HttpError(404, 'pod does not exist');
  return found;
}

export function runtimeStatusOf(pods: ServedPods, pod: Pod): Promise<PodRuntimeStatus> {
  const { uid = '', name = '', namespace = '' } = pod.metadata ?? {};
  return pods.runtimeStatus({ uid, name, namespace });
}

/** The newest container of that name. @throws {HttpError} 404 no such pod, 500 no such container, in upstream's words for `use`. */
export async function servedContainer(
  pods: ServedPods,
  target: ContainerPath,
  use: 'exec' | 'attach' = 'exec',
): Promise<{ readonly pod: Pod; readonly container: RuntimeContainer }> {
  const pod = servedPod(pods, target);
  const sameUid = target.uid === undefined || pods.hasUid(pod, target.uid);
  const container = sameUid ? findContainer(await runtimeStatusOf(pods, pod), target.container) : undefined;
  if (container === undefined) {
    const missing =
      use === 'attach'
        ? `container ${target.container} not found in pod ${podFullName(pod)}`
        : `container not found (${JSON.stringify(target.container)})`;
    throw new HttpError(500, missing);
  }
  return { pod, container };
}

/** The sandbox that port-forward uses: the newest ready one. @throws {HttpError} 404 */
export async function servedSandbox(pods: ServedPods, target: PodPath): Promise<string> {
  const pod = servedPod(pods, target);
  if (target.uid !== undefined && !pods.hasUid(pod, target.uid)) throw new HttpError(404, 'pod not found');
  const { sandboxes } = await runtimeStatusOf(pods, pod);
  const ready = sandboxes.find((s) => s.state === 'SANDBOX_READY');
  if (ready === undefined) throw new HttpError(500, `sandbox of pod ${podFullName(pod)} is not ready`);
  return ready.id;
}
