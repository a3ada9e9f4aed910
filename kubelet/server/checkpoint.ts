// /checkpoint: has the runtime write the state of a running container to a file, where forensics find it.
// After pkg/kubelet/server/server.go checkpoint and pkg/kubelet/kubelet.go CheckpointContainer.
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { formatTime } from '../../api/meta.ts';
import { podFullName } from '../../api/pod.ts';
import type { Clock } from '../../core/clock.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import { rpcErrorText } from '../plugins/rpc-text.ts';
import { findContainer } from '../runtime/pod-runtime-status.ts';
import { type Handler, sendJson } from './endpoints.ts';
import { HttpError } from './http-error.ts';
import { hasContainer } from './log-options.ts';
import { type ContainerPath, containerPath } from './routes.ts';
import { runtimeStatusOf, type ServedPods, servedPod } from './served-pods.ts';

export interface CheckpointDeps {
  /** `checkpoints` below the kubelet's root. Memory of containers lies there: nobody but root may look. */
  readonly dir: string;
  readonly pods: ServedPods;
  readonly runtime: Pick<RuntimeService, 'checkpointContainer'>;
  readonly clock: Clock;
}

export function checkpointEndpoint(deps: CheckpointDeps): Handler {
  return async ({ response, query, params }) => {
    const location = await checkpoint(containerPath(params), query, deps);
    sendJson(response, JSON.stringify({ items: [location] }));
  };
}

/** @returns the file written. @throws {HttpError} 404, 500 */
async function checkpoint(target: ContainerPath, query: URLSearchParams, deps: CheckpointDeps): Promise<string> {
  const pod = servedPod(deps.pods, target);
  const { namespace, pod: name, container } = target;
  if (!hasContainer(pod, container)) throw new HttpError(404, `container ${container} does not exist`);
  const timeoutSeconds = parseTimeout(query);
  try {
    const found = findContainer(await runtimeStatusOf(deps.pods, pod), container);
    if (found === undefined) throw new Error(`container ${container} not found`);
    await mkdir(deps.dir, { recursive: true, mode: 0o700 });
    const stamp = formatTime(deps.clock.now());
    const location = path.join(deps.dir, `checkpoint-${podFullName(pod)}-${container}-${stamp}.tar`);
    await deps.runtime.checkpointContainer(found.id, location, timeoutSeconds);
    return location;
  } catch (err) {
    throw new HttpError(500, `checkpointing of ${namespace}/${name}/${container} failed (${rpcErrorText(err)})`);
  }
}

/** The last of several. */
function parseTimeout(query: URLSearchParams): number {
  const text = query.getAll('timeout').at(-1);
  if (text === undefined) return 0;
  const seconds = Number(text);
  if (!/^[+-]?\d+$/.test(text) || !Number.isSafeInteger(seconds)) {
    throw new HttpError(404, 'cannot parse value of timeout parameter');
  }
  return seconds;
}
