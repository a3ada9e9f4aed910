// An API server that costs next to nothing, so that what is measured is the proxy: lists are watch-lists of events made
// beforehand, and a write is one event to every open watch. It serves what a proxy asks for and knows no selectors.
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** The last part of the collection's path. */
export type Collection = 'services' | 'endpointslices' | 'nodes' | 'servicecidrs';

const KINDS: Readonly<Record<Collection, { readonly apiVersion: string; readonly kind: string }>> = {
  services: { apiVersion: 'v1', kind: 'Service' },
  endpointslices: { apiVersion: 'discovery.k8s.io/v1', kind: 'EndpointSlice' },
  nodes: { apiVersion: 'v1', kind: 'Node' },
  servicecidrs: { apiVersion: 'networking.k8s.io/v1', kind: 'ServiceCIDR' },
};

interface Named {
  readonly metadata?: { readonly name?: string; readonly namespace?: string };
}

export class FakeApi implements AsyncDisposable {
  readonly #server: Server;
  readonly #objects = new Map<Collection, Map<string, string>>();
  readonly #watches = new Map<string, Set<ServerResponse>>();
  #version = 1;

  private constructor() {
    this.#server = createServer((req, res) => this.#answer(req, res));
  }

  static async start(): Promise<FakeApi> {
    const api = new FakeApi();
    api.#server.listen(0, '127.0.0.1');
    await once(api.#server, 'listening');
    return api;
  }

  get url(): string {
    return `http://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  /** Creates or replaces, and tells every watch. */
  write(collection: Collection, object: Named): void {
    const all = this.#objects.get(collection) ?? new Map<string, string>();
    this.#objects.set(collection, all);
    const key = `${object.metadata?.namespace ?? ''}/${object.metadata?.name}`;
    const type = all.has(key) ? 'MODIFIED' : 'ADDED';
    const metadata = { ...object.metadata, resourceVersion: String(++this.#version) };
    const text = JSON.stringify({ ...KINDS[collection], ...object, metadata });
    all.set(key, text);
    for (const watch of this.#watches.get(collection) ?? []) watch.write(`{"type":"${type}","object":${text}}\n`);
  }

  delete(collection: Collection, object: Named): void {
    const key = `${object.metadata?.namespace ?? ''}/${object.metadata?.name}`;
    const text = this.#objects.get(collection)?.get(key);
    if (text === undefined) return;
    this.#objects.get(collection)?.delete(key);
    for (const watch of this.#watches.get(collection) ?? []) watch.write(`{"type":"DELETED","object":${text}}\n`);
  }

  #answer(req: IncomingMessage, res: ServerResponse): void {
    const url = new URL(req.url ?? '/', 'http://localhost');
    const collection = url.pathname.split('/').at(-1)!;
    if (req.method === 'GET' && !(collection in KINDS)) throw new Error(`nobody was to ask for ${req.url}`);
    res.setHeader('Content-Type', 'application/json');
    if (req.method !== 'GET') {
      req.on('data', () => {}).on('end', () => res.writeHead(201).end('{"metadata":{}}')); // Events
    } else if (/^(1|true)$/.test(url.searchParams.get('watch') ?? '')) {
      this.#watch(collection, url.searchParams.get('sendInitialEvents') === 'true', res);
    } else {
      const items = [...(this.#objects.get(collection as Collection)?.values() ?? [])];
      const { apiVersion, kind } = KINDS[collection as Collection];
      const metadata = `{"resourceVersion":"${this.#version}"}`;
      res.end(
        `{"kind":"${kind}List","apiVersion":"${apiVersion}","metadata":${metadata},"items":[${items.join(',')}]}`,
      );
    }
  }

  #watch(collection: string, withAll: boolean, res: ServerResponse): void {
    res.socket?.setNoDelay(true);
    res.writeHead(200);
    res.flushHeaders();
    if (withAll) {
      const all = [...(this.#objects.get(collection as Collection)?.values() ?? [])];
      const annotations = { 'k8s.io/initial-events-end': 'true' };
      const metadata = { resourceVersion: String(this.#version), annotations };
      const end = { type: 'BOOKMARK', object: { ...KINDS[collection as Collection], metadata } };
      res.write(`${all.map((text) => `{"type":"ADDED","object":${text}}\n`).join('')}${JSON.stringify(end)}\n`);
    }
    const watches = this.#watches.get(collection) ?? new Set<ServerResponse>();
    this.#watches.set(collection, watches.add(res));
    res.on('close', () => watches.delete(res));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}
