// Whether a running container is to be given other resources, and whether it can keep running then. Pure; part of
// computeActions.
import type { Container } from '../../api/pod.ts';
import { type ContainerResize, containerResize, restartsForResize } from '../resize/resize-progress.ts';
import type { ComputeActionsInput, ContainerToKill } from './pod-actions.ts';
import type { RuntimeContainer } from './pod-runtime-status.ts';

export type ResizeStep = { readonly resize?: ContainerResize; readonly kill?: ContainerToKill };

/** Neither when the container uses what it was given; `kill` goes with a new start. */
export function resizeStep(container: Container, running: RuntimeContainer, input: ComputeActionsInput): ResizeStep {
  const { pod, resources } = input;
  const resize = resources === undefined ? undefined : containerResize(pod, container, running, resources);
  if (resize === undefined) return {};
  if (!restartsForResize(resize)) return { resize };
  return {
    kill: { container: running, message: `Container ${container.name} resize requires restart`, reason: 'other' },
  };
}
