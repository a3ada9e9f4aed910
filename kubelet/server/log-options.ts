// The query of /containerLogs, and which of a container's runs it means. Pure. After v1.PodLogOptions and
// pkg/kubelet/kubelet_pods.go validateContainerLogStatus.
import { parseTime } from '../../api/meta.ts';
import type { ContainerStatus, Pod, PodStatus } from '../../api/pod.ts';
import { HttpError } from './http-error.ts';

export interface LogQuery {
  readonly follow: boolean;
  readonly previous: boolean;
  readonly timestamps: boolean;
  readonly sinceSeconds?: number;
  /** Wall ms. */
  readonly sinceTimeMs?: number;
  readonly tailLines?: number;
  readonly limitBytes?: number;
  /** As it was given; `All` when it was not. */
  readonly stream: LogStream;
}

export type LogStream = 'All' | 'Stdout' | 'Stderr';
const LOG_STREAMS: readonly string[] = ['All', 'Stdout', 'Stderr'] satisfies LogStream[];

/**
 * `splitStreams`: one of both outputs may be asked for alone.
 * @throws {HttpError} 400 not readable, 422 not meaningful.
 */
export function parseLogQuery(query: URLSearchParams, splitStreams = false): LogQuery {
  const sinceSeconds = integer(query, 'sinceSeconds');
  const sinceTimeMs = time(query, 'sinceTime');
  const limitBytes = integer(query, 'limitBytes');
  const tailLines = tail(query);
  if (sinceSeconds !== undefined && (sinceSeconds < 1 || sinceTimeMs !== undefined)) throw invalid();
  if ((limitBytes !== undefined && limitBytes < 1) || (tailLines !== undefined && tailLines < 0)) throw invalid();
  const stream = query.get('stream') || 'All';
  // A tail is counted on lines of both.
  if (splitStreams && (!LOG_STREAMS.includes(stream) || (stream !== 'All' && tailLines !== undefined))) throw invalid();
  return {
    follow: bool(query, 'follow'),
    previous: bool(query, 'previous'),
    timestamps: bool(query, 'timestamps'),
    stream: stream as LogStream,
    ...(sinceSeconds === undefined ? {} : { sinceSeconds }),
    ...(sinceTimeMs === undefined ? {} : { sinceTimeMs }),
    ...(tailLines === undefined ? {} : { tailLines }),
    ...(limitBytes === undefined ? {} : { limitBytes }),
  };
}

/** `tail` is what kubelets of old called it; `all` is no limit. */
function tail(query: URLSearchParams): number | undefined {
  const old = query.get('tail');
  if (old === 'all') return undefined;
  return old === null || old === '' ? integer(query, 'tailLines') : parseInteger(old);
}

/** A key without a value is true, as every conversion of API queries has it. */
function bool(query: URLSearchParams, name: string): boolean {
  const value = query.get(name)?.toLowerCase();
  return value !== undefined && value !== '0' && value !== 'false';
}

function integer(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  return text === null || text === '' ? undefined : parseInteger(text);
}

function parseInteger(text: string): number {
  const value = Number(text);
  if (!/^[+-]?\d+$/.test(text) || !Number.isSafeInteger(value)) throw undecodable();
  return value;
}

function time(query: URLSearchParams, name: string): number | undefined {
  const text = query.get(name);
  if (text === null || text === '') return undefined;
  const ms = parseTime(text);
  if (Number.isNaN(ms)) throw undecodable();
  return ms;
}

const undecodable = () => new HttpError(400, '{"message": "Unable to decode query."}');
const invalid = () => new HttpError(422, '{"message": "Invalid request."}');

/** @throws {HttpError} 400 when one output alone is asked of a node that does not have them apart. */
export function refuseStreams({ stream }: LogQuery, splitStreams: boolean): void {
  if (splitStreams || stream === 'All') return;
  const hint = 'Please enable PodLogsQuerySplitStreams feature gate in kubelet';
  throw new HttpError(400, `unable to return the given log stream: ${JSON.stringify(stream)}. ${hint}`);
}

/** @throws {HttpError} 404 no such container in the spec. */
export function requireContainer(pod: Pod, name: string): void {
  if (hasContainer(pod, name)) return;
  const podName = JSON.stringify(pod.metadata?.name ?? '');
  throw new HttpError(404, `container ${JSON.stringify(name)} not found in pod ${podName}`);
}

/**
 * `containerd://<id>` of the run whose log is wanted: the present one, else the last that ended.
 * @throws {HttpError} 400 when there is no log to read yet.
 */
export function loggedContainerId(pod: Pod, name: string, previous: boolean): string {
  const podName = pod.metadata?.name ?? '';
  const what = `container ${JSON.stringify(name)} in pod ${JSON.stringify(podName)}`;
  const status = statusOf(pod.status, name);
  if (status === undefined) throw new HttpError(400, `${what} is not available`);
  const last = status.lastState?.terminated?.containerID ?? '';
  if (previous && last === '') throw new HttpError(400, `previous terminated ${what} not found`);
  return previous ? last : presentId(status, last, what);
}

function presentId(status: ContainerStatus, last: string, what: string): string {
  const { running, terminated, waiting } = status.state ?? {};
  if (running !== undefined) return status.containerID ?? '';
  const ended = terminated?.containerID ?? '';
  if (ended !== '') return ended;
  if (last !== '') return last;
  if (terminated !== undefined) throw new HttpError(400, `${what} is terminated`);
  throw new HttpError(400, `${what} is waiting to start${waitingText(waiting?.reason)}`);
}

function waitingText(reason: string | undefined): string {
  if (reason === undefined || reason === '') return ' - no logs yet';
  if (reason === 'ErrImagePull') return ": image can't be pulled";
  return reason === 'ImagePullBackOff' ? ': trying and failing to pull image' : `: ${reason}`;
}

export function hasContainer({ spec }: Pod, name: string): boolean {
  const all = [...(spec?.containers ?? []), ...(spec?.initContainers ?? []), ...(spec?.ephemeralContainers ?? [])];
  return all.some((c) => c.name === name);
}

function statusOf(status: PodStatus | undefined, name: string): ContainerStatus | undefined {
  const all = [
    ...(status?.containerStatuses ?? []),
    ...(status?.initContainerStatuses ?? []),
    ...(status?.ephemeralContainerStatuses ?? []),
  ];
  return all.find((s) => s.name === name);
}
