// URLs as Go's net/url reads and writes them. What a manifest says of a probe's path has to reach the container as a kubelet
// sends it, and a URL of the WHATWG, which is what Node has, is another thing: it resolves `..`, turns `\` into `/` and
// drops tabs, where Go keeps the path and escapes what it must. Pure. Names and passwords in URLs are not kept.

export interface GoUrl {
  /** `http`; empty for a path alone. */
  readonly scheme: string;
  /** Of `scheme:something`, which has neither host nor path. */
  readonly opaque: string;
  /** With its port, `10.0.0.1:80` or `[fd00::1]:80`; empty for a path alone. */
  readonly host: string;
  /** Escaped as it is sent. */
  readonly path: string;
  /** Behind the `?`, as it was written; undefined without one. */
  readonly query: string | undefined;
  /** Behind the `#`, which is not sent. */
  readonly fragment: string;
}

const ALPHANUMERIC = /[A-Za-z0-9]/;
/** Stands in a path without an escape when we write one … */
const PLAIN_IN_PATH = '-_.~$&+,/:;=@';
/** … and may have been written without one by others (RFC 3986 3.3, and brackets as browsers leave them). */
const TOLERATED_IN_PATH = `${PLAIN_IN_PATH}!'()*[]`;
const PLAIN_IN_HOST = `-_.~!$&'()*+,;=:[]<>"`;
// biome-ignore lint/suspicious/noControlCharactersInRegex: they are what is looked for
const CONTROL = /[\x00-\x1f\x7f]/;

/** @throws Error in Go's words. */
export function parseGoUrl(text: string): GoUrl {
  try {
    const [rest, fragment = ''] = cut(text, '#');
    if (fragment !== '') unescaped(fragment);
    return { ...parseWithoutFragment(rest), fragment: fragment.replaceAll(' ', '%20') };
  } catch (err) {
    throw new Error(`parse ${JSON.stringify(text)}: ${(err as Error).message}`);
  }
}

/** A path that is taken as it is, `?`, `#` and `%` included. */
export function pathOnly(path: string): GoUrl {
  return { scheme: '', opaque: '', host: '', path: escapePath(Buffer.from(path)), query: undefined, fragment: '' };
}

export function formatGoUrl({ scheme, opaque, host, path, query, fragment }: GoUrl): string {
  const tail = `${query === undefined ? '' : `?${query}`}${fragment === '' ? '' : `#${fragment}`}`;
  if (opaque !== '') return `${scheme}:${opaque}${tail}`;
  return `${scheme}://${escapeHost(host)}${path !== '' && !path.startsWith('/') ? '/' : ''}${path}${tail}`;
}

/** What stands in the first line of the request. */
export function requestTarget({ path, query }: GoUrl): string {
  return `${path === '' ? '/' : path}${query === undefined ? '' : `?${query}`}`;
}

/** Without brackets. */
export function hostnameOf({ host }: GoUrl): string {
  return host.replace(/:\d*$/, '').replace(/^\[(.*)\]$/, '$1');
}

/** The scheme's own where none is given. */
export function portOf({ scheme, host }: GoUrl): number {
  const port = /:(\d+)$/.exec(host)?.[1];
  return port === undefined ? (scheme === 'https' ? 443 : 80) : Number(port);
}

/** What `reference`, e.g. a Location header, means at `base` (RFC 3986 5.2). @throws Error in Go's words. */
export function resolveGoUrl(base: GoUrl, reference: string): GoUrl {
  const to = parseGoUrl(reference);
  const scheme = to.scheme || base.scheme;
  if (to.scheme !== '' || to.host !== '') return { ...to, scheme, path: withoutDots(to.path) };
  const isHere = to.path === '' && to.query === undefined;
  return {
    scheme,
    opaque: '',
    host: base.host,
    path: withoutDots(to.path === '' ? base.path : absolute(base.path, to.path)),
    query: isHere ? base.query : to.query,
    fragment: isHere && to.fragment === '' ? base.fragment : to.fragment,
  };
}

type Unfragmented = Omit<GoUrl, 'fragment'>;

