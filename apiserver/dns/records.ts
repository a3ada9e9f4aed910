// What the cluster's zone holds, from Services, EndpointSlices and namespaces: Kubernetes DNS-Based Service Discovery
// 1.1.0, with CoreDNS's habits where that leaves a choice. Pure: every question is a few index look-ups.

import { type Cidr, cidrContains, isIp, parseIp } from '../../api/cidr.ts';
import type { Endpoint, EndpointSlice, Namespace, Service } from '../../api/kinds.ts';
import type { ReadonlyStore } from '../../client/store.ts';
import { clusterIps, hostOf, serviceKeyOf } from './indexes.ts';
import type { Answer, DnsRecord, RecordData } from './message-writer.ts';
import { addressOfReverseName } from './reverse-name.ts';
import { type Question, RCODE, TYPE } from './wire.ts';

/** Seconds: what CoreDNS gives, for answers and for the lack of one. */
const CLUSTER_TTL = 5;
/** ExternalName Services that lead to each other. */
const MAX_CNAMES = 8;

export interface ZoneStores {
  readonly services: ReadonlyStore<Service>;
  readonly endpointSlices: ReadonlyStore<EndpointSlice>;
  readonly namespaces: ReadonlyStore<Namespace>;
}

export interface ZoneOptions {
  /** E.g. `cluster.local`, lower case. */
  readonly zone: string;
  /** Address of the Service kube-dns: that of the zone's name server. */
  readonly serverIp: string;
  /** Whose reverse names nobody else can know: Service and pod ranges. */
  readonly ownRanges: readonly Cidr[];
  /** Serial of the zone; secondaries do not exist, so any number will do that grows. */
  readonly serial: number;
  /** 0 ≤ n < 1, for the order of addresses. */
  readonly random: () => number;
}

export interface ZoneAnswer extends Answer {
  /** The last CNAME leads out of the zone, to this name: whoever can should append its addresses. */
  readonly chase?: string;
}

/** What a name stands for: records of any type, or `absent`. An empty list is a name without records of its own. */
type Found = readonly RecordSet[] | 'absent';
interface RecordSet {
  readonly data: readonly RecordData[];
  readonly additional?: readonly DnsRecord[];
}

export class ClusterZone {
  readonly #stores: ZoneStores;
  readonly #opts: ZoneOptions;
  readonly #zoneLabels: readonly string[];

  constructor(stores: ZoneStores, opts: ZoneOptions) {
    this.#stores = stores;
    this.#opts = opts;
    this.#zoneLabels = opts.zone.split('.');
  }

  /** False before the first lists have come: what is not known yet must not be called absent. */
  get hasSynced(): boolean {
    const { services, endpointSlices, namespaces } = this.#stores;
    return services.hasSynced && endpointSlices.hasSynced && namespaces.hasSynced;
  }

  /** The answer to a question of class IN, or undefined for a name that is somebody else's. */
  answer(question: Question): ZoneAnswer | undefined {
    const below = labelsBelow(question.labels, this.#zoneLabels);
    const name = question.labels.join('.');
    if (below !== undefined) return this.#withSyncCheck(() => this.#forwardAnswer(name, below, question.type));
    const ip = addressOfReverseName(question.labels);
    return ip === undefined ? undefined : this.#reverseAnswer(name, ip, question.type);
  }

  #withSyncCheck(answer: () => ZoneAnswer): ZoneAnswer {
    return this.hasSynced ? answer() : { ...EMPTY, rcode: RCODE.servFail };
  }

  #forwardAnswer(name: string, below: readonly string[], type: number): ZoneAnswer {
    const answers: DnsRecord[] = [];
    let [owner, labels]: [string, readonly string[]] = [name, below];
    for (let hops = 0; hops < MAX_CNAMES; hops++) {
      const target = this.#externalName(labels);
      if (target === undefined) return this.#finalAnswer(owner, this.#find(labels), type, answers);
      answers.push({ name: owner, ttl: CLUSTER_TTL, data: { type: 'CNAME', target } });
      const next = labelsBelow(target.split('.'), this.#zoneLabels);
      if (type === TYPE.CNAME || type === TYPE.ANY) return { ...EMPTY, answers };
      if (next === undefined) return { ...EMPTY, answers, chase: target };
      [owner, labels] = [target, next];
    }
    return { ...EMPTY, rcode: RCODE.servFail };
  }

