// Where the API server is and who we are to it: one context of a kubeconfig file, checked and made plain. Secrets in
// files stay in files (credentials.ts reads them, again when they change).
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { parse as parseYaml } from 'yaml';
import { AgentError, errnoOf, errorMessage } from '../core/errors.ts';
import { proxyFor } from './http-proxy.ts';

/** PEM text given in the kubeconfig itself, or the absolute path of a file. */
export type PemSource = { readonly data: string } | { readonly file: string };

/** PEM texts that belong together. */
export interface ClientPair {
  readonly cert: string;
  readonly key: string;
}

export interface ExecPlugin {
  readonly apiVersion: string;
  readonly command: string;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly installHint: string | undefined;
  readonly provideClusterInfo: boolean;
}

export interface ClientConfig {
  /** http: or https:, with a path when the API is served below one; no trailing slash. */
  readonly server: string;
  readonly ca?: PemSource;
  readonly insecureSkipTlsVerify: boolean;
  /** URL of the HTTP proxy through which the server is reached. */
  readonly proxy?: string | undefined;
  /** Name the server's certificate must have, when not that of `server`. */
  readonly tlsServerName?: string;
  readonly clientCert?: PemSource;
  readonly clientKey?: PemSource;
  /**
   * Certificate and key of now, for those that are renewed while we run: wins over the two above. Undefined: none is
   * shown. What it returns must be the same object as long as nothing changed.
   */
  readonly clientPair?: () => ClientPair | undefined | Promise<ClientPair | undefined>;
  readonly token?: string;
  readonly tokenFile?: string;
  readonly exec?: ExecPlugin;
  /** Default namespace of the context. */
  readonly namespace?: string;
  /** Name of the user entry, for messages. */
  readonly user: string;
}

type Fields = Readonly<Record<string, unknown>>;

const EXEC_VERSIONS = ['client.authentication.k8s.io/v1', 'client.authentication.k8s.io/v1beta1'];
const HINT = 'give a kubeconfig that kubectl accepts';

/**
 * A proxy that the kubeconfig does not name is taken from `env`, as everywhere in Kubernetes.
 * @throws {AgentError} KUBECONFIG_UNREADABLE or KUBECONFIG_INVALID, naming the file and the field.
 */
export async function loadKubeconfig(
  file: string,
  context?: string,
  env: NodeJS.ProcessEnv = process.env,
): Promise<ClientConfig> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (cause) {
    throw new AgentError(`cannot read kubeconfig ${file}: ${errnoOf(cause) ?? errorMessage(cause)}`, {
      code: 'KUBECONFIG_UNREADABLE',
      cause,
      hint: 'check the path (--kubeconfig, or --bootstrap-kubeconfig where that one is not in order) and the permissions',
    });
  }
  const config = parseKubeconfig(text, path.resolve(file), context);
  const proxy = config.proxy ?? proxyFor(config.server, env);
  return proxy === undefined ? config : { ...config, proxy };
}

/** Pure. Relative paths in the text are taken from the directory of `file`. @throws {AgentError} KUBECONFIG_INVALID */
export function parseKubeconfig(text: string, file: string, context?: string): ClientConfig {
  const reader = new KubeconfigReader(text, file);
  return reader.context(context);
}

class KubeconfigReader {
  readonly #file: string;
  readonly #root: Fields;

  constructor(text: string, file: string) {
    this.#file = file;
    this.#root = this.#object(this.#parse(text), 'the document');
  }

  context(wanted: string | undefined): ClientConfig {
    const name = wanted ?? this.#text(this.#root, 'current-context', '');
    if (name === undefined) throw this.#invalid('current-context', 'is not set');
    const context = this.#named('contexts', 'context', name);
    const clusterName = this.#text(context, 'cluster', `contexts[${name}].`);
    if (clusterName === undefined) throw this.#invalid(`contexts[${name}].cluster`, 'is not set');
    const userName = this.#text(context, 'user', `contexts[${name}].`);
    const namespace = this.#text(context, 'namespace', `contexts[${name}].`);
    const user = userName === undefined ? {} : this.#user(userName);
    return {
      ...this.#cluster(clusterName, user.clientCert !== undefined),
      ...user,
      ...(namespace === undefined ? {} : { namespace }),
      user: userName ?? '',
    };
  }

