// Paths that name no resource: health, version, discovery, OpenAPI, metrics.
import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Registry as MetricsRegistry } from '../core/metrics.ts';
import type { Discovery } from './discovery.ts';
import { OPENAPI_V2_JSON, type OpenApi } from './openapi.ts';
import { OPENAPI_V2_PROTOBUF_TYPE } from './openapi-v2.ts';
import { isTrue, type RequestInfo } from './request.ts';
import { sendText } from './responses.ts';
import { StatusError } from './status-error.ts';

/** A readiness check: resolves when fine, throws what is wrong. */
export type HealthCheck = () => void | Promise<void>;

export interface PathHandler {
  /** Exact path. */
  readonly path: string;
  handle(request: IncomingMessage, response: ServerResponse, info: RequestInfo): Promise<void>;
}

export interface NonResourceDeps {
  readonly discovery: Discovery;
  readonly openApi: OpenApi;
  readonly metrics: MetricsRegistry;
  readonly livez: ReadonlyMap<string, HealthCheck>;
  readonly readyz: ReadonlyMap<string, HealthCheck>;
  /** Further paths, e.g. /openid/v1/jwks. */
  readonly paths: readonly PathHandler[];
}

const VERSION = {
  major: '1',
  minor: '36',
  gitVersion: 'v1.36.0',
  gitCommit: '0000000000000000000000000000000000000000',
  gitTreeState: 'clean',
  buildDate: '1970-01-01T00:00:00Z',
  goVersion: `node ${process.version}`,
  compiler: 'node',
  platform: `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`,
};

const JSON_TYPE = 'application/json';
const ONE_YEAR_MS = 365 * 86_400_000;

export class NonResourceHandler {
  readonly #deps: NonResourceDeps;

  constructor(deps: NonResourceDeps) {
    this.#deps = deps;
  }

  /** @throws {StatusError} */
  async handle(request: IncomingMessage, response: ServerResponse, info: RequestInfo): Promise<void> {
    const { path } = info;
    const added = this.#deps.paths.find((p) => p.path === path);
    if (added !== undefined) return added.handle(request, response, info);
    if (info.method !== 'GET' && info.method !== 'HEAD') {
      throw new StatusError(405, 'MethodNotAllowed', `${info.method} is not supported on ${path}`);
    }
    const text = (body: string, type = JSON_TYPE) => sendText(request, response, 200, type, body);
    const [, first = '', second = ''] = path.split('/');
    if (first === 'healthz' || first === 'livez')
      return this.#health(request, response, info, this.#deps.livez, second);
    if (first === 'readyz') return this.#health(request, response, info, this.#deps.readyz, second);
    if (first === 'api' || first === 'apis') return this.#discovery(request, response, path);
    if (path === '/version') return text(`${JSON.stringify(VERSION, undefined, 2)}\n`);
    if (path === '/openapi/v2' || path === '/swagger-2.0.0.pb-v1') return this.#openApiV2(request, response);
    if (path === '/openapi/v3') return text(this.#deps.openApi.v3Index());
    if (path.startsWith('/openapi/v3/')) return this.#openApiV3(request, response, info);
    if (path === '/metrics') return text(await this.#deps.metrics.metrics(), this.#deps.metrics.contentType);
    if (path === '/') return text(`${JSON.stringify({ paths: this.#paths() }, undefined, 2)}\n`);
    return sendText(request, response, 404, 'text/plain; charset=utf-8', '404 page not found\n');
  }

  #paths(): string[] {
    const groups = this.#deps.discovery.groupVersions.map((gv) => (gv.includes('/') ? `/apis/${gv}` : `/api/${gv}`));
    const fixed = [
      '/api',
      '/apis',
      '/healthz',
      '/livez',
      '/metrics',
      '/openapi/v2',
      '/openapi/v3',
      '/readyz',
      '/version',
    ];
    return [...groups, ...fixed].sort();
  }

  async #discovery(request: IncomingMessage, response: ServerResponse, path: string): Promise<void> {
    const document = this.#deps.discovery.document(path, request.headers.accept);
    if (document === undefined) {
      return sendText(request, response, 404, 'text/plain; charset=utf-8', '404 page not found\n');
    }
    response.setHeader('ETag', document.etag);
    response.setHeader('Vary', 'Accept');
    response.setHeader('Cache-Control', 'no-cache, private');
    if (request.headers['if-none-match'] === document.etag) {
      response.writeHead(304).end();
      return;
    }
    await sendText(request, response, 200, document.contentType, document.json);
  }

  /** Old clients take only protobuf; a plain or JSON Accept gets JSON. */
  async #openApiV2(request: IncomingMessage, response: ServerResponse): Promise<void> {
    if (/proto-openapi/.test(request.headers.accept ?? '')) {
      return sendText(request, response, 200, OPENAPI_V2_PROTOBUF_TYPE, this.#deps.openApi.v2());
    }
    return sendText(request, response, 200, JSON_TYPE, OPENAPI_V2_JSON);
  }

  async #openApiV3(request: IncomingMessage, response: ServerResponse, info: RequestInfo): Promise<void> {
    const key = info.path.slice('/openapi/v3/'.length);
    const document = this.#deps.openApi.v3(key);
    if (document === undefined) {
      return sendText(request, response, 404, 'text/plain; charset=utf-8', '404 page not found\n');
    }
    const hash = info.query.get('hash');
    const current = document.etag.replaceAll('"', '');
    if (hash !== null && hash !== current) {
      response.writeHead(301, { Location: `/openapi/v3/${key}?hash=${current}` }).end();
      return;
    }
    response.setHeader('ETag', document.etag);
    if (hash !== null) {
      response.setHeader('Cache-Control', 'public, immutable');
      response.setHeader('Expires', new Date(Date.now() + ONE_YEAR_MS).toUTCString());
    }
    await sendText(request, response, 200, document.contentType, document.json);
  }

  async #health(
    request: IncomingMessage,
    response: ServerResponse,
    info: RequestInfo,
    checks: ReadonlyMap<string, HealthCheck>,
    only: string,
  ): Promise<void> {
    const excluded = new Set(info.query.getAll('exclude'));
    const names = [...checks.keys()].filter((name) => (only === '' || name === only) && !excluded.has(name));
    if (only !== '' && names.length === 0) {
      return sendText(request, response, 404, 'text/plain; charset=utf-8', '404 page not found\n');
    }
    const lines: string[] = [];
    let failed = false;
    for (const name of names) {
      const fault = await faultOf(checks.get(name)!);
      failed ||= fault !== undefined;
      lines.push(fault === undefined ? `[+]${name} ok` : `[-]${name} failed: ${fault}`);
    }
    const path = `/${info.path.split('/')[1]}`.slice(1);
    const verbose = failed || isTrue(info.query.get('verbose'));
    const body = verbose ? `${lines.join('\n')}\n${path} check ${failed ? 'failed' : 'passed'}\n` : 'ok';
    await sendText(request, response, failed ? 500 : 200, 'text/plain; charset=utf-8', body);
  }
}

async function faultOf(check: HealthCheck): Promise<string | undefined> {
  try {
    await check();
    return undefined;
  } catch (err) {
    return err instanceof Error ? err.message : String(err);
  }
}
