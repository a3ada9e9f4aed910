// What this server offers, in the aggregated form (one request per root) and the old one (one per group and version).
import { createHash } from 'node:crypto';
import type { ResourceType } from '../api/resources.ts';
import { parseAccept } from './negotiation.ts';
import type { Registry } from './registry/registry.ts';
import { SCALE_KIND } from './scale.ts';
import type { Subresource, VirtualResource } from './subresource.ts';

interface Offered {
  readonly type: ResourceType;
  readonly singular: string;
  readonly verbs: readonly string[];
  readonly shortNames: readonly string[];
  readonly categories: readonly string[];
  readonly subresources: readonly OfferedSubresource[];
}

interface OfferedSubresource {
  readonly name: string;
  readonly verbs: readonly string[];
  readonly kind: { readonly group: string; readonly version: string; readonly kind: string };
}

/** Preference order of groups: decides which group a short name such as `events` means. */
const GROUP_ORDER = [
  '',
  'apiregistration.k8s.io',
  'apps',
  'events.k8s.io',
  'authentication.k8s.io',
  'authorization.k8s.io',
  'autoscaling',
  'batch',
  'certificates.k8s.io',
  'networking.k8s.io',
  'policy',
  'rbac.authorization.k8s.io',
  'storage.k8s.io',
  'admissionregistration.k8s.io',
  'apiextensions.k8s.io',
  'scheduling.k8s.io',
  'coordination.k8s.io',
  'node.k8s.io',
  'discovery.k8s.io',
  'resource.k8s.io',
];

const FULL = ['create', 'delete', 'deletecollection', 'get', 'list', 'patch', 'update', 'watch'];
const STATUS_VERBS = ['get', 'patch', 'update'];

export interface Document {
  readonly json: string;
  readonly etag: string;
  readonly contentType: string;
}

export class Discovery {
  readonly #groups: Map<string, Map<string, Offered[]>>;
  readonly #documents = new Map<string, Document>();
  readonly #serverAddress: () => string;

  /** `serverAddress`: `host:port` for old clients. */
  constructor(
    registry: Registry,
    subresources: readonly Subresource[],
    virtual: readonly VirtualResource[],
    serverAddress: () => string,
  ) {
    this.#groups = groupsOf(registry, subresources, virtual);
    this.#serverAddress = serverAddress;
  }

  /** Groups and versions served, e.g. `v1`, `apps/v1`. */
  get groupVersions(): string[] {
    return [...this.#groups].flatMap(([group, versions]) =>
      [...versions.keys()].map((version) => groupVersion(group, version)),
    );
  }

  kindsOf(group: string, version: string): ResourceType[] {
    return (this.#groups.get(group)?.get(version) ?? []).map((o) => o.type);
  }

  /** The document at a path below /api or /apis, undefined when there is none. */
  document(path: string, accept: string | undefined): Document | undefined {
    const parts = path.split('/').filter((p) => p !== '');
    if (parts.length === 1) {
      const version = aggregatedVersion(accept);
      if (version !== undefined) return this.#cached(`${path} ${version}`, () => this.#aggregated(parts[0]!, version));
    }
    return this.#cached(path, () => {
      const body = this.#legacy(parts);
      return body === undefined ? undefined : { body, contentType: 'application/json' };
    });
  }

  #cached(key: string, make: () => { body: unknown; contentType: string } | undefined): Document | undefined {
    const known = this.#documents.get(key);
    if (known !== undefined) return known;
    const made = make();
    if (made === undefined) return undefined;
    const json = JSON.stringify(made.body);
    const etag = `"${createHash('sha512').update(json).digest('hex').toUpperCase()}"`;
    const document = { json, etag, contentType: made.contentType };
    this.#documents.set(key, document);
    return document;
  }

  #aggregated(root: string, version: string) {
    const groups = [...this.#groups].filter(([group]) => (group === '') === (root === 'api'));
    const items = groups.map(([group, versions]) => ({
      metadata: group === '' ? { creationTimestamp: null } : { name: group, creationTimestamp: null },
      versions: [...versions].map(([v, resources]) => ({
        version: v,
        resources: resources.map(aggregatedResource),
        freshness: 'Current',
      })),
    }));
    return {
      body: { kind: 'APIGroupDiscoveryList', apiVersion: `apidiscovery.k8s.io/${version}`, metadata: {}, items },
      contentType: `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`,
    };
  }

  #legacy([root, group, version]: readonly string[]): unknown {
    if (root === 'api') {
      if (group !== undefined) return version === undefined ? this.#resourceList('', group) : undefined;
      const address = { clientCIDR: '0.0.0.0/0', serverAddress: this.#serverAddress() };
      return { kind: 'APIVersions', versions: ['v1'], serverAddressByClientCIDRs: [address] };
    }
    if (group === undefined) {
      const groups = [...this.#groups.keys()].filter((g) => g !== '').map((g) => this.#group(g));
      return { kind: 'APIGroupList', apiVersion: 'v1', groups };
    }
    if (group === '' || !this.#groups.has(group)) return undefined;
    if (version === undefined) return { kind: 'APIGroup', apiVersion: 'v1', ...this.#group(group) };
    return this.#resourceList(group, version);
  }

  #group(name: string) {
    const versions = [...this.#groups.get(name)!.keys()].map((version) => ({
      groupVersion: groupVersion(name, version),
      version,
    }));
    return { name, versions, preferredVersion: versions[0] };
  }

  #resourceList(group: string, version: string): unknown {
    const offered = this.#groups.get(group)?.get(version);
    if (offered === undefined) return undefined;
    const resources = offered.flatMap((o) => [
      {
        name: o.type.plural,
        singularName: o.singular,
        namespaced: o.type.namespaced,
        kind: o.type.kind,
        verbs: o.verbs,
        ...(o.shortNames.length === 0 ? {} : { shortNames: o.shortNames }),
        ...(o.categories.length === 0 ? {} : { categories: o.categories }),
      },
      ...o.subresources.map((s) => ({
        name: `${o.type.plural}/${s.name}`,
        singularName: '',
        namespaced: o.type.namespaced,
        ...(s.kind.group === group && s.kind.version === version
          ? {}
          : { group: s.kind.group, version: s.kind.version }),
        kind: s.kind.kind,
        verbs: s.verbs,
      })),
    ]);
    return { kind: 'APIResourceList', apiVersion: 'v1', groupVersion: groupVersion(group, version), resources };
  }
}

