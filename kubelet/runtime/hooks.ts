// Lifecycle handlers: postStart and preStop (pkg/kubelet/lifecycle/handlers.go).
import http from 'node:http';
import https from 'node:https';
import type { ObjectReference } from '../../api/kinds.ts';
import type { ContainerPort } from '../../api/pod.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Clock } from '../../core/clock.ts';
import { errorMessage } from '../../core/errors.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import type { KubeletObserver } from '../metrics/observer.ts';
import type { LifecycleHandler } from './labels.ts';

const USER_AGENT = 'kube-lifecycle/1.36';
/** Of a command's output in the message of a failure, bytes. */
const MAX_OUTPUT_BYTES = 1024;
const MAX_REDIRECTS = 10;

export interface HookTarget {
  readonly handler: LifecycleHandler;
  readonly containerName: string;
  readonly containerId: string;
  /** `<name>_<namespace>(<uid>)` */
  readonly podDescription: string;
  /** The pod, for Events. */
  readonly about: ObjectReference;
  /** '' when unknown: only handlers that name a host of their own can work then. */
  readonly podIp: string;
  readonly ports: readonly ContainerPort[];
}

export interface HookDeps {
  readonly runtime: RuntimeService;
  readonly clock: Clock;
  readonly recorder: EventRecorder;
  readonly observer?: Pick<KubeletObserver, 'counted'>;
}

/** Runs one handler to its end. @throws Error with the message that Kubernetes shows; also when `signal` aborts. */
export async function runHook(target: HookTarget, deps: HookDeps, signal: AbortSignal): Promise<void> {
  const { handler } = target;
  const where = `for Container "${target.containerName}" in Pod "${target.podDescription}" failed - error:`;
  if (handler.exec !== undefined) {
    await runExecHook(target, handler.exec.command ?? [], where, deps, signal);
  } else if (handler.httpGet !== undefined) {
    try {
      await runHttpHook(target, handler.httpGet, deps, signal);
    } catch (err) {
      throw new Error(`HTTP lifecycle hook (${handler.httpGet.path ?? ''}) ${where} ${errorMessage(err)}`);
    }
  } else if (handler.sleep !== undefined) {
    if (handler.sleep.seconds > 0) await deps.clock.sleep(handler.sleep.seconds * 1000, signal);
    if (signal.aborted) {
      deps.observer?.counted('kubelet_sleep_action_terminated_early_total');
      const why = 'container terminated before sleep hook finished';
      throw new Error(`Sleep lifecycle hook (${handler.sleep.seconds}) ${where} ${why}`);
    }
  } else {
    throw new Error(`Cannot run handler: invalid handler: ${JSON.stringify(handler)}`);
  }
}

async function runExecHook(
  target: HookTarget,
  command: readonly string[],
  where: string,
  deps: HookDeps,
  signal: AbortSignal,
): Promise<void> {
  const name = `Exec lifecycle hook ([${command.join(' ')}]) ${where}`;
  let failure: string;
  let output = '';
  try {
    const result = await deps.runtime.execSync(target.containerId, command, 0, { signal });
    if (result.exitCode === 0) return;
    output = Buffer.concat([result.stdout, result.stderr]).subarray(0, MAX_OUTPUT_BYTES).toString('utf8');
    failure = `command '${command.join(' ')}' exited with ${result.exitCode}: ${output}`;
  } catch (err) {
    failure = errorMessage(err);
  }
  throw new Error(`${name} ${failure}, message: ${JSON.stringify(output)}`);
}

type HttpAction = NonNullable<LifecycleHandler['httpGet']>;

/** Any answer is a success: the hook says that the request was made, not what came of it. */
async function runHttpHook(target: HookTarget, action: HttpAction, deps: HookDeps, signal: AbortSignal): Promise<void> {
  const host = action.host || target.podIp;
  if (host === '') throw new Error('failed to find networking container: no address of the pod is known');
  const scheme = (action.scheme ?? 'HTTP').toLowerCase();
  const url = hookUrl(scheme, host, resolvePort(action.port, target), action.path ?? '');
  const headers = headersOf(action);
  try {
    await getFollowing(url, headers, signal);
  } catch (err) {
    if (scheme !== 'https' || !isPlainHttpAnswer(err)) throw err;
    // The server speaks plain HTTP after all; credentials are not sent where anybody can read them.
    const { Authorization: _dropped, ...safe } = headers;
    await getFollowing(new URL(url.href.replace(/^https:/, 'http:')), safe, signal);
    const message = `request to HTTPS lifecycle hook ${url.host} got HTTP response, retry with HTTP succeeded`;
    deps.recorder.event(target.about, 'Warning', 'LifecycleHTTPFallback', message);
    deps.observer?.counted('kubelet_lifecycle_handler_http_fallbacks_total');
  }
}

function resolvePort(port: string | number, target: HookTarget): number {
  const value = typeof port === 'number' || /^\d+$/.test(port) ? Number(port) : undefined;
  const found = value ?? target.ports.find((p) => p.name === port)?.containerPort;
  if (found === undefined || found < 1 || found > 65_535)
    throw new Error(`couldn't find port: ${JSON.stringify(port)}`);
  return found;
}

function hookUrl(scheme: string, host: string, port: number, path: string): URL {
  const authority = host.includes(':') ? `[${host}]` : host;
  return new URL(path.startsWith('/') ? path : `/${path}`, `${scheme}://${authority}:${port}`);
}

function headersOf(action: HttpAction): Record<string, string> {
  const headers: Record<string, string> = { 'User-Agent': USER_AGENT, Accept: '*/*' };
  for (const { name, value } of action.httpHeaders ?? []) {
    const known = Object.keys(headers).find((k) => k.toLowerCase() === name.toLowerCase());
    headers[known ?? canonicalHeader(name)] = value ?? '';
  }
  return headers;
}

function canonicalHeader(name: string): string {
  return name.toLowerCase() === 'authorization' ? 'Authorization' : name;
}

/** Follows redirects to the same host name only; one that leads elsewhere is itself the answer. */
async function getFollowing(first: URL, headers: Record<string, string>, signal: AbortSignal): Promise<void> {
  let url = first;
  for (let i = 0; i < MAX_REDIRECTS; i++) {
    const location = await getOnce(url, headers, signal);
    if (location === undefined) return;
    const next = new URL(location, url);
    if (next.hostname !== url.hostname) return;
    url = next;
  }
  throw new Error(`stopped after ${MAX_REDIRECTS} redirects`);
}

/** Resolves with the redirect target, undefined for any other answer. The body is not read. */
function getOnce(url: URL, headers: Record<string, string>, signal: AbortSignal): Promise<string | undefined> {
  // As lenient as Go's parser: small servers end their lines with a mere \n.
  const options = { headers, signal, agent: false as const, rejectUnauthorized: false, insecureHTTPParser: true };
  return new Promise((resolve, reject) => {
    const onResponse = (response: http.IncomingMessage) => {
      const status = response.statusCode ?? 0;
      resolve(status >= 300 && status < 400 ? response.headers.location : undefined);
      response.destroy();
    };
    const request =
      url.protocol === 'https:' ? https.get(url, options, onResponse) : http.get(url, options, onResponse);
    request.once('error', reject);
  });
}

/** OpenSSL's words for a first record that is no TLS: it has read the beginning of an HTTP answer. */
function isPlainHttpAnswer(err: unknown): boolean {
  return /wrong version number|http request|packet length too long/i.test(errorMessage(err));
}
