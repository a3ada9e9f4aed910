// The paths of the node's HTTPS server. Pure: method and path in, what is asked for out.
import { HttpError } from './http-error.ts';

/** Namespace, pod and container as the path names them; `uid` only where the long form was used. */
export interface PodPath {
  readonly namespace: string;
  readonly pod: string;
  readonly uid?: string;
}

export interface ContainerPath extends PodPath {
  readonly container: string;
}

export type Route =
  | { readonly kind: 'healthz'; readonly check?: string }
  | { readonly kind: 'pods' | 'runningPods' | 'metrics' | 'configz' }
  | { readonly kind: 'logs' | 'run'; readonly target: ContainerPath }
  | StreamingRoute;

export type StreamingRoute =
  | { readonly kind: 'exec' | 'attach'; readonly target: ContainerPath }
  | { readonly kind: 'portForward'; readonly target: PodPath };

const GET = ['GET'];
const GET_POST = ['GET', 'POST'];

/** @throws {HttpError} 404 unknown path, 405 wrong method, 400 a path that is not properly encoded. */
export function parseRoute(method: string, path: string): Route {
  const found = findRoute(path);
  if (found === undefined) throw new HttpError(404, '404: Page Not Found');
  const [route, methods] = found;
  if (methods.length > 0 && !methods.includes(method)) throw new HttpError(405, '405: Method Not Allowed');
  return route;
}

export function isStreaming(route: Route): route is StreamingRoute {
  return route.kind === 'exec' || route.kind === 'attach' || route.kind === 'portForward';
}

function findRoute(path: string): readonly [Route, readonly string[]] | undefined {
  switch (path) {
    case '/healthz':
      return [{ kind: 'healthz' }, []];
    case '/pods':
    case '/pods/':
      return [{ kind: 'pods' }, GET];
    case '/runningpods/':
      return [{ kind: 'runningPods' }, GET];
    case '/metrics':
      return [{ kind: 'metrics' }, GET];
    case '/configz':
      return [{ kind: 'configz' }, GET];
  }
  const [first = '', ...rest] = path.slice(1).split('/').map(decodeSegment);
  if (first === 'healthz' && rest.length === 1) return [{ kind: 'healthz', check: rest[0]! }, []];
  return podRoute(first, rest);
}

function podRoute(first: string, rest: readonly string[]): readonly [Route, readonly string[]] | undefined {
  if (rest.some((segment) => segment === '')) return undefined;
  const [namespace = '', pod = ''] = rest;
  switch (first) {
    case 'containerLogs':
      return rest.length === 3 ? [{ kind: 'logs', target: { namespace, pod, container: rest[2]! } }, GET] : undefined;
    case 'run':
    case 'exec':
    case 'attach': {
      const target = containerPath(rest);
      return target && [{ kind: first, target }, first === 'run' ? ['POST'] : GET_POST];
    }
    case 'portForward':
      if (rest.length === 2) return [{ kind: 'portForward', target: { namespace, pod } }, GET_POST];
      return rest.length === 3
        ? [{ kind: 'portForward', target: { namespace, pod, uid: rest[2]! } }, GET_POST]
        : undefined;
  }
  return undefined;
}

function containerPath(rest: readonly string[]): ContainerPath | undefined {
  const [namespace = '', pod = ''] = rest;
  if (rest.length === 3) return { namespace, pod, container: rest[2]! };
  return rest.length === 4 ? { namespace, pod, uid: rest[2]!, container: rest[3]! } : undefined;
}

function decodeSegment(segment: string): string {
  try {
    return decodeURIComponent(segment);
  } catch {
    throw new HttpError(400, 'the path is not properly encoded');
  }
}
