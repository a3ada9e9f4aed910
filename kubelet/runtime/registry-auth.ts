// Which credentials fit an image: entries of docker config files from pull secrets, matched as the kubelet matches them
// (pkg/credentialprovider/keyring.go). Pure.
import { createHash } from 'node:crypto';
import type { Secret } from '../../api/kinds.ts';
import { AgentError } from '../../core/errors.ts';
import type { AuthConfig } from '../../cri/gen/messages.ts';
import type { CredentialSource } from '../images/pull-access.ts';
import { repositoryOf } from './image-ref.ts';

/** What the default registry is called in image names, and in docker config files. */
const DEFAULT_REGISTRY = 'docker.io/';
const DEFAULT_REGISTRY_KEY = 'index.docker.io';

export interface RegistryCredential {
  readonly username: string;
  readonly password: string;
  /** Where it is from; absent for those of the node, which every pod may use. */
  readonly source?: CredentialSource;
}

/** Candidates for an image, in the order in which they are tried; none means an anonymous pull. */
export interface CredentialLookup {
  lookup(image: string): readonly RegistryCredential[] | Promise<readonly RegistryCredential[]>;
}

export interface KeyringEntry {
  /** Host with path, no scheme: `reg.io:5000/team`. */
  readonly key: string;
  readonly credential: RegistryCredential;
}

/** Candidates in the order in which they are tried: the longest path first. */
export class Keyring {
  readonly #entries: readonly KeyringEntry[];

  constructor(entries: readonly KeyringEntry[]) {
    this.#entries = [...entries].sort((a, b) => (a.key < b.key ? 1 : a.key > b.key ? -1 : 0));
  }

  /** Credentials of every entry that matches; empty means an anonymous pull. */
  lookup(image: string): RegistryCredential[] {
    const name = repositoryOf(image);
    const matching = this.#entries.filter((e) => keyMatches(e.key, name));
    const isDefault = name.startsWith(DEFAULT_REGISTRY);
    const found =
      matching.length > 0 || !isDefault ? matching : this.#entries.filter((e) => e.key === DEFAULT_REGISTRY_KEY);
    return found.map((e) => e.credential);
  }
}

/** @throws {AgentError} PULL_SECRET_INVALID when a secret of a docker type does not hold what it must. */
export function keyringFromSecrets(secrets: readonly Secret[]): Keyring {
  const entries: KeyringEntry[] = [];
  for (const secret of secrets) {
    const from = sourceOf(secret);
    if (secret.type === 'kubernetes.io/dockerconfigjson') {
      const config = parseSecretJson(secret, '.dockerconfigjson');
      if (config !== undefined) entries.push(...parseDockerConfig(asObject(config.auths) ?? {}).map(from));
    } else if (secret.type === 'kubernetes.io/dockercfg') {
      const config = parseSecretJson(secret, '.dockercfg');
      if (config !== undefined) entries.push(...parseDockerConfig(config).map(from));
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

/** The entries of `auths`, the map from server to credential; those that make no sense are left out. */
export function parseDockerConfig(auths: Readonly<Record<string, unknown>>): KeyringEntry[] {
  const entries: KeyringEntry[] = [];
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

/** Whether a key of a docker config file, or a pattern of the same form, is for the image. */
export function matchesImage(pattern: string, image: string): boolean {
  return keyMatches(normaliseKey(pattern), repositoryOf(image));
}

/** Marks the credentials of a secret with where they are from. */
function sourceOf({ metadata }: Secret): (entry: KeyringEntry) => KeyringEntry {
  const { uid = '', namespace = '', name = '' } = metadata ?? {};
  return ({ key, credential }) => {
    const { username, password } = credential;
    const credentialHash = createHash('sha256').update(JSON.stringify({ username, password })).digest('hex');
    return { key, credential: { ...credential, source: { secret: { uid, namespace, name, credentialHash } } } };
  };
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
