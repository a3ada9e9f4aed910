// The endpoints of the node's HTTP servers: one table, which routing, the read-only port, the switches and the security
// tests all read. Pure: method and path in, what is asked for out. After pkg/kubelet/server/server.go Install*Handlers.
import { HttpError, NOT_FOUND_TEXT } from './http-error.ts';

/** Namespace, pod and container as the path names them; `uid` only where the long form was used. */
export interface PodPath {
  readonly namespace: string;
  readonly pod: string;
  readonly uid?: string;
}

export interface ContainerPath extends PodPath {
  readonly container: string;
}

/** A handler is found under its kind: add an endpoint below, then give `KubeletServerDeps.handlers` its function. */
export type EndpointKind =
  | 'healthz'
  | 'pods'
  | 'runningPods'
  | 'statsSummary'
  | 'metrics'
  | 'cadvisorMetrics'
  | 'resourceMetrics'
  | 'probeMetrics'
  | 'sliMetrics'
  | 'run'
  | 'exec'
  | 'attach'
  | 'portForward'
  | 'containerLogs'
  | 'configz'
  | 'checkpoint'
  | 'nodeLogs'
  | 'profiles'
  | 'verbosity'
  | 'statusz'
  | 'flagz';

export interface Endpoint {
  readonly kind: EndpointKind;
  /** `{name}` is one segment that is not empty, `{name:*}` everything that is left, nothing included. */
  readonly pattern: string;
  /** Those answered; empty: every one. */
  readonly methods: readonly string[];
  /** Also without TLS and authentication, on the read-only port. */
  readonly readOnly?: true;
  /** Without enableDebuggingHandlers it is refused with a word, or is as if it did not exist. */
  readonly debug?: 'refused' | 'hidden';
  /** What else takes it away. */
  readonly switch?: keyof typeof SWITCH_TEXTS;
}

const SWITCH_TEXTS = {
  nodeLogs: 'logs endpoint is disabled.\n',
  profiling: 'profiling endpoint is disabled.\n',
  flags: 'flags endpoint is disabled.\n',
} as const;
const DEBUG_TEXT = 'Debug endpoints are disabled.\n';

const GET = ['GET'];
const GET_POST = ['GET', 'POST'];
const ANY: readonly string[] = [];

export const ENDPOINTS: readonly Endpoint[] = [
  { kind: 'healthz', pattern: '/healthz', methods: ANY, readOnly: true },
  { kind: 'healthz', pattern: '/healthz/{check}', methods: ANY, readOnly: true },
  { kind: 'pods', pattern: '/pods', methods: GET, readOnly: true },
  { kind: 'statsSummary', pattern: '/stats/summary', methods: GET_POST, readOnly: true },
  { kind: 'metrics', pattern: '/metrics', methods: GET, readOnly: true },
  { kind: 'cadvisorMetrics', pattern: '/metrics/cadvisor', methods: GET, readOnly: true },
  { kind: 'resourceMetrics', pattern: '/metrics/resource', methods: GET, readOnly: true },
  { kind: 'probeMetrics', pattern: '/metrics/probes', methods: GET, readOnly: true },
  { kind: 'sliMetrics', pattern: '/metrics/slis', methods: GET, readOnly: true },
  { kind: 'runningPods', pattern: '/runningpods/', methods: GET, debug: 'refused' },
  { kind: 'run', pattern: '/run/{namespace}/{pod}/{container}', methods: ['POST'], debug: 'refused' },
  { kind: 'run', pattern: '/run/{namespace}/{pod}/{uid}/{container}', methods: ['POST'], debug: 'refused' },
  { kind: 'exec', pattern: '/exec/{namespace}/{pod}/{container}', methods: GET_POST, debug: 'refused' },
  { kind: 'exec', pattern: '/exec/{namespace}/{pod}/{uid}/{container}', methods: GET_POST, debug: 'refused' },
  { kind: 'attach', pattern: '/attach/{namespace}/{pod}/{container}', methods: GET_POST, debug: 'refused' },
  { kind: 'attach', pattern: '/attach/{namespace}/{pod}/{uid}/{container}', methods: GET_POST, debug: 'refused' },
  { kind: 'portForward', pattern: '/portForward/{namespace}/{pod}', methods: GET_POST, debug: 'refused' },
  { kind: 'portForward', pattern: '/portForward/{namespace}/{pod}/{uid}', methods: GET_POST, debug: 'refused' },
  { kind: 'containerLogs', pattern: '/containerLogs/{namespace}/{pod}/{container}', methods: GET, debug: 'refused' },
  { kind: 'configz', pattern: '/configz', methods: GET, debug: 'hidden' },
  { kind: 'checkpoint', pattern: '/checkpoint/{namespace}/{pod}/{container}', methods: ['POST'], debug: 'hidden' },
  { kind: 'nodeLogs', pattern: '/logs', methods: GET, debug: 'refused', switch: 'nodeLogs' },
  { kind: 'nodeLogs', pattern: '/logs/{path:*}', methods: GET, debug: 'refused', switch: 'nodeLogs' },
  { kind: 'profiles', pattern: '/debug/pprof/{path:*}', methods: GET, debug: 'refused', switch: 'profiling' },
  { kind: 'verbosity', pattern: '/debug/flags/v', methods: ANY, debug: 'hidden', switch: 'flags' },
  { kind: 'statusz', pattern: '/statusz', methods: GET, debug: 'hidden' },
  { kind: 'flagz', pattern: '/flagz', methods: GET, debug: 'hidden' },
];

