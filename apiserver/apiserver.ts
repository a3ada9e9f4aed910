// The API server as a whole: store, registry, in-process client, HTTPS listener.
import type { Endpoints } from 'kubernetes-types/core/v1.js';
import type { PriorityClass } from 'kubernetes-types/scheduling/v1.js';
import type { EndpointSlice, Namespace, Service } from '../api/kinds.ts';
import type { KubeObject } from '../api/meta.ts';
import { endpointSlices, namespaces, type ResourceType, services } from '../api/resources.ts';
import type { ApiClient } from '../client/api-client.ts';
import { isAlreadyExists } from '../client/errors.ts';
import type { Clock } from '../core/clock.ts';
import type { Logger } from '../core/log.ts';
import { Registry as MetricsRegistry } from '../core/metrics.ts';
import { builtInAdmission } from './admission/built-in.ts';
import { priorityClasses, SYSTEM_PRIORITIES } from './admission/priority.ts';
import { resourceQuota } from './admission/resource-quota.ts';
import type { AdmissionPlugin } from './admission.ts';
import type { Authenticator } from './auth/authenticator.ts';
import type { Authorizer } from './auth/authorizer.ts';
import { bindingSubresource, bindingsResource } from './binding.ts';
import type { ProtobufDecoder } from './body-decoder.ts';
import { Discovery } from './discovery.ts';
import { evictionSubresource } from './eviction.ts';
import schemaTable from './gen/schema.json' with { type: 'json' };
import { LocalClient } from './local-client.ts';
import { type HealthCheck, NonResourceHandler, type PathHandler } from './non-resource.ts';
import { OpenApi } from './openapi.ts';
import { allKinds, servedVersions } from './registry/kinds/all.ts';
import { Registry } from './registry/registry.ts';
import { DEFAULT_NODE_PORTS, ServiceAllocator } from './registry/service-allocator.ts';
import type { UserInfo } from './request.ts';
import { ResourceHandler } from './resource-handler.ts';
import { SchemaChecker, type TypeTable } from './schema-check.ts';
import { ApiHttpServer, type TlsOptions } from './server.ts';
import { SqliteStore } from './store/sqlite.ts';
import type { Store } from './store/store.ts';
import type { Subresource, VirtualResource } from './subresource.ts';

export interface ApiServerOptions {
  /** Directory of the store. */
  readonly storeDir: string;
  /** `full` (default): a write is on disk when answered. `normal`: it survives the end of the process, not of power. */
  readonly durability?: 'full' | 'normal';
  readonly listen: { readonly address: string; readonly port: number };
  /** Address under which nodes and pods reach this server: endpoint of the `kubernetes` Service. */
  readonly advertiseAddress: string;
  readonly tls: TlsOptions;
  /** IPv4, e.g. `10.96.0.0/16`. */
  readonly serviceCidr: string;
}

export interface ApiServerDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics?: MetricsRegistry;
}

/** What is handed in by the rooms that authenticate, authorise and proxy; made with the server's own client. */
export interface ApiServerExtensions {
  readonly authenticators: readonly Authenticator[];
  readonly authorizer: Authorizer;
  /** Run after the built-in plugins, in order. */
  readonly admission?: readonly AdmissionPlugin[];
  readonly subresources?: readonly Subresource[];
  readonly virtualResources?: readonly VirtualResource[];
  readonly paths?: readonly PathHandler[];
  readonly protobuf?: ProtobufDecoder;
  /** Besides the store: /readyz fails until these are fine, e.g. controllers that have not listed yet. */
  readonly readyChecks?: ReadonlyMap<string, HealthCheck>;
}

const ENDPOINTS: ResourceType<Endpoints> = {
  group: '',
  version: 'v1',
  plural: 'endpoints',
  kind: 'Endpoints',
  namespaced: true,
};

const SYSTEM_NAMESPACES = ['default', 'kube-system', 'kube-public', 'kube-node-lease'];

export class ApiServer {
  readonly #options: ApiServerOptions;
  readonly #deps: ApiServerDeps;
  readonly #store: Store;
  readonly #allocator: ServiceAllocator;
  readonly #admission: AdmissionPlugin[] = [];
  readonly #subresources: Subresource[] = [];
  readonly registry: Registry;
  #server: ApiHttpServer | undefined;
  #seeded = false;