  #finalAnswer(owner: string, found: Found, type: number, before: readonly DnsRecord[]): ZoneAnswer {
    if (found === 'absent') return this.#negative(RCODE.nxDomain, this.#opts.zone, before);
    const answers = [...before];
    const additional: DnsRecord[] = [];
    for (const set of found) {
      const data = set.data.filter((d) => type === TYPE.ANY || TYPE[d.type] === type);
      if (data.length > 0) additional.push(...(set.additional ?? []));
      for (const d of shuffled(data, this.#opts.random)) answers.push({ name: owner, ttl: CLUSTER_TTL, data: d });
    }
    if (answers.length === before.length) return this.#negative(RCODE.noError, this.#opts.zone, before);
    return { ...EMPTY, answers, additional: uniqueRecords(additional) };
  }

  #reverseAnswer(name: string, ip: string, type: number): ZoneAnswer | undefined {
    const apex = ip.includes(':') ? 'ip6.arpa' : 'in-addr.arpa';
    const isOwn = this.#opts.ownRanges.some((range) => cidrContains(range, parseIp(ip)));
    if (!this.hasSynced) return isOwn ? { ...EMPTY, rcode: RCODE.servFail } : undefined;
    const targets = this.#namesOf(ip);
    if (targets.length === 0) return isOwn ? this.#negative(RCODE.nxDomain, apex, []) : undefined;
    if (type !== TYPE.PTR && type !== TYPE.ANY) return this.#negative(RCODE.noError, apex, []);
    const answers = targets.map((target): DnsRecord => ({ name, ttl: CLUSTER_TTL, data: { type: 'PTR', target } }));
    return { ...EMPTY, answers };
  }

  /** Names that an address has: of the Service whose cluster IP it is, else of endpoints with a host name. */
  #namesOf(ip: string): readonly string[] {
    const services = this.#stores.services.byIndex('clusterIP', ip);
    if (services.length > 0) return services.map((s) => this.#serviceName(s));
    const names = new Set<string>();
    for (const slice of this.#stores.endpointSlices.byIndex('namedAddress', ip)) {
      const service = this.#stores.services.get(serviceKeyOf(slice));
      if (service === undefined || !isHeadless(service)) continue;
      for (const endpoint of slice.endpoints ?? []) {
        if (!endpoint.hostname || !isReady(endpoint) || !endpoint.addresses.includes(ip)) continue;
        names.add(`${endpoint.hostname}.${this.#serviceName(service)}`);
      }
    }
    return [...names];
  }

  #negative(rcode: number, apex: string, before: readonly DnsRecord[]): ZoneAnswer {
    return { ...EMPTY, rcode, answers: before, authority: [{ name: apex, ttl: CLUSTER_TTL, data: this.#soa() }] };
  }

  #soa(): RecordData {
    const { zone, serial } = this.#opts;
    return {
      type: 'SOA',
      primary: `ns.dns.${zone}`,
      mailbox: `hostmaster.${zone}`,
      serial,
      refresh: 7200,
      retry: 1800,
      expire: 86_400,
      minimum: CLUSTER_TTL,
    };
  }

  #externalName(labels: readonly string[]): string | undefined {
    const [name, namespace, kind] = labels;
    if (labels.length !== 3 || kind !== 'svc') return undefined;
    const service = this.#service(namespace!, name!);
    if (service?.spec?.type !== 'ExternalName') return undefined;
    const target = (service.spec.externalName ?? '').replace(/\.$/, '').toLowerCase();
    // The API lets labels pass that DNS cannot carry.
    return isDnsName(target) ? target : undefined;
  }