/** With a slash at their end these are as well known: upstream they are go-restful's, which cuts it off. */
const SLASH_TAKERS: ReadonlySet<EndpointKind> = new Set([
  'pods',
  'statsSummary',
  'run',
  'exec',
  'attach',
  'portForward',
  'containerLogs',
  'checkpoint',
]);

export interface Route {
  readonly endpoint: Endpoint;
  /** What stood for the pattern's names. */
  readonly params: Readonly<Record<string, string>>;
}

/** Which endpoints a server has. */
export interface EndpointSwitches {
  /** The port without authentication, which has what is marked so alone. */
  readonly readOnlyPort: boolean;
  readonly debug: boolean;
  readonly nodeLogs: boolean;
  readonly profiling: boolean;
  readonly flags: boolean;
}

export const ALL_ENDPOINTS: EndpointSwitches = {
  readOnlyPort: false,
  debug: true,
  nodeLogs: true,
  profiling: true,
  flags: true,
};

/**
 * `path` is decoded already: it is the same text that access was given for.
 * @throws {HttpError} 404 unknown path, 405 wrong method or switched off.
 */
export function parseRoute(method: string, path: string, switches: EndpointSwitches = ALL_ENDPOINTS): Route {
  let known: Endpoint | undefined;
  for (const endpoint of ENDPOINTS) {
    const ownPath = SLASH_TAKERS.has(endpoint.kind) ? path.replace(/\/$/, '') : path;
    const params = matchPattern(endpoint.pattern, ownPath);
    if (params === undefined) continue;
    if (refusalOf(endpoint, switches) !== undefined) continue;
    if (endpoint.methods.length === 0 || endpoint.methods.includes(method)) return { endpoint, params };
    known = endpoint;
  }
  const refusal = switchedOff(path, switches);
  if (refusal !== undefined) throw new HttpError(405, refusal);
  if (known === undefined) throw new HttpError(404, NOT_FOUND_TEXT);
  throw new HttpError(405, '405: Method Not Allowed', { Allow: known.methods.join(', ') });
}

/** Pure: '' hides an endpoint, another text refuses it; undefined while it is there. */
function refusalOf(endpoint: Endpoint, switches: EndpointSwitches): string | undefined {
  const { readOnlyPort } = switches;
  if (readOnlyPort && endpoint.readOnly) return undefined;
  if (endpoint.debug !== undefined && (readOnlyPort || !switches.debug)) {
    return endpoint.debug === 'refused' ? DEBUG_TEXT : '';
  }
  if (endpoint.switch !== undefined && !switches[endpoint.switch]) return SWITCH_TEXTS[endpoint.switch];
  return readOnlyPort ? '' : undefined;
}

/** What is switched off is told of whatever stands behind its first segments, and whatever the method. */
function switchedOff(path: string, switches: EndpointSwitches): string | undefined {
  for (const endpoint of ENDPOINTS) {
    const refusal = refusalOf(endpoint, switches);
    const fixed = endpoint.pattern.replace(/\{.*/, '');
    const isBelow = path === endpoint.pattern || (fixed.endsWith('/') && path.startsWith(fixed));
    if (refusal !== undefined && refusal !== '' && isBelow) return refusal;
  }
  return undefined;
}

/** Pure. Undefined when `path` is not of that pattern. */
function matchPattern(pattern: string, path: string): Record<string, string> | undefined {
  const wanted = pattern.split('/');
  const given = path.split('/');
  const params: Record<string, string> = {};
  for (const [i, segment] of wanted.entries()) {
    const name = /^\{(\w+)(:\*)?\}$/.exec(segment);
    if (name?.[2] !== undefined) {
      if (given.length <= i) return undefined;
      params[name[1]!] = given.slice(i).join('/');
      return params;
    }
    const text = given[i];
    if (text === undefined || (name === null ? text !== segment : text === '')) return undefined;
    if (name !== null) params[name[1]!] = text;
  }
  return given.length === wanted.length ? params : undefined;
}

/** The pod of a route whose pattern names one. */
export function podPath({ namespace = '', pod = '', uid }: Route['params']): PodPath {
  return { namespace, pod, ...(uid === undefined ? {} : { uid }) };
}

export function containerPath(params: Route['params']): ContainerPath {
  const { container = '' } = params;
  return { ...podPath(params), container };
}

/**
 * Pure: the path of a request's target, decoded once, and what stands behind its `?`.
 * @throws {HttpError} 400 a path that is not properly encoded.
 */
export function splitTarget(target: string): { readonly path: string; readonly query: URLSearchParams } {
  const at = target.indexOf('?');
  const raw = at < 0 ? target : target.slice(0, at);
  try {
    return { path: decodeURIComponent(raw), query: new URLSearchParams(at < 0 ? '' : target.slice(at + 1)) };
  } catch {
    throw new HttpError(400, '400 Bad Request');
  }
}
