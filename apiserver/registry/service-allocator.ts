// Cluster addresses and node ports of Services. What is taken is known from the Services themselves, read once at
// start; a reservation holds until the write it was made for is stored or given up.
import { isIP, isIPv4 } from 'node:net';
import type { Service } from '../../api/kinds.ts';
import { internalError } from '../status-error.ts';
import type { Mutable, Reservation } from './definition.ts';
import { type FieldError, invalid, invalidObject } from './field-errors.ts';

export interface AllocatorOptions {
  /** IPv4, e.g. `10.96.0.0/16`. */
  readonly serviceCidr: string;
  readonly firstNodePort: number;
  readonly lastNodePort: number;
}

export const DEFAULT_NODE_PORTS = { firstNodePort: 30_000, lastNodePort: 32_767 };

const ALLOCATED = 'provided port is already allocated';

type Spec = NonNullable<Service['spec']>;

interface Taken {
  readonly ips: Set<string>;
  /** `30080/TCP`: one number may serve two protocols of one Service. */
  readonly ports: Map<number, string>;
}

export class ServiceAllocator {
  readonly #options: AllocatorOptions;
  readonly #range: AddressRange;
  readonly #taken: Taken = { ips: new Set(), ports: new Map() };
  readonly #random: () => number;

  constructor(options: AllocatorOptions, random: () => number = Math.random) {
    this.#options = options;
    this.#range = new AddressRange(options.serviceCidr);
    this.#random = random;
  }

  /** The first address: that of default/kubernetes. */
  get firstAddress(): string {
    return this.#range.at(1);
  }

  /** Marks what stored Services hold. */
  load(services: Iterable<Service>): void {
    for (const service of services) {
      for (const ip of addressesOf(service)) this.#taken.ips.add(ip);
      for (const port of portsOf(service)) this.#taken.ports.set(port, keyOf(service));
    }
  }

  free(service: Service): void {
    for (const ip of addressesOf(service)) this.#taken.ips.delete(ip);
    for (const port of portsOf(service)) {
      if (this.#taken.ports.get(port) === keyOf(service)) this.#taken.ports.delete(port);
    }
  }

  /** What an update leaves out but still needs stays as it was. */
  carryOver(next: Service, old: Service): void {
    const [spec, known] = [next.spec!, old.spec!];
    if (spec.type !== 'ExternalName' && known.type !== 'ExternalName') {
      if (!spec.clusterIP && !spec.clusterIPs?.length) {
        if (known.clusterIP !== undefined) spec.clusterIP = known.clusterIP;
        if (known.clusterIPs !== undefined) spec.clusterIPs = [...known.clusterIPs];
      }
      spec.ipFamilies ??= known.ipFamilies ?? ['IPv4'];
      spec.ipFamilyPolicy ??= known.ipFamilyPolicy ?? 'SingleStack';
    }
    if (needsNodePorts(spec)) carryNodePorts(spec, known);
    else releaseNodePorts(spec, known);
    releaseBalancer(spec, known);
    if (needsHealthPort(spec)) spec.healthCheckNodePort ||= known.healthCheckNodePort ?? 0;
    else if (spec.healthCheckNodePort === known.healthCheckNodePort) delete spec.healthCheckNodePort;
  }

  /** Fills in addresses and ports. @throws {StatusError} 422, 500 for a health check port that cannot be had, as upstream. */
  reserve(next: Service, old: Service | undefined): Reservation {
    const added: Taken = { ips: new Set(), ports: new Map() };
    const undo = () => {
      for (const ip of added.ips) this.#taken.ips.delete(ip);
      for (const port of added.ports.keys()) this.#taken.ports.delete(port);
      added.ips.clear();
      added.ports.clear();
    };
    try {
      this.#reserveAddress(next, old, added);
      this.#reservePorts(next, added);
    } catch (err) {
      undo();
      throw err;
    }
    return { release: undo, commit: () => this.#freeUnused(next, old) };
  }

  #freeUnused(next: Service, old: Service | undefined): void {
    if (old === undefined) return;
    const [ips, ports] = [new Set(addressesOf(next)), new Set(portsOf(next))];
    for (const ip of addressesOf(old)) if (!ips.has(ip)) this.#taken.ips.delete(ip);
    for (const port of portsOf(old)) if (!ports.has(port)) this.#taken.ports.delete(port);
  }

  #reserveAddress(service: Service, old: Service | undefined, added: Taken): void {
    const spec = service.spec!;
    if (spec.type === 'ExternalName') {
      for (const member of ['clusterIP', 'clusterIPs', 'ipFamilies', 'ipFamilyPolicy'] as const) delete spec[member];
      return;
    }
    defaultFamilies(spec);
    if (!spec.clusterIP && spec.clusterIPs?.length) spec.clusterIP = spec.clusterIPs[0]!;
    if (spec.clusterIP === 'None') {
      spec.clusterIPs = ['None'];
      return;
    }
    const kept = old === undefined ? [] : addressesOf(old);
    if (!spec.clusterIP) spec.clusterIP = this.#pickAddress(service);
    else if (!kept.includes(spec.clusterIP)) this.#checkAddress(service, spec.clusterIP);
    if (!kept.includes(spec.clusterIP)) {
      this.#taken.ips.add(spec.clusterIP);
      added.ips.add(spec.clusterIP);
    }
    spec.clusterIPs = [spec.clusterIP];
  }

