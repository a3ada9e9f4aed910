// Image references as far as the node must understand them: is it one, does it need a tag, which registry is it from.
// Grammar of distribution/reference; names are not expanded to docker.io/library/…, the runtime does that.
import { AgentError } from '../../core/errors.ts';

export interface ImageRef {
  /** Host with port, '' when the name has none. */
  readonly domain: string;
  readonly path: string;
  readonly tag?: string;
  /** `sha256:…` */
  readonly digest?: string;
}

const DOMAIN_PART = '(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])';
const DOMAIN = new RegExp(`^(?:${DOMAIN_PART}(?:\\.${DOMAIN_PART})*|\\[[a-fA-F0-9:]+\\])(?::[0-9]+)?$`);
const PATH_PART = '[a-z0-9]+(?:(?:\\.|_|__|-+)[a-z0-9]+)*';
const PATH = new RegExp(`^${PATH_PART}(?:/${PATH_PART})*$`);
const TAG = /^\w[\w.-]{0,127}$/;
const DIGEST = /^[A-Za-z][A-Za-z0-9]*(?:[-_+.][A-Za-z][A-Za-z0-9]*)*:[0-9a-fA-F]{32,}$/;
const MAX_NAME_LENGTH = 255;
const DEFAULT_DOMAIN = 'docker.io';

/** @throws {AgentError} IMAGE_NAME_INVALID with the words that Kubernetes shows. */
export function parseImageRef(image: string): ImageRef {
  const fail = (why: string) =>
    new AgentError(`couldn't parse image name ${JSON.stringify(image)}: ${why}`, { code: 'IMAGE_NAME_INVALID' });
  if (/^[a-f0-9]{64}$/.test(image)) {
    throw fail(`invalid repository name (${image}), cannot specify 64-byte hexadecimal strings`);
  }
  const at = image.indexOf('@');
  const digest = at < 0 ? undefined : image.slice(at + 1);
  const named = at < 0 ? image : image.slice(0, at);
  const colon = named.lastIndexOf(':');
  const hasTag = colon > named.lastIndexOf('/');
  const tag = hasTag ? named.slice(colon + 1) : undefined;
  const { domain, path } = splitDomain(hasTag ? named.slice(0, colon) : named);
  if (path.toLowerCase() !== path) {
    const fullPath = domain === '' && !path.includes('/') ? `library/${path}` : path;
    throw fail(`invalid reference format: repository name (${fullPath}) must be lowercase`);
  }
  const valid =
    PATH.test(path) &&
    (domain === '' || DOMAIN.test(domain)) &&
    (tag === undefined || TAG.test(tag)) &&
    (digest === undefined || DIGEST.test(digest));
  if (!valid) throw fail('invalid reference format');
  if (domain.length + path.length + 1 > MAX_NAME_LENGTH) {
    throw fail(`repository name must not be more than ${MAX_NAME_LENGTH} characters`);
  }
  return { domain, path, ...(tag === undefined ? {} : { tag }), ...(digest === undefined ? {} : { digest }) };
}

/** The first component is a host only if it looks like one: with a dot, a port, upper case, or `localhost`. */
function splitDomain(name: string): { domain: string; path: string } {
  const slash = name.indexOf('/');
  const first = slash < 0 ? '' : name.slice(0, slash);
  const isDomain = /[.:[]/.test(first) || first === 'localhost' || first.toLowerCase() !== first;
  return isDomain ? { domain: first, path: name.slice(slash + 1) } : { domain: '', path: name };
}

/** The whole name without tag and digest: `busybox:1` → `docker.io/library/busybox`. @throws {AgentError} IMAGE_NAME_INVALID */
export function repositoryOf(image: string): string {
  const { domain, path } = parseImageRef(image);
  if (domain !== '' && domain !== 'index.docker.io') return `${domain}/${path}`;
  return `${DEFAULT_DOMAIN}/${path.includes('/') ? path : `library/${path}`}`;
}

/** Appends `:latest` when there is neither tag nor digest. @throws {AgentError} IMAGE_NAME_INVALID. */
export function applyDefaultTag(image: string): string {
  const ref = parseImageRef(image);
  return ref.tag === undefined && ref.digest === undefined ? `${image}:latest` : image;
}

/** What the API defaults `imagePullPolicy` to; used for pods that did not come through it. */
export function defaultPullPolicy(image: string): 'Always' | 'IfNotPresent' {
  try {
    const ref = parseImageRef(image);
    return ref.digest === undefined && (ref.tag === undefined || ref.tag === 'latest') ? 'Always' : 'IfNotPresent';
  } catch {
    return 'IfNotPresent'; // the name is refused where it is used
  }
}