  #find(labels: readonly string[]): Found {
    const [last] = labels.slice(-1);
    if (last === undefined) return this.#apex();
    if (last === 'svc') return this.#findInServices(labels.slice(0, -1));
    if (last === 'pod') return this.#findPod(labels.slice(0, -1));
    const name = labels.join('.');
    if (name === 'dns-version') return [{ data: [{ type: 'TXT', text: '1.1.0' }] }];
    if (name === 'ns.dns') return [{ data: [addressRecord(this.#opts.serverIp)] }];
    return name === 'dns' ? [] : 'absent';
  }

  #apex(): Found {
    const target = `ns.dns.${this.#opts.zone}`;
    const additional = [{ name: target, ttl: CLUSTER_TTL, data: addressRecord(this.#opts.serverIp) }];
    return [{ data: [this.#soa()] }, { data: [{ type: 'NS', target }], additional }];
  }

  /** `<a-b-c-d>.<namespace>.pod`: the address that the name spells, in CoreDNS's mode `insecure`. */
  #findPod(labels: readonly string[]): Found {
    if (labels.length === 0) return [];
    const namespace = labels.at(-1)!;
    if (this.#stores.namespaces.get(namespace) === undefined || labels.length > 2) return 'absent';
    if (labels.length === 1) return [];
    const dashed = labels[0]!;
    const ip = [dashed.replaceAll('-', '.'), dashed.replaceAll('-', ':')].find(isIp);
    return ip === undefined ? 'absent' : [{ data: [addressRecord(ip)] }];
  }

  #findInServices(labels: readonly string[]): Found {
    if (labels.length === 0) return [];
    const namespace = labels.at(-1)!;
    if (this.#stores.namespaces.get(namespace) === undefined) return 'absent';
    if (labels.length === 1) return [];
    const service = this.#service(namespace, labels.at(-2)!);
    if (service === undefined || !hasRecords(service)) return 'absent';
    const [first, second] = labels;
    if (labels.length === 2) return this.#serviceRecords(service);
    if (labels.length === 3) return this.#hostOrProtocol(service, first!);
    if (labels.length > 4 || !first!.startsWith('_') || !second!.startsWith('_')) return 'absent';
    return this.#srvRecords(service, { name: first!.slice(1), protocol: second!.slice(1) });
  }

  #serviceRecords(service: Service): Found {
    const addresses = isHeadless(service)
      ? this.#endpoints(service).map(({ address }) => address)
      : clusterIps(service);
    const srv = this.#srvRecords(service, undefined);
    return [{ data: [...new Set(addresses)].map(addressRecord) }, ...(srv === 'absent' ? [] : srv)];
  }

  #hostOrProtocol(service: Service, label: string): Found {
    if (label.startsWith('_')) {
      return this.#ports(service).some((p) => `_${p.protocol}` === label) ? [] : 'absent';
    }
    if (!isHeadless(service)) return 'absent';
    const { namespace, name } = service.metadata ?? {};
    const slices = this.#stores.endpointSlices.byIndex('host', `${namespace}/${name}/${label}`);
    const addresses = slices.flatMap(readyEndpoints).filter((e) => e.host === label);
    if (addresses.length === 0) return 'absent';
    return [{ data: [...new Set(addresses.map((e) => e.address))].map(addressRecord) }];
  }

  /** SRV records of one named port, or of all ports; with the addresses they lead to. */
  #srvRecords(service: Service, wanted: PortName | undefined): Found {
    const fits = (port: Port) =>
      wanted === undefined || (port.name === wanted.name && port.protocol === wanted.protocol && port.name !== '');
    const own = this.#serviceName(service);
    const ports = this.#ports(service).filter(fits);
    if (ports.length === 0) return wanted === undefined ? [] : 'absent';
    const targets = isHeadless(service)
      ? this.#endpoints(service).flatMap((e) =>
          e.ports.filter(fits).map((p) => ({ port: p.number, target: `${e.host}.${own}`, address: e.address })),
        )
      : ports.flatMap((p) => clusterIps(service).map((address) => ({ port: p.number, target: own, address })));
    const unique = [...new Map(targets.map((t) => [`${t.port} ${t.target}`, t])).values()];
    const weight = Math.floor(100 / Math.max(1, unique.length));
    return [
      {
        data: unique.map(({ port, target }) => ({ type: 'SRV', priority: 0, weight, port, target })),
        additional: targets.map((t) => ({ name: t.target, ttl: CLUSTER_TTL, data: addressRecord(t.address) })),
      },
    ];
  }

  /** Ports a Service has; a headless one may get them from slices that somebody else writes. */
  #ports(service: Service): readonly Port[] {
    const declared = (service.spec?.ports ?? []).map((p) => portOf(p.name, p.protocol, p.port));
    return isHeadless(service) ? [...declared, ...this.#slices(service).flatMap(slicePorts)] : declared;
  }

  #endpoints(service: Service): readonly HostEndpoint[] {
    return this.#slices(service).flatMap(readyEndpoints);
  }

  #slices(service: Service): readonly EndpointSlice[] {
    return this.#stores.endpointSlices.byIndex(
      'service',
      `${service.metadata?.namespace ?? ''}/${service.metadata?.name ?? ''}`,
    );
  }

  #service(namespace: string, name: string): Service | undefined {
    return this.#stores.services.get(`${namespace}/${name}`);
  }

