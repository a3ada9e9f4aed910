// What a request asks for, as authentication, authorization, admission and handlers see it. After apiserver
// pkg/endpoints/request/requestinfo.go.

export interface UserInfo {
  readonly name: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** Verbs as RBAC names them; for non-resource paths the lower-case HTTP method. */
export type RequestVerb =
  | 'get'
  | 'list'
  | 'watch'
  | 'create'
  | 'update'
  | 'patch'
  | 'delete'
  | 'deletecollection'
  | (string & {});

/** The resource part of a request, empty strings where something does not apply. */
export interface RequestAttributes {
  readonly isResource: boolean;
  readonly verb: RequestVerb;
  /** '' for the core group. */
  readonly group: string;
  readonly version: string;
  /** Plural, e.g. `pods`. */
  readonly resource: string;
  readonly subresource: string;
  readonly namespace: string;
  readonly name: string;
  /** Decoded path without the query. */
  readonly path: string;
}

export interface RequestInfo extends RequestAttributes {
  readonly user: UserInfo;
  readonly method: string;
  readonly query: URLSearchParams;
  /** What follows `…/proxy/` in the path, still percent-encoded; '' elsewhere. */
  readonly subpath: string;
  /** The part of User-Agent before the first `/`: names the field manager of clients that give none. */
  readonly userAgent: string;
}

/** The identity of this program's own controllers: everything is allowed. */
export const LOOPBACK_USER: UserInfo = Object.freeze({
  name: 'system:apiserver',
  groups: Object.freeze(['system:masters', 'system:authenticated']),
});

const VERB_OF_METHOD: Readonly<Record<string, string>> = {
  POST: 'create',
  GET: 'get',
  HEAD: 'get',
  PUT: 'update',
  PATCH: 'patch',
  DELETE: 'delete',
};

export type ParsedPath = RequestAttributes & { readonly subpath: string };

/**
 * Takes the path of a URL apart. Names are percent-decoded once.
 * @returns undefined when the path cannot name anything: bad escapes, `.` or `..`, a name with `/` or `%`.
 */
export function parsePath(method: string, rawPath: string, query: URLSearchParams): ParsedPath | undefined {
  const rawParts = rawPath.split('/').filter((p) => p !== '');
  const parts = decodeParts(rawParts);
  if (parts === undefined) return undefined;
  const path = `/${parts.join('/')}`;
  const rootLength = parts[0] === 'api' ? 2 : parts[0] === 'apis' ? 3 : 0;
  if (rootLength === 0 || parts.length <= rootLength) return nonResource(method, path);
  const group = rootLength === 2 ? '' : parts[1]!;
  const version = parts[rootLength - 1]!;
  const at = locate(parts.slice(rootLength));
  const safe = at.subresource === 'proxy' ? [at.name, at.namespace] : [at.name, at.namespace, at.subresource, at.rest];
  if (safe.some((p) => p.includes('/') || p.includes('%') || p === '.' || p === '..')) return undefined;
  if (at.rest !== '' && at.subresource !== 'proxy') return undefined;
  const subpath = at.subresource === 'proxy' ? rawParts.slice(rootLength + at.consumed).join('/') : '';
  const { resource, namespace, name, subresource } = at;
  const verb = verbOf(method, name, query);
  return { isResource: true, verb, group, version, resource, subresource, namespace, name, path, subpath };
}

function nonResource(method: string, path: string): ParsedPath {
  const none = { group: '', version: '', resource: '', subresource: '', namespace: '', name: '', subpath: '' };
  return { isResource: false, verb: method.toLowerCase(), path, ...none };
}

interface Location {
  resource: string;
  namespace: string;
  name: string;
  subresource: string;
  /** First segment after the subresource. */
  rest: string;
  /** Segments up to and including the subresource. */
  consumed: number;
}

/** `namespaces/n`, `namespaces/n/status` and `namespaces/n/finalize` name the Namespace itself, not things inside it. */
function locate(parts: readonly string[]): Location {
  const [first = '', second = '', third = ''] = parts;
  const inNamespace =
    first === 'namespaces' && parts.length > 2 && !(parts.length === 3 && (third === 'status' || third === 'finalize'));
  const own = inNamespace ? parts.slice(2) : parts;
  const [resource = '', name = '', subresource = '', rest = ''] = own;
  const consumed = (inNamespace ? 2 : 0) + Math.min(own.length, 3);
  // A Namespace is authorised as being inside itself.
  const namespace = inNamespace || (first === 'namespaces' && parts.length > 1) ? second : '';
  return { resource, namespace, name, subresource, rest, consumed };
}

function verbOf(method: string, name: string, query: URLSearchParams): RequestVerb {
  const verb = VERB_OF_METHOD[method] ?? method.toLowerCase();
  if (name !== '') return verb;
  if (verb === 'get') return isTrue(query.get('watch')) ? 'watch' : 'list';
  return verb === 'delete' ? 'deletecollection' : verb;
}

/** Boolean query parameters: present and not `false` or `0`, as apimachinery's url conversion reads them. */
export function isTrue(value: string | null): boolean {
  return value !== null && value !== 'false' && value !== '0';
}

function decodeParts(parts: readonly string[]): string[] | undefined {
  try {
    return parts.map((p) => decodeURIComponent(p));
  } catch {
    return undefined; // malformed escape
  }
}