  #checkAddress(service: Service, ip: string): void {
    const list = [ip];
    if (!this.#range.contains(ip)) {
      const why = `failed to allocate IP ${ip}: the provided IP (${ip}) is not in the valid range. The range of valid IPs is ${this.#options.serviceCidr}`;
      throw refuse(service, invalid('spec.clusterIPs', list, why));
    }
    if (this.#taken.ips.has(ip)) {
      throw refuse(
        service,
        invalid('spec.clusterIPs', list, `failed to allocate IP ${ip}: provided IP is already allocated`),
      );
    }
  }

  /** A random free address of the upper band; the lower one is left for those who ask for an address. */
  #pickAddress(service: Service): string {
    const { size } = this.#range;
    const offset = bandOffset(size, 16);
    const found =
      this.#pick(Math.max(1, offset), size - 2, (n) => !this.#taken.ips.has(this.#range.at(n))) ??
      this.#pick(1, offset - 1, (n) => !this.#taken.ips.has(this.#range.at(n)));
    if (found === undefined)
      throw refuse(service, invalid('spec.clusterIPs', [''], 'failed to allocate IP: range is full'));
    return this.#range.at(found);
  }

  /** What is asked for by number comes first, so that it is not picked for something else of the same Service. */
  #reservePorts(service: Service, added: Taken): void {
    const spec = service.spec!;
    const ports = needsNodePorts(spec) ? (spec.ports ?? []) : [];
    ports.forEach((port, i) => {
      if (!port.nodePort) return;
      const fault = this.#takeWanted(service, port.nodePort, added);
      if (fault !== undefined) throw refuse(service, invalid(`spec.ports[${i}].nodePort`, port.nodePort, fault));
    });
    if (needsHealthPort(spec)) this.#reserveHealthPort(service, added);
    for (const port of ports) {
      if (port.nodePort) continue;
      // TCP and UDP of the same port share one number.
      const twin = ports.find((p) => p !== port && p.port === port.port && p.protocol !== port.protocol && p.nodePort);
      port.nodePort = twin?.nodePort ?? this.#pickPort(service, added);
    }
  }

  #reserveHealthPort(service: Service, added: Taken): void {
    const spec = service.spec!;
    const port = spec.healthCheckNodePort;
    if (!port) {
      spec.healthCheckNodePort = this.#pickPort(service, added);
      return;
    }
    const fault = added.ports.has(port) ? ALLOCATED : this.#takeWanted(service, port, added);
    if (fault !== undefined) throw internalError(`failed to allocate requested HealthCheck NodePort ${port}: ${fault}`);
  }

  /** What the Service has already it keeps. Returns why it cannot have the port. */
  #takeWanted(service: Service, port: number, added: Taken): string | undefined {
    const { firstNodePort: first, lastNodePort: last } = this.#options;
    if (port < first || port > last) {
      return `provided port is not in the valid range. The range of valid ports is ${first}-${last}`;
    }
    const owner = this.#taken.ports.get(port);
    if (owner === undefined) this.#take(port, keyOf(service), added);
    return owner === undefined || owner === keyOf(service) ? undefined : ALLOCATED;
  }

  #pickPort(service: Service, added: Taken): number {
    const { firstNodePort: first, lastNodePort: last } = this.#options;
    const offset = bandOffset(last - first + 1, 32, 128);
    const free = (n: number) => !this.#taken.ports.has(n);
    const port = this.#pick(first + offset, last, free) ?? this.#pick(first, first + offset - 1, free);
    if (port === undefined)
      throw refuse(service, invalid('spec.ports', [], 'failed to allocate a nodePort: range is full'));
    this.#take(port, keyOf(service), added);
    return port;
  }

  #take(port: number, key: string, added: Taken): void {
    this.#taken.ports.set(port, key);
    added.ports.set(port, key);
  }

  /** A free number from `low` to `high`, searched from a random place. */
  #pick(low: number, high: number, isFree: (n: number) => boolean): number | undefined {
    const count = high - low + 1;
    if (count <= 0) return undefined;
    const start = Math.floor(this.#random() * count);
    for (let i = 0; i < count; i++) {
      const candidate = low + ((start + i) % count);
      if (isFree(candidate)) return candidate;
    }
    return undefined;
  }
}

