// Which credentials fit an image: entries of docker config files from pull secrets, matched as the kubelet matches them
// (pkg/credentialprovider/keyring.go). Pure.
import type { Secret } from '../../api/kinds.ts';
import { AgentError } from '../../core/errors.ts';
import type { AuthConfig } from '../../cri/gen/messages.ts';
import { parseImageRef } from './image-ref.ts';

const DEFAULT_REGISTRY_KEY = 'index.docker.io';

export interface RegistryCredential {
  readonly username: string;
  readonly password: string;
}

interface Entry {
  /** Host with path, no scheme: `reg.io:5000/team`. */
  readonly key: string;
  readonly credential: RegistryCredential;
}

/** Candidates in the order in which they are tried: the longest path first. */
export class Keyring {
  readonly #entries: readonly Entry[];

  constructor(entries: readonly Entry[]) {
    this.#entries = [...entries].sort((a, b) => (a.key < b.key ? 1 : a.key > b.key ? -1 : 0));
  }

  /** Credentials of every entry that matches; empty means an anonymous pull. */
  lookup(image: string): RegistryCredential[] {
    const name = imageHostAndPath(image);
    const matching = this.#entries.filter((e) => keyMatches(e.key, name));
    const isDefault = name.startsWith(`${DEFAULT_REGISTRY_KEY}/`);
    const found =
      matching.length > 0 || !isDefault ? matching : this.#entries.filter((e) => e.key === DEFAULT_REGISTRY_KEY);
    return found.map((e) => e.credential);
  }
}

/** @throws {AgentError} PULL_SECRET_INVALID when a secret of a docker type does not hold what it must. */
export function keyringFromSecrets(secrets: readonly Secret[]): Keyring {
  const entries: Entry[] = [];
  for (const secret of secrets) {
    if (secret.type === 'kubernetes.io/dockerconfigjson') {
      const config = parseSecretJson(secret, '.dockerconfigjson');
      if (config !== undefined) entries.push(...parseDockerConfig(asObject(config.auths) ?? {}));
    } else if (secret.type === 'kubernetes.io/dockercfg') {
      const config = parseSecretJson(secret, '.dockercfg');
      if (config !== undefined) entries.push(...parseDockerConfig(config));
    }
  }
  return new Keyring(entries);
}

export function authConfigOf(credential: RegistryCredential): Partial<AuthConfig> {
  return { username: credential.username, password: credential.password };
}

function parseSecretJson(secret: Secret, key: string): Record<string, unknown> | undefined {
  const encoded = secret.data?.[key];
  if (encoded === undefined || encoded === '') return undefined;
  try {
    const value: unknown = JSON.parse(Buffer.from(encoded, 'base64').toString('utf8'));
    const object = asObject(value);
    if (object !== undefined) return object;
  } catch {
    // answered below, without the parser's text: it quotes what may be a password
  }
  const name = `${secret.metadata?.namespace ?? ''}/${secret.metadata?.name ?? ''}`;
  throw new AgentError(`secret ${name}: ${key} is not a JSON object`, { code: 'PULL_SECRET_INVALID' });
}

function parseDockerConfig(auths: Record<string, unknown>): Entry[] {
  const entries: Entry[] = [];
  for (const [server, value] of Object.entries(auths)) {
    const auth = asObject(value);
    if (auth === undefined) continue;
    const credential = parseCredential(auth);
    if (credential !== undefined) entries.push({ key: normaliseKey(server), credential });
  }
  return entries;
}

function parseCredential(auth: Record<string, unknown>): RegistryCredential | undefined {
  const text = (v: unknown) => (typeof v === 'string' ? v : '');
  if (text(auth.auth) !== '') {
    const decoded = Buffer.from(text(auth.auth), 'base64').toString('utf8');
    const colon = decoded.indexOf(':');
    if (colon < 0) return undefined;
    return { username: decoded.slice(0, colon), password: decoded.slice(colon + 1).replace(/\0+$/, '') };
  }
  return { username: text(auth.username), password: text(auth.password) };
}

/** `https://reg.io/v1/team` and `reg.io/team` name the same place. */
function normaliseKey(server: string): string {
  const bare = server.replace(/^https?:\/\//, '').replace(/\/+$/, '');
  return bare.replace(/^([^/]+)\/v[12](\/|$)/, (_, host: string, rest: string) => `${host}${rest}`);
}

function imageHostAndPath(image: string): string {
  const ref = parseImageRef(image);
  const isDefault = ref.domain === '' || ref.domain === 'docker.io' || ref.domain === DEFAULT_REGISTRY_KEY;
  return `${isDefault ? DEFAULT_REGISTRY_KEY : ref.domain}/${ref.path}`;
}

/** Host parts are globs and must be equally many, the port must be equal, the key's path a prefix of the image's. */
function keyMatches(key: string, image: string): boolean {
  const k = splitKey(key);
  const i = splitKey(image);
  if (k.port !== i.port || k.labels.length !== i.labels.length) return false;
  return k.labels.every((glob, n) => globMatches(glob, i.labels[n]!)) && i.path.startsWith(k.path);
}

function splitKey(key: string): { labels: string[]; port: string; path: string } {
  const slash = key.indexOf('/');
  const host = slash < 0 ? key : key.slice(0, slash);
  const port = /:(\d+)$/.exec(host)?.[1] ?? '';
  const name = port === '' ? host : host.slice(0, -port.length - 1);
  return { labels: name.split('.'), port, path: slash < 0 ? '' : key.slice(slash) };
}

/** `*` and `?` only, linear in the product of the lengths: patterns come from users. */
function globMatches(glob: string, text: string): boolean {
  let reachable = new Array<boolean>(text.length + 1).fill(false);
  reachable[0] = true;
  for (const c of glob) {
    const next = new Array<boolean>(text.length + 1).fill(false);
    for (let i = 0; i <= text.length; i++) {
      if (c === '*') next[i] = reachable[i]! || (i > 0 && next[i - 1]!);
      else if (i > 0) next[i] = reachable[i - 1]! && (c === '?' || c === text[i - 1]);
    }
    reachable = next;
  }
  return reachable[text.length]!;
}

function asObject(value: unknown): Record<string, unknown> | undefined {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
    ? (value as Record<string, unknown>)
    : undefined;
}