  #cluster(
    name: string,
    hasCertificate: boolean,
  ): Pick<ClientConfig, 'server' | 'ca' | 'insecureSkipTlsVerify' | 'tlsServerName' | 'proxy'> {
    const at = `clusters[${name}].cluster.`;
    const cluster = this.#named('clusters', 'cluster', name);
    const given = this.#text(cluster, 'server', at);
    if (given === undefined) throw this.#invalid(`${at}server`, 'is not set');
    const insecure = cluster['insecure-skip-tls-verify'] === true;
    const ca = this.#pem(cluster, 'certificate-authority', at);
    const server = withScheme(given, insecure || ca !== undefined || hasCertificate);
    if (!isHttpUrl(server)) throw this.#invalid(`${at}server`, `${JSON.stringify(given)} is not an http or https URL`);
    const proxy = this.#text(cluster, 'proxy-url', at);
    if (proxy !== undefined && !isHttpUrl(proxy)) {
      throw this.#invalid(
        `${at}proxy-url`,
        `${JSON.stringify(proxy)} is not an http or https URL: no others are supported`,
      );
    }
    if (insecure && ca !== undefined) {
      throw this.#invalid(`${at}insecure-skip-tls-verify`, 'cannot be set together with a certificate authority');
    }
    const tlsServerName = this.#text(cluster, 'tls-server-name', at);
    return {
      server: server.replace(/\/+$/, ''),
      insecureSkipTlsVerify: insecure,
      ...(ca === undefined ? {} : { ca }),
      ...(proxy === undefined ? {} : { proxy }),
      ...(tlsServerName === undefined ? {} : { tlsServerName }),
    };
  }

  #user(name: string): Partial<ClientConfig> {
    const at = `users[${name}].user.`;
    const user = this.#named('users', 'user', name);
    for (const field of ['auth-provider', 'username', 'password', 'as', 'as-uid', 'as-groups'])
      this.#refuse(user, at, field);
    const clientCert = this.#pem(user, 'client-certificate', at);
    const clientKey = this.#pem(user, 'client-key', at);
    if (clientCert !== undefined && clientKey === undefined) throw this.#invalid(`${at}client-key`, 'is not set');
    if (clientKey !== undefined && clientCert === undefined)
      throw this.#invalid(`${at}client-certificate`, 'is not set');
    const token = this.#text(user, 'token', at);
    const tokenFile = this.#text(user, 'tokenFile', at);
    const exec = user.exec === undefined || user.exec === null ? undefined : this.#exec(user.exec, `${at}exec`);
    return {
      ...(clientCert === undefined ? {} : { clientCert }),
      ...(clientKey === undefined ? {} : { clientKey }),
      // As in client-go, the file wins over the token beside it.
      ...(tokenFile !== undefined ? { tokenFile: this.#path(tokenFile) } : token === undefined ? {} : { token }),
      ...(exec === undefined ? {} : { exec }),
    };
  }

  #exec(value: unknown, at: string): ExecPlugin {
    const exec = this.#object(value, at);
    const apiVersion = this.#text(exec, 'apiVersion', `${at}.`) ?? '';
    if (!EXEC_VERSIONS.includes(apiVersion)) {
      throw this.#invalid(`${at}.apiVersion`, `must be ${EXEC_VERSIONS.join(' or ')}`);
    }
    const command = this.#text(exec, 'command', `${at}.`);
    if (command === undefined) throw this.#invalid(`${at}.command`, 'is not set');
    const env = this.#list(exec, 'env', at).map((item) => {
      const entry = this.#object(item, `${at}.env`);
      return [String(entry.name), String(entry.value ?? '')] as const;
    });
    return {
      apiVersion,
      // A command with a slash is relative to the kubeconfig, a bare one is looked up in PATH.
      command: command.includes('/') ? this.#path(command) : command,
      args: this.#list(exec, 'args', at).map(String),
      env: Object.fromEntries(env),
      installHint: this.#text(exec, 'installHint', `${at}.`),
      provideClusterInfo: exec.provideClusterInfo === true,
    };
  }

  #parse(text: string): unknown {
    try {
      // Aliases could blow a small file up; kubeconfigs have none.
      return parseYaml(text, { maxAliasCount: 0, logLevel: 'silent' });
    } catch (cause) {
      throw new AgentError(`kubeconfig ${this.#file} is not YAML: ${errorMessage(cause).split('\n')[0]}`, {
        code: 'KUBECONFIG_INVALID',
        cause,
        hint: HINT,
      });
    }
  }

  #named(list: string, member: string, name: string): Fields {
    const entries = this.#list(this.#root, list, '').map((entry) => this.#object(entry, list));
    const found = entries.find((entry) => entry.name === name);
    if (found === undefined) throw this.#invalid(list, `has no entry named ${JSON.stringify(name)}`);
    return this.#object(found[member], `${list}[${name}].${member}`);
  }

  #pem(fields: Fields, name: string, at: string): PemSource | undefined {
    const data = this.#text(fields, `${name}-data`, at);
    if (data === undefined) {
      const file = this.#text(fields, name, at);
      return file === undefined ? undefined : { file: this.#path(file) };
    }
    const pem = Buffer.from(data, 'base64').toString('latin1');
    if (!pem.includes('-----BEGIN ')) throw this.#invalid(`${at}${name}-data`, 'is not base64 of PEM text');
    return { data: pem };
  }

  #refuse(fields: Fields, at: string, name: string): void {
    const value = fields[name];
    if (value === undefined || value === null || value === '') return;
    throw this.#invalid(`${at}${name}`, 'is not supported');
  }

  #path(file: string): string {
    return path.resolve(path.dirname(this.#file), file);
  }

  /** A string that is set; empty counts as not set, as in Go. */
  #text(fields: Fields, name: string, at: string): string | undefined {
    const value = fields[name];
    if (value === undefined || value === null || value === '') return undefined;
    if (typeof value !== 'string') throw this.#invalid(`${at}${name}`, 'must be a string');
    return value;
  }

  #list(fields: Fields, name: string, at: string): readonly unknown[] {
    const value = fields[name] ?? [];
    if (!Array.isArray(value)) throw this.#invalid(at === '' ? name : `${at}.${name}`, 'must be a list');
    return value;
  }

  #object(value: unknown, at: string): Fields {
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Fields;
    throw this.#invalid(at, 'must be a map');
  }

  #invalid(field: string, why: string): AgentError {
    return new AgentError(`kubeconfig ${this.#file}: ${field} ${why}`, { code: 'KUBECONFIG_INVALID', hint: HINT });
  }
}

/** A host, perhaps with a port, is a server too: of HTTPS where the kubeconfig says how to speak it (client-go rest/url_utils.go). */
function withScheme(server: string, hasTls: boolean): string {
  return /^[^/?#]+\/?$/.test(server) ? `${hasTls ? 'https' : 'http'}://${server}` : server;
}

function isHttpUrl(text: string): boolean {
  return URL.canParse(text) && /^https?:$/.test(new URL(text).protocol);
}