  #serviceName(service: Service): string {
    return `${service.metadata?.name}.${service.metadata?.namespace}.svc.${this.#opts.zone}`;
  }
}

const EMPTY: ZoneAnswer = { rcode: RCODE.noError, authoritative: true, answers: [], authority: [], additional: [] };

interface PortName {
  readonly name: string;
  readonly protocol: string;
}
interface Port extends PortName {
  readonly number: number;
}
interface HostEndpoint {
  readonly address: string;
  readonly host: string;
  readonly ports: readonly Port[];
}

function readyEndpoints(slice: EndpointSlice): HostEndpoint[] {
  const ports = slicePorts(slice);
  return (slice.endpoints ?? [])
    .filter(isReady)
    .flatMap((e) => e.addresses.filter(isIp).map((address) => ({ address, host: hostOf(e, address), ports })));
}

function slicePorts(slice: EndpointSlice): Port[] {
  return (slice.ports ?? []).map((p) => portOf(p.name, p.protocol, p.port ?? 0));
}

function portOf(name: string | undefined, protocol: string | undefined, number: number): Port {
  return { name: name ?? '', protocol: (protocol ?? 'TCP').toLowerCase(), number };
}

/** Not known counts as ready (discovery/v1); slices of Services that publish unready addresses say ready. */
function isReady(endpoint: Endpoint): boolean {
  return endpoint.conditions?.ready ?? true;
}

function isHeadless(service: Service): boolean {
  return service.spec?.clusterIP === 'None';
}

/** A Service without an address yet is not there yet; one that leads elsewhere has no names below its own. */
function hasRecords(service: Service): boolean {
  return service.spec?.type !== 'ExternalName' && (isHeadless(service) || clusterIps(service).length > 0);
}

function addressRecord(address: string): RecordData {
  return { type: address.includes(':') ? 'AAAA' : 'A', address };
}

function labelsBelow(labels: readonly string[], zone: readonly string[]): readonly string[] | undefined {
  const above = labels.length - zone.length;
  if (above < 0 || zone.some((label, i) => labels[above + i] !== label)) return undefined;
  return labels.slice(0, above);
}

function isDnsName(name: string): boolean {
  return name.length > 0 && name.length <= 253 && name.split('.').every((l) => l.length > 0 && l.length <= 63);
}

/** Fisher and Yates. */
function shuffled<T>(items: readonly T[], random: () => number): T[] {
  const result = [...items];
  for (let i = result.length - 1; i > 0; i--) {
    const j = Math.floor(random() * (i + 1));
    [result[i], result[j]] = [result[j]!, result[i]!];
  }
  return result;
}

function uniqueRecords(records: readonly DnsRecord[]): DnsRecord[] {
  return [...new Map(records.map((r) => [JSON.stringify(r), r])).values()];
}
