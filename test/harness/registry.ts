// A container registry of the suite's own on loopback, speaking the pull half of the OCI distribution API, with the ways
// in which real ones let people in or turn them away. Each repository holds one small image that can run.
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { createTar } from '../../lab/tar.ts';

const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';
const LAYER = 'application/vnd.oci.image.layer.v1.tar';

export interface RepositoryOptions {
  /** Who may pull; absent: everybody. */
  readonly users?: Readonly<Record<string, string>>;
  /** How clients show who they are. Default basic. */
  readonly auth?: 'basic' | 'bearer';
}

interface Repository extends RepositoryOptions {
  readonly manifest: Buffer;
  readonly blobs: ReadonlyMap<string, Buffer>;
}

export class TestRegistry implements AsyncDisposable {
  readonly #server: Server;
  readonly #program: Buffer;
  readonly #repositories = new Map<string, Repository>();
  /** Every request that was let in, as `METHOD path`. */
  readonly requests: string[] = [];
  /** Answered to every request while set. */
  failWith: number | undefined;
  /** Requests for manifests wait for it, each told its image's name. */
  gate: ((repository: string) => Promise<void>) | undefined;

  private constructor(program: Buffer) {
    this.#program = program;
    this.#server = createServer((request, response) => {
      this.#handle(request, response).catch((err: unknown) => response.destroy(err as Error));
    });
  }

  static async start(): Promise<TestRegistry> {
    const self = new TestRegistry(await readFile('/bin/busybox'));
    self.#server.listen(0, '127.0.0.1');
    await once(self.#server, 'listening');
    return self;
  }

  /** `127.0.0.1:<port>`, from which containerd pulls without TLS. */
  get host(): string {
    return `127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Adds a repository whose image has content of its own, and returns the image's name. */
  add(name: string, opts: RepositoryOptions = {}): string {
    const layer = createTar([
      { kind: 'directory', path: 'bin', mode: 0o755 },
      { kind: 'file', path: 'bin/busybox', content: this.#program, mode: 0o755 },
      { kind: 'symlink', path: 'bin/sh', target: 'busybox' },
      { kind: 'file', path: 'name', content: Buffer.from(`${this.host}/${name}`), mode: 0o644 },
    ]);
    const config = Buffer.from(
      JSON.stringify({
        architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
        os: 'linux',
        config: { Env: ['PATH=/bin'], Cmd: ['/bin/sh'] },
        rootfs: { type: 'layers', diff_ids: [digestOf(layer)] },
      }),
    );
    const descriptor = (mediaType: string, blob: Buffer) => ({ mediaType, digest: digestOf(blob), size: blob.length });
    const manifest = Buffer.from(
      JSON.stringify({
        schemaVersion: 2,
        mediaType: MANIFEST,
        config: descriptor(CONFIG, config),
        layers: [descriptor(LAYER, layer)],
      }),
    );
    const blobs = new Map([layer, config].map((blob) => [digestOf(blob), blob]));
    this.#repositories.set(name, { ...opts, manifest, blobs });
    return `${this.host}/${name}:1`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    this.#server.closeAllConnections();
    await closed;
  }

  async #handle(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const url = new URL(request.url ?? '/', `http://${this.host}`);
    if (this.failWith !== undefined) return answer(response, this.failWith);
    if (url.pathname === '/token') return this.#token(request, url, response);
    if (url.pathname === '/v2/') return answer(response, 200, '{}');
    const match = /^\/v2\/(.+)\/(manifests|blobs)\/([^/]+)$/.exec(url.pathname);
    const repository = this.#repositories.get(match?.[1] ?? '');
    if (match === null || repository === undefined) return answer(response, 404, errorBody('NAME_UNKNOWN'));
    const [, name, kind, reference] = match;
    if (!isLetIn(request, name!, repository)) {
      const challenge =
        repository.auth === 'bearer'
          ? `Bearer realm="http://${this.host}/token",service="test",scope="repository:${name}:pull"`
          : 'Basic realm="test"';
      return answer(response, 401, errorBody('UNAUTHORIZED'), { 'WWW-Authenticate': challenge });
    }
    this.requests.push(`${request.method} ${url.pathname}`);
    if (kind === 'manifests') await this.gate?.(name!);
    const body = kind === 'manifests' ? repository.manifest : repository.blobs.get(reference!);
    if (body === undefined) return answer(response, 404, errorBody('BLOB_UNKNOWN'));
    const type = kind === 'manifests' ? MANIFEST : 'application/octet-stream';
    const headers = { 'Content-Type': type, 'Docker-Content-Digest': digestOf(body), 'Content-Length': body.length };
    response.writeHead(200, headers);
    response.end(request.method === 'HEAD' ? undefined : body);
  }

  #token(request: IncomingMessage, url: URL, response: ServerResponse): void {
    const name = /^repository:(.+):pull$/.exec(url.searchParams.get('scope') ?? '')?.[1] ?? '';
    const users = this.#repositories.get(name)?.users ?? {};
    if (hasPassword(request, users)) answer(response, 200, JSON.stringify({ token: tokenOf(name), expires_in: 300 }));
    else answer(response, 401, errorBody('UNAUTHORIZED'));
  }
}

function isLetIn(request: IncomingMessage, name: string, { users, auth }: Repository): boolean {
  if (users === undefined) return true;
  if (auth === 'bearer') return request.headers.authorization === `Bearer ${tokenOf(name)}`;
  return hasPassword(request, users);
}

function hasPassword(request: IncomingMessage, users: Readonly<Record<string, string>>): boolean {
  const encoded = /^Basic (.+)$/.exec(request.headers.authorization ?? '')?.[1] ?? '';
  const [user = '', password] = Buffer.from(encoded, 'base64').toString('utf8').split(':');
  return password !== undefined && users[user] === password;
}

const tokenOf = (name: string) => `token-for-${name}`;

function digestOf(blob: Buffer): string {
  return `sha256:${createHash('sha256').update(blob).digest('hex')}`;
}

function errorBody(code: string): string {
  return JSON.stringify({ errors: [{ code, message: code.toLowerCase() }] });
}

function answer(response: ServerResponse, status: number, body = '', headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'Content-Type': 'application/json', ...headers });
  response.end(body);
}