  /** Opens the store. @throws {AgentError} STORE_LOCKED, STORE_UNREADABLE */
  constructor(options: ApiServerOptions, deps: ApiServerDeps) {
    this.#options = options;
    this.#deps = deps;
    const durability = options.durability ?? 'full';
    this.#store = new SqliteStore({ dir: options.storeDir, durability }, deps);
    this.#allocator = new ServiceAllocator({ serviceCidr: options.serviceCidr, ...DEFAULT_NODE_PORTS });
    this.registry = new Registry(allKinds(this.#allocator), servedVersions, {
      store: this.#store,
      clock: deps.clock,
      admission: this.#admission,
    });
    this.#allocator.load(this.registry.list(services));
    this.#admission.push(...builtInAdmission(this.registry, deps.clock));
    this.#subresources.push(
      bindingSubresource(this.registry, deps.clock),
      evictionSubresource(this.registry, deps.clock),
    );
  }

  /** The API without HTTP, for controllers in this process. */
  client(user?: UserInfo): ApiClient {
    return new LocalClient({
      registry: this.registry,
      subresources: this.#subresources,
      ...(user === undefined ? {} : { user }),
    });
  }

  /** The port listened on, once `ready` has resolved. */
  get port(): number {
    return this.#server?.port ?? this.#options.listen.port;
  }

  /**
   * Adds what was handed in, makes the system namespaces and the `kubernetes` Service, and listens. Call once.
   * @throws {AgentError} LISTEN_FAILED
   */
  async start(extensions: ApiServerExtensions): Promise<void> {
    // Quotas come last: what they charge for should then be stored.
    this.#admission.push(...(extensions.admission ?? []), resourceQuota(this.registry, this.#deps.clock));
    this.#subresources.push(...(extensions.subresources ?? []));
    await this.#seed();
    this.#server = this.#makeServer(extensions);
    await this.#server.listen();
    await this.#publishEndpoint();
  }

  /** Ends connections and closes the store. */
  async close(): Promise<void> {
    await this.#server?.close();
    await this.#store.close();
  }

  #makeServer(extensions: ApiServerExtensions): ApiHttpServer {
    const { clock, log } = this.#deps;
    const { authenticators, authorizer, protobuf } = extensions;
    const virtualResources = [bindingsResource(this.registry, clock), ...(extensions.virtualResources ?? [])];
    const address = () => `${this.#options.advertiseAddress}:${this.port}`;
    const discovery = new Discovery(this.registry, this.#subresources, virtualResources, address);
    const live = new Map<string, HealthCheck>([
      ['ping', () => {}],
      ['store', () => void this.#store.revision],
    ]);
    const ready = new Map<string, HealthCheck>([
      ...live,
      ['poststarthook/start-system-namespaces', () => this.#requireSeeded()],
      ...(extensions.readyChecks ?? []),
    ]);
    const nonResources = new NonResourceHandler({
      discovery,
      openApi: new OpenApi(discovery, schemaTable as TypeTable),
      metrics: this.#deps.metrics ?? new MetricsRegistry(),
      livez: live,
      readyz: ready,
      paths: extensions.paths ?? [],
    });
    const schema = new SchemaChecker(schemaTable as TypeTable);
    const resources = new ResourceHandler({ clock, schema, protobuf });
    const { listen, tls } = this.#options;
    return new ApiHttpServer(
      { ...listen, tls },
      {
        clock,
        log,
        registry: this.registry,
        resources,
        nonResources,
        authenticators,
        authorizer,
        subresources: this.#subresources,
        virtualResources,
        protobuf,
      },
    );
  }

  /** The `kubernetes` Service has no selector: its endpoint is this server, in both forms. */
  async #publishEndpoint(): Promise<void> {
    const client = this.client();
    const address = this.#options.advertiseAddress;
    const metadata = { name: 'kubernetes', labels: { 'kubernetes.io/service-name': 'kubernetes' } };
    const slice: EndpointSlice = {
      metadata,
      addressType: 'IPv4',
      endpoints: [{ addresses: [address], conditions: { ready: true } }],
      ports: [{ name: 'https', port: this.port, protocol: 'TCP' }],
    };
    const legacy: Endpoints = {
      metadata: { name: 'kubernetes', labels: { 'endpointslice.kubernetes.io/skip-mirror': 'true' } },
      subsets: [{ addresses: [{ ip: address }], ports: [{ name: 'https', port: this.port, protocol: 'TCP' }] }],
    };
    await put(client, endpointSlices, slice);
    await put(client, ENDPOINTS, legacy);
  }

  #requireSeeded(): void {
    if (!this.#seeded) throw new Error('not finished');
  }

  /** What every cluster has from its first moment. */
  async #seed(): Promise<void> {
    const client = this.client();
    for (const name of SYSTEM_NAMESPACES) {
      await unlessThere(client.create<Namespace>(namespaces, {}, { metadata: { name } }));
    }
    for (const { name, value, description } of SYSTEM_PRIORITIES) {
      await unlessThere(client.create<PriorityClass>(priorityClasses, {}, { metadata: { name }, value, description }));
    }
    const kubernetes: Service = {
      metadata: { name: 'kubernetes', labels: { component: 'apiserver', provider: 'kubernetes' } },
      spec: {
        type: 'ClusterIP',
        clusterIP: this.#allocator.firstAddress,
        ports: [{ name: 'https', port: 443, protocol: 'TCP', targetPort: this.#options.listen.port || 6443 }],
      },
    };
    await unlessThere(client.create<Service>(services, { namespace: 'default' }, kubernetes));
    this.#seeded = true;
  }
}

/** Replaces what an earlier run wrote: address and port may have changed. */
async function put<T extends KubeObject>(client: ApiClient, type: ResourceType<T>, object: T): Promise<void> {
  const namespace = 'default';
  await unlessThere(client.create<T>(type, { namespace }, object));
  await client.update<T>(type, { namespace, name: object.metadata!.name! }, object);
}

async function unlessThere(creation: Promise<unknown>): Promise<void> {
  try {
    await creation;
  } catch (err) {
    if (!isAlreadyExists(err)) throw err;
  }
}
