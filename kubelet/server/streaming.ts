// exec, attach and port-forward: the runtime is asked for the URL of a session, and the client's connection is handed on
// to it. The runtime speaks SPDY and the older WebSocket protocols itself; the newer ones are translated here.
// After pkg/kubelet/server/server.go getExec, getAttach, getPortForward.
import type { IncomingMessage } from 'node:http';
import type { Pod } from '../../api/pod.ts';
import { tunnelledProtocols, wantsTunnel } from '../../api/streaming/port-forward.ts';
import type { ClientUpgrade } from '../../api/streaming/remote-command.ts';
import { isWebSocketRequest } from '../../api/streaming/websocket.ts';
import type { Counter } from '../../core/metrics.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import { HttpError } from './http-error.ts';
import { type ContainerPath, containerPath, type EndpointKind, type PodPath, podPath, type Route } from './routes.ts';
import { relayKind, relayToRuntime } from './runtime-relay.ts';
import { type ServedPods, servedContainer, servedSandbox } from './served-pods.ts';

/** Which streams a session has, in CRI's words. */
export interface StreamSelection {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
}

export interface StreamingDeps {
  readonly pods: ServedPods;
  readonly runtime: Pick<RuntimeService, 'exec' | 'attach' | 'portForward'>;
  readonly websocketRequests: Counter<'subresource'>;
  /** Gate ExtendWebSocketsToKubelet: WebSockets that the runtime does not understand are translated here. */
  readonly translates: boolean;
}

type StreamingRoute =
  | { readonly kind: 'exec' | 'attach'; readonly target: ContainerPath }
  | { readonly kind: 'portForward'; readonly target: PodPath };

/** The kinds that take a connection over instead of answering. */
const STREAMING: ReadonlySet<EndpointKind> = new Set(['exec', 'attach', 'portForward']);

export function isStreaming({ endpoint }: Route): boolean {
  return STREAMING.has(endpoint.kind);
}

function streamingRoute({ endpoint, params }: Route): StreamingRoute {
  const { kind } = endpoint;
  return kind === 'exec' || kind === 'attach'
    ? { kind, target: containerPath(params) }
    : { kind: 'portForward', target: podPath(params) };
}

/** @throws {HttpError} 400 when no stream is asked for. */
function parseStreams(query: URLSearchParams): StreamSelection {
  const on = (name: string) => query.get(name) === '1';
  const tty = on('tty');
  const streams = { stdin: on('input'), stdout: on('output'), stderr: on('error') && !tty, tty };
  if (!streams.stdin && !streams.stdout && !streams.stderr) {
    throw new HttpError(400, 'you must specify at least 1 of stdin, stdout, stderr');
  }
  return streams;
}

/**
 * Port numbers of the old WebSocket form: repeated, or separated by commas. In SPDY, tunnelled or not, they are told
 * with each stream. @throws {HttpError} 400
 */
function parsePorts(query: URLSearchParams, required: boolean): number[] {
  const given = query.getAll('port');
  if (required && given.length === 0) throw new HttpError(400, 'query parameter "port" is required');
  const texts = given.flatMap((p) => p.split(','));
  return texts.map((text) => {
    const port = Number(text);
    if (!/^\d+$/.test(text) || port < 1 || port > 65_535) {
      throw new HttpError(400, `unable to parse ${JSON.stringify(text)} as a port`);
    }
    return port;
  });
}

/** Resolves when the session is over. @throws as long as nothing has been answered: HttpError, or the runtime's error. */
export async function serveStream(
  client: ClientUpgrade,
  route: Route,
  query: URLSearchParams,
  deps: StreamingDeps,
): Promise<void> {
  const session = await (await prepareSession(streamingRoute(route), query, deps, client.request))();
  const kind = deps.translates ? relayKind(client, session) : 'passed';
  if (kind === 'translated') deps.websocketRequests.inc({ subresource: route.endpoint.kind.toLowerCase() });
  await relayToRuntime(client, session, kind);
}

/** A request that asks for no upgrade: told what is wrong with it first, as if it did. @throws {HttpError} always */
export async function refuseStream(route: Route, query: URLSearchParams, deps: StreamingDeps): Promise<never> {
  await prepareSession(streamingRoute(route), query, deps); // without a session at the runtime that nobody would use
  throw new HttpError(500, 'Upgrade request required');
}

/** A session at the runtime's streaming server: its URL works once and for a minute. */
export interface RuntimeSession {
  readonly url: string;
  /** Undefined for port-forward. */
  readonly streams?: StreamSelection;
}

/** @returns what opens the session at the runtime. */
async function prepareSession(
  route: StreamingRoute,
  query: URLSearchParams,
  { pods, runtime, translates }: StreamingDeps,
  request?: IncomingMessage,
): Promise<() => Promise<RuntimeSession>> {
  if (route.kind === 'portForward') {
    const isTunnel = translates && request !== undefined && wantsTunnel(request);
    if (isTunnel && tunnelledProtocols(request).length === 0) {
      throw new HttpError(400, 'unable to upgrade: no tunneling spdy protocols provided');
    }
    const port = parsePorts(query, request !== undefined && isWebSocketRequest(request) && !isTunnel);
    const podSandboxId = await servedSandbox(pods, route.target);
    return async () => ({ url: await runtime.portForward({ podSandboxId, port }) });
  }
  const asked = parseStreams(query);
  const { pod, container } = await servedContainer(pods, route.target, route.kind);
  const containerId = container.id;
  if (route.kind === 'exec') {
    const cmd = query.getAll('command');
    return async () => ({ url: await runtime.exec({ containerId, cmd, ...asked }), streams: asked });
  }
  // Whether a running container has a terminal was settled when it was made, not by who attaches.
  const tty = hasTerminal(pod, route.target.container);
  const streams = { ...asked, tty, stderr: asked.stderr && !tty };
  return async () => ({ url: await runtime.attach({ containerId, ...streams }), streams });
}

function hasTerminal({ spec }: Pod, name: string): boolean {
  const all = [...(spec?.containers ?? []), ...(spec?.initContainers ?? []), ...(spec?.ephemeralContainers ?? [])];
  return all.find((c) => c.name === name)?.tty === true;
}