function parseWithoutFragment(text: string): Unfragmented {
  if (CONTROL.test(text)) throw new Error('net/url: invalid control character in URL');
  const { scheme, rest } = cutScheme(text);
  const [before, query] = cut(rest, '?');
  if (!before.startsWith('/')) {
    if (scheme !== '') return { scheme, opaque: before, host: '', path: '', query };
    if (before.split('/', 1)[0]!.includes(':')) throw new Error('first path segment in URL cannot contain colon');
  }
  const hasAuthority = before.startsWith('//') && (scheme !== '' || !before.startsWith('///'));
  if (!hasAuthority) return { scheme, opaque: '', host: '', path: normalizedPath(before), query };
  const [authority, path] = cut(before.slice(2), '/');
  const host = checkedHost(authority.slice(authority.lastIndexOf('@') + 1));
  return { scheme, opaque: '', host, path: path === undefined ? '' : normalizedPath(`/${path}`), query };
}

function cutScheme(text: string): { readonly scheme: string; readonly rest: string } {
  if (text.startsWith(':')) throw new Error('missing protocol scheme');
  const scheme = /^([A-Za-z][A-Za-z0-9+.-]*):/.exec(text)?.[1];
  if (scheme === undefined) return { scheme: '', rest: text };
  return { scheme: scheme.toLowerCase(), rest: text.slice(scheme.length + 1) };
}

/** A path whose writer escaped it well stays as it is; any other is escaped anew from what it means. */
function normalizedPath(path: string): string {
  const meaning = unescaped(path);
  const isWell = [...path].every((c) => c === '%' || ALPHANUMERIC.test(c) || TOLERATED_IN_PATH.includes(c));
  return isWell ? path : escapePath(meaning);
}

function escapeHost(host: string): string {
  return [...host]
    .map((character) => (isPlainInHost(character) ? character : percent(character.charCodeAt(0))))
    .join('');
}

function isPlainInHost(character: string): boolean {
  return ALPHANUMERIC.test(character) || PLAIN_IN_HOST.includes(character) || character > '\x7f';
}

function checkedHost(host: string): string {
  const name = host.startsWith('[') ? host.slice(0, host.lastIndexOf(']') + 1) : host.split(':', 1)[0]!;
  if (host.startsWith('[') && name === '') throw new Error("missing ']' in host");
  const port = host.slice(name.length);
  if (!/^(:\d*)?$/.test(port)) throw new Error(`invalid port ${JSON.stringify(port)} after host`);
  const escaping = /%.{0,2}/s.exec(name)?.[0];
  if (escaping !== undefined) throw new Error(`invalid URL escape ${JSON.stringify(escaping)}`);
  const wrong = [...name].find((character) => !isPlainInHost(character));
  if (wrong !== undefined) throw new Error(`invalid character ${JSON.stringify(wrong)} in host name`);
  return host;
}

/** @throws Error for a `%` without two hex digits behind it. */
function unescaped(text: string): Buffer {
  const wrong = /%(?![0-9A-Fa-f]{2}).{0,2}/su.exec(text)?.[0];
  if (wrong !== undefined) throw new Error(`invalid URL escape ${JSON.stringify(wrong)}`);
  const parts = text.split(/(%[0-9A-Fa-f]{2})/);
  return Buffer.concat(parts.map((part, i) => (i % 2 === 1 ? Buffer.from(part.slice(1), 'hex') : Buffer.from(part))));
}

function escapePath(bytes: Uint8Array): string {
  let escaped = '';
  for (const byte of bytes) {
    const character = String.fromCharCode(byte);
    const isPlain = ALPHANUMERIC.test(character) || PLAIN_IN_PATH.includes(character);
    escaped += isPlain ? character : percent(byte);
  }
  return escaped;
}

function percent(byte: number): string {
  return `%${byte.toString(16).toUpperCase().padStart(2, '0')}`;
}

/** `path` beside the last segment of `base`, unless it begins at the root. */
function absolute(base: string, path: string): string {
  return path.startsWith('/') ? path : base.slice(0, base.lastIndexOf('/') + 1) + path;
}

function withoutDots(path: string): string {
  if (path === '') return '';
  const kept: string[] = [];
  const segments = path.replace(/^\//, '').split('/');
  for (const segment of segments) {
    if (segment === '..') kept.pop();
    else if (segment !== '.') kept.push(segment);
  }
  const last = segments.at(-1);
  if ((last === '.' || last === '..') && kept.length > 0) kept.push('');
  return `/${kept.join('/')}`;
}

/** The text before the first `separator` and, where there is one, behind it. */
function cut(text: string, separator: string): [string, string | undefined] {
  const at = text.indexOf(separator);
  return at < 0 ? [text, undefined] : [text.slice(0, at), text.slice(at + 1)];
}
