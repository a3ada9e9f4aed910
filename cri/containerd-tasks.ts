// Tasks that containerd's CRI plugin lost sight of. When the caller of StartContainer goes away, the plugin takes the
// container for ended; a task that came up behind its back then stays, and with it the container, which CRI refuses to
// remove ("cannot delete running task", also when its process has ended). containerd's own service can.
import { isCriError } from './errors.ts';
import { type Method, methodOf, type RpcChannel } from './rpc.ts';

const SERVICE = 'containerd.services.tasks.v1.Tasks';
const KILL = methodOf(SERVICE, 'Kill', 'KillTaskRequest', 'Empty');
const WAIT = methodOf(SERVICE, 'Wait', 'WaitTaskRequest', 'Empty');
const DELETE = methodOf(SERVICE, 'Delete', 'DeleteTaskRequest', 'Empty');
/** Where the CRI plugin keeps its containers. */
const HEADERS = { 'containerd-namespace': 'k8s.io' };
const SIGKILL = 9;

/** CRI's refusal to remove a container because of such a task. */
export function isLostTask(err: unknown): boolean {
  return isCriError(err, 'FAILED_PRECONDITION') && /cannot delete running task/.test(err.message);
}

/** Ends the task of a container and removes it. One that is not there is success. @throws {CriError} */
export async function deleteTask(
  channel: RpcChannel,
  containerId: string,
  timeoutMs: number,
  signal?: AbortSignal,
): Promise<void> {
  const call = (method: Method, request: object) => channel.call(method, request, timeoutMs, signal, HEADERS);
  try {
    await call(KILL, { containerId, signal: SIGKILL, all: true }).catch(refusesWhatHasEnded);
    await call(WAIT, { containerId });
    await call(DELETE, { containerId });
  } catch (err) {
    if (!isCriError(err, 'NOT_FOUND')) throw err;
  }
}

/** A task whose process has ended cannot be killed; Wait then returns at once. */
function refusesWhatHasEnded(err: unknown): void {
  if (!isCriError(err, 'NOT_FOUND') && !isCriError(err, 'FAILED_PRECONDITION')) throw err;
}
