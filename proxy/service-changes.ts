// Services → derived records, and which of them changed since the last sync. After kube-proxy's
// servicechangetracker.go: a change that leaves the derived record equal, or that is taken back before the next sync,
// costs nothing.
import { isDeepStrictEqual } from 'node:util';
import type { IpVersion } from '../api/cidr.ts';
import type { ServicePort as ApiServicePort, Service } from '../api/kinds.ts';
import { objectKey } from '../api/meta.ts';
import type { Logger } from '../core/log.ts';
import { canonicalCidr, canonicalIp, isObjectName, isPort } from './address.ts';
import { flatText } from './flat-text.ts';
import { type OnInvalid, shown } from './invalid-input.ts';
import { isProtocol, portId, type ServiceMap, type ServicePort } from './service-map.ts';

/** A Service with this label, whatever its value, belongs to another proxy. */
export const SERVICE_PROXY_NAME_LABEL = 'service.kubernetes.io/service-proxy-name';

const DEFAULT_AFFINITY_S = 10_800; // the API's default

/** A Service with more is left out: it would need tens of thousands of rules, and hold up all others. */
const MAX_PORTS = 5_000;

export class ServiceChanges {
  readonly #family: IpVersion;
  readonly #onInvalid: OnInvalid;
  readonly #applied = new Map<string, readonly ServicePort[]>();
  readonly #pending = new Map<string, readonly ServicePort[]>();

  /** Without `onInvalid`, what is left out is logged. */
  constructor(family: IpVersion, log: Logger, onInvalid?: OnInvalid) {
    this.#family = family;
    this.#onInvalid = onInvalid ?? ((note) => log.warn({ cause: note }, 'invalid parts of a Service left out'));
  }