/** Size of the band kept for explicit requests (KEP-3070, KEP-3668). */
function bandOffset(size: number, divisor: number, most = 256): number {
  return size <= 16 ? 0 : Math.min(Math.max(16, Math.floor(size / divisor)), most);
}

function defaultFamilies(spec: Spec): void {
  const selectorless = spec.clusterIP === 'None' && Object.keys(spec.selector ?? {}).length === 0;
  spec.ipFamilyPolicy ??= selectorless ? 'RequireDualStack' : 'SingleStack';
  spec.ipFamilies ??= selectorless && spec.ipFamilyPolicy === 'RequireDualStack' ? ['IPv4', 'IPv6'] : ['IPv4'];
}

function needsNodePorts(spec: Spec): boolean {
  return spec.type === 'NodePort' || (spec.type === 'LoadBalancer' && spec.allocateLoadBalancerNodePorts !== false);
}

function needsHealthPort(spec: Spec): boolean {
  return spec.type === 'LoadBalancer' && spec.externalTrafficPolicy === 'Local';
}

function carryNodePorts(spec: Spec, known: Spec): void {
  const used = new Set((spec.ports ?? []).map((p) => p.nodePort).filter(Boolean));
  for (const port of spec.ports ?? []) {
    if (port.nodePort) continue;
    const before = known.ports?.find((p) => p.port === port.port && p.protocol === port.protocol)?.nodePort;
    if (before && !used.has(before)) port.nodePort = before;
  }
}

/** A type that has no node ports loses those it had; a changed number is left for validation to refuse. */
function releaseNodePorts(spec: Spec, known: Spec): void {
  const before = new Set((known.ports ?? []).map((p) => p.nodePort));
  for (const port of spec.ports ?? []) if (port.nodePort && before.has(port.nodePort)) delete port.nodePort;
  if (spec.externalTrafficPolicy === known.externalTrafficPolicy && !spec.externalIPs?.length) {
    if (spec.type === 'ClusterIP' || spec.type === 'ExternalName') delete spec.externalTrafficPolicy;
  }
}

/** A Service that ceases to be of type LoadBalancer may keep in the request what was set for that. */
function releaseBalancer(spec: Mutable<Spec>, known: Spec): void {
  if (spec.type === 'LoadBalancer') return;
  if (spec.allocateLoadBalancerNodePorts === known.allocateLoadBalancerNodePorts)
    delete spec.allocateLoadBalancerNodePorts;
  if (spec.loadBalancerClass === known.loadBalancerClass) delete spec.loadBalancerClass;
}

function addressesOf(service: Service): string[] {
  return (service.spec?.clusterIPs ?? [service.spec?.clusterIP ?? '']).filter((ip) => isIP(ip) !== 0);
}

function portsOf(service: Service): number[] {
  const ports = (service.spec?.ports ?? []).map((p) => p.nodePort ?? 0);
  return [...ports, service.spec?.healthCheckNodePort ?? 0].filter((port) => port > 0);
}

function keyOf(service: Service): string {
  return `${service.metadata?.namespace ?? ''}/${service.metadata?.name ?? ''}`;
}

function refuse(service: Service, fault: FieldError): Error {
  return invalidObject('', 'Service', service.metadata?.name ?? '', [fault]);
}

/** An IPv4 range as numbers. */
class AddressRange {
  readonly size: number;
  readonly #base: number;

  constructor(cidr: string) {
    const [address = '', bits = ''] = cidr.split('/');
    if (!isIPv4(address) || !/^\d+$/.test(bits) || Number(bits) > 30) throw new Error(`bad service CIDR ${cidr}`);
    this.size = 2 ** (32 - Number(bits));
    this.#base = Math.floor(toNumber(address) / this.size) * this.size;
  }

  at(offset: number): string {
    const n = this.#base + offset;
    return [n >>> 24, (n >>> 16) & 255, (n >>> 8) & 255, n & 255].join('.');
  }

  /** Neither the network nor the broadcast address can be given out. */
  contains(ip: string): boolean {
    const offset = isIPv4(ip) ? toNumber(ip) - this.#base : -1;
    return offset > 0 && offset < this.size - 1;
  }
}

function toNumber(ip: string): number {
  return ip.split('.').reduce((n, part) => n * 256 + Number(part), 0);
}
