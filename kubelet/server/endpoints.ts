// What answers each endpoint: functions found by the endpoint's kind, those of other parts of the kubelet among them.
import type { IncomingMessage, ServerResponse } from 'node:http';
import { linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import type { Registry } from '../../core/metrics.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import { answerCheck, answerHealthz, type HealthCheck } from './healthz.ts';
import { NOT_FOUND_TEXT, sendText } from './http-error.ts';
import { serveLogs } from './logs.ts';
import { renderPodList, runningPods } from './pod-lists.ts';
import { type ContainerPath, containerPath, type EndpointKind, type Route } from './routes.ts';
import { type ServedPods, servedContainer } from './served-pods.ts';

/** One request that was let in. */
export interface Call {
  readonly request: IncomingMessage;
  readonly response: ServerResponse;
  readonly query: URLSearchParams;
  readonly params: Route['params'];
}

/** Resolves when it has answered. @throws {HttpError} or anything (500) to have it answered with that. */
export type Handler = (call: Call) => Promise<void> | void;

/** Kinds without a function are not found. */
export type Handlers = Readonly<Partial<Record<EndpointKind, Handler>>>;

export interface EndpointDeps {
  readonly pods: ServedPods;
  readonly runtime: Pick<RuntimeService, 'execSync' | 'containerStatus'>;
  readonly metrics: Registry;
  readonly checks: readonly HealthCheck[];
  readonly splitLogStreams: boolean;
  readonly clock: Clock;
}

/** The endpoints that need nothing but the pods, the runtime and the metrics. */
export function podEndpoints(deps: EndpointDeps): Handlers {
  const { pods, metrics, checks } = deps;
  return {
    healthz: ({ response, query, params: { check } }) => {
      const answer = check === undefined ? answerHealthz(checks, query) : answerCheck(checks, check);
      sendText(response, answer?.code ?? 404, answer?.text ?? NOT_FOUND_TEXT);
    },
    pods: ({ response }) => sendJson(response, renderPodList(pods.getPods())),
    runningPods: async ({ response }) => sendJson(response, renderPodList(await runningPods(pods))),
    metrics: async ({ response }) =>
      sendText(response, 200, await metrics.metrics(), { 'Content-Type': metrics.contentType }),
    containerLogs: ({ response, query, params }) => serveLogs(response, containerPath(params), query, deps),
    run: async ({ response, query, params }) => {
      using gone = linkedSignal(); // a command whose caller has gone runs for nobody
      response.once('close', () => gone.abort());
      const output = await runCommand(deps, containerPath(params), query.get('cmd') ?? '', gone.signal);
      sendJson(response, output);
    },
  };
}

export function sendJson(response: ServerResponse, body: string | Uint8Array): void {
  response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body) });
  response.end(body);
}

/** Both outputs, one behind the other. @throws {HttpError} 404, 500 */
async function runCommand(
  { pods, runtime }: EndpointDeps,
  target: ContainerPath,
  command: string,
  signal: AbortSignal,
): Promise<Buffer> {
  const { container } = await servedContainer(pods, target);
  const { stdout, stderr } = await runtime.execSync(container.id, command.split(' '), 0, { signal });
  return Buffer.concat([stdout, stderr]);
}