  /** Takes the newest state of a Service, `undefined` when it is gone. True when any change waits for a sync. */
  handle(key: string, service: Service | undefined): boolean {
    const ports = service === undefined ? [] : readServicePorts(service, this.#family, this.#onInvalid);
    if (isDeepStrictEqual(ports, this.#applied.get(key) ?? [])) this.#pending.delete(key);
    else this.#pending.set(flatText(key), ports);
    return this.#pending.size > 0;
  }

  get pendingCount(): number {
    return this.#pending.size;
  }

  /** The Service has ports, as far as events tell. */
  has(key: string): boolean {
    return (this.#pending.get(key) ?? this.#applied.get(key) ?? []).length > 0;
  }

  /** Moves pending changes into `current`. Returns the keys of changed Services. */
  checkout(): ReadonlySet<string> {
    const changed = new Set(this.#pending.keys());
    for (const [key, ports] of this.#pending) {
      if (ports.length === 0) this.#applied.delete(key);
      else this.#applied.set(key, ports);
    }
    this.#pending.clear();
    return changed;
  }

  get current(): ServiceMap {
    return this.#applied;
  }
}

/** Pure but for `onInvalid`: the ports of `service` that rules of `family` can be made for. */
export function readServicePorts(service: Service, family: IpVersion, onInvalid: OnInvalid): readonly ServicePort[] {
  const spec = service.spec;
  const key = flatText(objectKey(service));
  if (spec === undefined || spec.type === 'ExternalName') return [];
  if (service.metadata?.labels?.[SERVICE_PROXY_NAME_LABEL] !== undefined) return [];
  const clusterIp = clusterIpOf(spec, family);
  if (clusterIp === undefined) return [];
  if (!isObjectName(service.metadata?.namespace) || !isObjectName(service.metadata.name)) {
    onInvalid('a name that cannot stand in a rule');
    return [];
  }
  const wanted = spec.ports ?? [];
  if (wanted.length > MAX_PORTS) {
    onInvalid(`${wanted.length} ports, where at most ${MAX_PORTS} are served`);
    return [];
  }
  const common = readCommon(service, family);
  const ports: ServicePort[] = [];
  for (const p of wanted) {
    const port = readPort(key, p, clusterIp, common);
    if (port === undefined) onInvalid(`port ${shown(p.name ?? '')} with number ${shown(p.port)}`);
    else ports.push(port);
  }
  return ports;
}

type CommonFields = Omit<
  ServicePort,
  'serviceKey' | 'nameString' | 'portId' | 'protocol' | 'clusterIp' | 'port' | 'nodePort'
>;

function readPort(
  serviceKey: string,
  p: ApiServicePort,
  clusterIp: string,
  common: CommonFields,
): ServicePort | undefined {
  const protocol = p.protocol ?? 'TCP';
  const name = p.name ?? '';
  if (!isProtocol(protocol) || !isPort(p.port) || (name !== '' && !isObjectName(name))) return undefined;
  if (p.nodePort !== undefined && p.nodePort !== 0 && !isPort(p.nodePort)) return undefined;
  return {
    serviceKey,
    nameString: name === '' ? serviceKey : flatText(`${serviceKey}:${name}`),
    portId: portId(name, protocol),
    protocol,
    clusterIp,
    port: p.port,
    nodePort: p.nodePort || undefined,
    ...common,
  };
}

function readCommon(service: Service, family: IpVersion): CommonFields {
  const spec = service.spec!;
  const externalIps = distinct((spec.externalIPs ?? []).map((ip) => canonicalIp(ip, family)));
  const byType = spec.type === 'LoadBalancer' || spec.type === 'NodePort' || externalIps.length > 0;
  const externalPolicyLocal = spec.externalTrafficPolicy === 'Local' && byType;
  const healthPort = spec.type === 'LoadBalancer' && externalPolicyLocal ? spec.healthCheckNodePort : undefined;
  return {
    externalIps,
    loadBalancerVips: loadBalancerVips(service, family),
    sourceRanges: sourceRanges(spec.loadBalancerSourceRanges ?? [], family),
    affinitySeconds: spec.sessionAffinity === 'ClientIP' ? affinitySeconds(service) : undefined,
    externalPolicyLocal,
    internalPolicyLocal: spec.internalTrafficPolicy === 'Local',
    healthCheckNodePort: isPort(healthPort) ? healthPort : undefined,
  };
}

function affinitySeconds(service: Service): number {
  const seconds = service.spec?.sessionAffinityConfig?.clientIP?.timeoutSeconds;
  return Number.isInteger(seconds) && seconds! > 0 && seconds! <= 86_400 ? seconds! : DEFAULT_AFFINITY_S;
}

function clusterIpOf(spec: NonNullable<Service['spec']>, family: IpVersion): string | undefined {
  if (!spec.clusterIP || spec.clusterIP === 'None') return undefined;
  if (!spec.ipFamilies?.length) return canonicalIp(spec.clusterIP, family);
  const index = spec.ipFamilies.indexOf(family === 4 ? 'IPv4' : 'IPv6');
  return index < 0 ? undefined : canonicalIp(spec.clusterIPs?.[index] ?? (index === 0 ? spec.clusterIP : ''), family);
}

function loadBalancerVips(service: Service, family: IpVersion): readonly string[] {
  const ingress = service.status?.loadBalancer?.ingress ?? [];
  // `ipMode: Proxy` means that the balancer wants to see the traffic itself.
  return distinct(
    ingress
      .filter((i: { readonly ipMode?: string }) => (i.ipMode ?? 'VIP') === 'VIP')
      .map((i) => canonicalIp(i.ip, family)),
  );
}

function sourceRanges(texts: readonly string[], family: IpVersion): readonly string[] {
  const ranges = distinct(texts.map((t) => canonicalCidr(t, family)));
  return ranges.some((r) => r.endsWith('/0')) ? NONE : ranges;
}

/** Most Services have no such addresses, and there are many Services. */
const NONE: readonly string[] = [];

function distinct(values: readonly (string | undefined)[]): readonly string[] {
  return values.length === 0 ? NONE : [...new Set(values.filter((v) => v !== undefined))];
}