function groupVersion(group: string, version: string): string {
  return group === '' ? version : `${group}/${version}`;
}

/** v2 or v2beta1 when the first clause that this server knows asks for aggregated discovery. */
function aggregatedVersion(accept: string | undefined): string | undefined {
  for (const { type, parameters } of parseAccept(accept ?? '')) {
    if (type !== 'application/json' && type !== '*/*' && type !== 'application/*') continue;
    const version = parameters.get('v');
    if (parameters.get('as') === undefined) return undefined;
    if (parameters.get('as') !== 'APIGroupDiscoveryList' || parameters.get('g') !== 'apidiscovery.k8s.io') continue;
    if (version === 'v2' || version === 'v2beta1') return version;
  }
  return undefined;
}

function aggregatedResource(o: Offered) {
  const { group, version, kind, plural, namespaced } = o.type;
  return {
    resource: plural,
    responseKind: { group, version, kind },
    scope: namespaced ? 'Namespaced' : 'Cluster',
    singularResource: o.singular,
    verbs: o.verbs,
    ...(o.shortNames.length === 0 ? {} : { shortNames: o.shortNames }),
    ...(o.categories.length === 0 ? {} : { categories: o.categories }),
    ...(o.subresources.length === 0
      ? {}
      : { subresources: o.subresources.map((s) => ({ subresource: s.name, responseKind: s.kind, verbs: s.verbs })) }),
  };
}

function groupsOf(
  registry: Registry,
  subresources: readonly Subresource[],
  virtual: readonly VirtualResource[],
): Map<string, Map<string, Offered[]>> {
  const offered: Offered[] = [];
  for (const endpoint of registry.endpoints) {
    const { definition } = endpoint.resource;
    const { type } = endpoint;
    offered.push({
      type,
      singular: type.kind.toLowerCase(),
      verbs: definition.verbs ?? FULL,
      shortNames: definition.shortNames ?? [],
      categories: definition.categories ?? [],
      subresources: subresourcesOf(type, definition, subresources),
    });
  }
  for (const v of virtual) {
    const type = { group: v.group, version: v.version, plural: v.plural, kind: v.kind, namespaced: v.namespaced };
    const rest = { shortNames: [], categories: [], subresources: [] };
    offered.push({ type, singular: v.kind.toLowerCase(), verbs: ['create'], ...rest });
  }
  return arrange(offered);
}

function subresourcesOf(
  type: ResourceType,
  definition: { status?: boolean; scale?: unknown; subresources?: Readonly<Record<string, unknown>> },
  added: readonly Subresource[],
): OfferedSubresource[] {
  const own = { group: type.group, version: type.version, kind: type.kind };
  const names = new Map<string, OfferedSubresource>();
  if (definition.status) names.set('status', { name: 'status', verbs: STATUS_VERBS, kind: own });
  if (definition.scale !== undefined) names.set('scale', { name: 'scale', verbs: STATUS_VERBS, kind: SCALE_KIND });
  for (const name of Object.keys(definition.subresources ?? {})) {
    names.set(name, { name, verbs: name === 'finalize' ? ['update'] : STATUS_VERBS, kind: own });
  }
  for (const s of added) {
    if (s.group !== type.group || s.resource !== type.plural || s.version !== type.version) continue;
    names.set(s.subresource, { name: s.subresource, verbs: s.verbs, kind: s.responseKind ?? own });
  }
  return [...names.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function arrange(offered: readonly Offered[]): Map<string, Map<string, Offered[]>> {
  const rank = (group: string) => {
    const at = GROUP_ORDER.indexOf(group);
    return at < 0 ? GROUP_ORDER.length : at;
  };
  const sorted = [...offered].sort(
    (a, b) => rank(a.type.group) - rank(b.type.group) || (a.type.plural < b.type.plural ? -1 : 1),
  );
  const groups = new Map<string, Map<string, Offered[]>>();
  for (const o of sorted) {
    const versions = groups.get(o.type.group) ?? new Map<string, Offered[]>();
    groups.set(o.type.group, versions);
    versions.set(o.type.version, [...(versions.get(o.type.version) ?? []), o]);
  }
  return groups;
}
