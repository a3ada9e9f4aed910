// Lifecycle handlers: postStart and preStop (pkg/kubelet/lifecycle/handlers.go).
import type { ObjectReference } from '../../api/kinds.ts';
import type { ContainerPort } from '../../api/pod.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Clock } from '../../core/clock.ts';
import { errorMessage } from '../../core/errors.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import { ResponseCut } from '../../probes/http-exchange.ts';
import { type HttpGet, HttpGetRequest, PLAIN_HTTP_ANSWER } from '../../probes/http-get.ts';
import { httpTarget } from '../../probes/target.ts';
import type { KubeletObserver } from '../metrics/observer.ts';
import type { LifecycleHandler } from './labels.ts';

const USER_AGENT = 'kube-lifecycle/1.36';
/** Of a command's output in the message of a failure, bytes. */
const MAX_OUTPUT_BYTES = 1024;

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
  if (!action.host && target.podIp === '') {
    throw new Error('failed to find networking container: no address of the pod is known');
  }
  const get = httpTarget(action, { ports: target.ports }, target.podIp);
  const request = new HttpGetRequest(get, USER_AGENT);
  try {
    await answered(request, signal);
  } catch (err) {
    if (!errorMessage(err).includes(PLAIN_HTTP_ANSWER) || !(await isAnsweredWithoutTls(get, signal))) throw err;
    const message = `request to HTTPS lifecycle hook ${request.address} got HTTP response, retry with HTTP succeeded`;
    deps.recorder.event(target.about, 'Warning', 'LifecycleHTTPFallback', message);
    deps.observer?.counted('kubelet_lifecycle_handler_http_fallbacks_total');
  }
}

/** Waits for the body too, as far as probes look at it: servers may do their work while they send it. */
async function answered(request: HttpGetRequest, signal: AbortSignal): Promise<void> {
  try {
    await request.send(signal);
  } catch (err) {
    if (!(err instanceof ResponseCut)) throw err;
  }
}

/** For a server that speaks plain HTTP after all; credentials are not sent where anybody can read them. */
async function isAnsweredWithoutTls(get: HttpGet, signal: AbortSignal): Promise<boolean> {
  const headers = get.headers.filter(({ name }) => name.toLowerCase() !== 'authorization');
  try {
    await answered(new HttpGetRequest({ ...get, scheme: 'http', headers }, USER_AGENT), signal);
    return true;
  } catch {
    return false; // what HTTPS said is told
  }
}
