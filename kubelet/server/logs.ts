// /containerLogs: the log of one run of a container, streamed from the runtime's file with the client's pace.
import { realpath } from 'node:fs/promises';
import type { ServerResponse } from 'node:http';
import { bareContainerId, type Pod } from '../../api/pod.ts';
import { linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { errnoOf, errorMessage } from '../../core/errors.ts';
import { type ContainerLogOptions, streamContainerLog } from '../../cri/container-log.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import { HttpError } from './http-error.ts';
import {
  type LogQuery,
  type LogStream,
  loggedContainerId,
  parseLogQuery,
  refuseStreams,
  requireContainer,
} from './log-options.ts';
import type { ContainerPath } from './routes.ts';
import { runtimeStatusOf, type ServedPods } from './served-pods.ts';

export interface LogDeps {
  readonly pods: ServedPods;
  readonly runtime: Pick<RuntimeService, 'containerStatus'>;
  /** Gate PodLogsQuerySplitStreams. */
  readonly splitLogStreams: boolean;
  readonly clock: Clock;
}

/** Answers when the log has been written whole, its limit is reached, or the client is gone. @throws {HttpError} */
export async function serveLogs(
  response: ServerResponse,
  target: ContainerPath,
  query: URLSearchParams,
  deps: LogDeps,
): Promise<void> {
  const options = parseLogQuery(query, deps.splitLogStreams);
  const pod = deps.pods.podByName(target.namespace, target.pod);
  if (pod === undefined) throw new HttpError(404, `pod ${JSON.stringify(target.pod)} does not exist`);
  requireContainer(pod, target.container);
  refuseStreams(options, deps.splitLogStreams);
  const logged = loggedContainerId(pod, target.container, options.previous);
  const containerId = bareContainerId(logged);
  const file = await logFileOf(logged, deps.runtime);

  using gone = linkedSignal();
  let written = (): void => {};
  response.once('close', () => {
    gone.abort();
    written();
  });
  response.setHeader('Content-Type', 'text/plain');
  response.setHeader('X-Content-Type-Options', 'nosniff');
  if (options.follow) response.flushHeaders(); // one of a silent container wants to know that it is connected
  // The chunk's buffer is used again: each has to have gone to the kernel, or its client away.
  const sink = (chunk: Uint8Array): Promise<void> =>
    new Promise((resolve) => {
      written = resolve;
      if (gone.signal.aborted) resolve();
      else response.write(chunk, () => resolve());
    });
  const control = {
    signal: gone.signal,
    ...(options.follow ? { ended: containerEnded(pod, containerId, deps, gone.signal) } : {}),
  };
  try {
    await streamContainerLog(file, streamOptions(options, deps.clock.now()), sink, control);
  } catch (err) {
    throw response.headersSent ? err : new HttpError(400, errorMessage(err));
  }
  response.end();
}

const STREAMS: ReadonlyMap<LogStream, 'stdout' | 'stderr'> = new Map([
  ['Stdout', 'stdout'],
  ['Stderr', 'stderr'],
]);

/** Pure. */
export function streamOptions(query: LogQuery, nowMs: number): ContainerLogOptions {
  const { follow, timestamps, tailLines, limitBytes, sinceSeconds } = query;
  const stream = STREAMS.get(query.stream);
  const sinceMs = sinceSeconds === undefined ? query.sinceTimeMs : nowMs - sinceSeconds * 1000;
  return {
    follow,
    timestamps,
    ...(tailLines === undefined ? {} : { tailLines }),
    ...(limitBytes === undefined ? {} : { limitBytes }),
    ...(sinceMs === undefined ? {} : { sinceMs }),
    ...(stream === undefined ? {} : { stream }),
  };
}

/** `containerId` with the runtime's name, as statuses have it. @throws {HttpError} 400 */
async function logFileOf(containerId: string, runtime: LogDeps['runtime']): Promise<string> {
  let logPath: string;
  try {
    ({ logPath } = await runtime.containerStatus(bareContainerId(containerId)));
  } catch {
    throw new HttpError(400, `unable to retrieve container logs for ${containerId}`);
  }
  try {
    return await realpath(logPath);
  } catch (err) {
    const why = errnoOf(err) === 'ENOENT' ? `lstat ${logPath}: no such file or directory` : errorMessage(err);
    throw new HttpError(400, `failed to try resolving symlinks in path ${JSON.stringify(logPath)}: ${why}`);
  }
}

/** Resolves when the run is over, or `signal` aborts. A runtime that does not answer is not a container that ended. */
async function containerEnded(pod: Pod, containerId: string, deps: LogDeps, signal: AbortSignal): Promise<void> {
  let changed = Promise.withResolvers<void>();
  const look = () => changed.resolve();
  using _changes = deps.pods.onRuntimeChange(pod.metadata?.uid ?? '', look);
  signal.addEventListener('abort', look, { once: true });
  while (!signal.aborted && (await mayRun(pod, containerId, deps.pods))) {
    if (!signal.aborted) await changed.promise;
    changed = Promise.withResolvers<void>(); // before the look: what comes during it causes another
  }
  signal.removeEventListener('abort', look);
}

async function mayRun(pod: Pod, containerId: string, pods: ServedPods): Promise<boolean> {
  try {
    const { containers } = await runtimeStatusOf(pods, pod);
    const state = containers.find((c) => c.id === containerId)?.state;
    return state !== undefined && state !== 'exited';
  } catch {
    return true; // the runtime is away: its containers are not
  }
}
