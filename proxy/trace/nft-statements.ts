// Statements of one rule of nftables as steps of the tracer.

import { formatIp, isIp, parseIp } from '../../api/cidr.ts';
import { deviceTest } from './address-test.ts';
import type { HostFacts } from './host-facts.ts';
import { asArray, asObject, isObject, type JsonObject } from './json.ts';
import {
  type Container,
  type Containers,
  readElements,
  textOfValue,
  type Value,
  valueMatches,
} from './nft-containers.ts';
import { type Choice, type Packet, type Step, UnknownRule, type Verdict } from './ruleset.ts';

/** Endpoints of one Service, or slots of a balancer: more are not followed one by one. */
const MAX_NUMBERS = 20_000;

interface Alternative {
  readonly share: number;
  readonly value: Value;
}

/** What an expression yields for a packet: one value; of `numgen`, several with their shares; none where it has none. */
type Read = (packet: Packet, facts: HostFacts) => readonly Alternative[];

/** @throws {UnknownRule} */
export function readStatement(statement: JsonObject, containers: Containers): Step[] {
  const [[kind, value] = ['', null]] = Object.entries(statement);
  switch (kind) {
    case 'match':
      return [matchStep(asObject(value), containers)];
    case 'mangle':
      return mangleSteps(asObject(value));
    case 'vmap':
      return [lookupStep(asObject(value), containers)];
    case 'dnat':
      return [dnatStep(asObject(value), containers)];
    case 'snat':
      return [choose({ to: 'snat', ip: addressText(asObject(value).addr) })];
    case 'masquerade':
      return [choose({ to: 'masquerade' })];
    case 'accept':
    case 'drop':
    case 'return':
    case 'continue':
    case 'reject':
    case 'jump':
    case 'goto':
      return [choose(verdictOf({ [kind]: value }))];
    default:
      // These count, log, limit or remember; which way the first packet goes does not depend on them.
      if (HARMLESS.has(kind)) return [];
      throw new UnknownRule(kind);
  }
}

const HARMLESS = new Set([
  'counter',
  'quota',
  'log',
  'limit',
  'set',
  'map',
  'notrack',
  'flow',
  'ct helper',
  'ct count',
]);

function matchStep({ op, left, right }: JsonObject, containers: Containers): Step {
  const read = readExpression(left);
  const matches = comparison(left, String(op), right, containers);
  return {
    is: 'match',
    chance: (p, facts) => read(p, facts).reduce((sum, a) => sum + (matches(a.value) ? a.share : 0), 0),
  };
}

function comparison(left: unknown, op: string, right: unknown, containers: Containers): (value: Value) => boolean {
  const isDevice = isObject(left) && isObject(left.meta) && /^[io]ifname$/.test(String(left.meta.key));
  if (isDevice && typeof right === 'string' && !right.startsWith('@')) {
    const matches = deviceTest(right);
    return (value) => matches(String(value)) !== (op === '!=');
  }
  switch (op) {
    case '<':
      return (value) => Number(value) < Number(right);
    case '>':
      return (value) => Number(value) > Number(right);
    case '<=':
      return (value) => Number(value) <= Number(right);
    case '>=':
      return (value) => Number(value) >= Number(right);
    case '==':
    case 'in':
    case '!=': {
      const equals = membership(right, containers);
      return op === '!=' ? (value) => !equals(value) : equals;
    }
    default:
      throw new UnknownRule(`operator ${op}`);
  }
}

function membership(right: unknown, containers: Containers): (value: Value) => boolean {
  if (typeof right === 'string' && right.startsWith('@')) {
    const container = named(right, containers);
    return (value) => container.find(value) !== undefined;
  }
  if (isObject(right) && Array.isArray(right.set)) {
    const container = readElements('set', right.set);
    return (value) => container.find(value) !== undefined;
  }
  if (isObject(right) && ('|' in right || '&' in right)) throw new UnknownRule('a computed value on the right');
  // A list of flags, as of ct state.
  return (value) => (Array.isArray(right) ? right.some((r) => valueMatches(value, r)) : valueMatches(value, right));
}

function lookupStep({ key, data }: JsonObject, containers: Containers): Step {
  const read = readExpression(key);
  const container = mapOf(data, containers);
  const choices = (p: Packet, facts: HostFacts): Choice[] =>
    read(p, facts).flatMap(({ share, value }) => {
      const entry = container.find(value);
      if (entry === undefined) return []; // the rule does not match
      const verdict = verdictOf(asObject(entry.data));
      return [{ share, verdict, entry: `${entry.key} : ${textOfVerdict(verdict)}` }];
    });
  return { is: 'choose', choices };
}

/** `dnat to 10.0.0.1:80`, or to what a map has for a key. */
function dnatStep({ addr, port }: JsonObject, containers: Containers): Step {
  if (isObject(addr) && isObject(addr.map)) {
    const { key, data } = addr.map;
    const read = readExpression(key);
    const container = mapOf(data, containers);
    const choices = (p: Packet, facts: HostFacts): Choice[] =>
      read(p, facts).flatMap(({ share, value }) => {
        const entry = container.find(value);
        if (entry === undefined) return [];
        return [{ share, verdict: dnatTo(entry.data, port), entry: `${entry.key} : ${textOfValue(entry.data)}` }];
      });
    return { is: 'choose', choices };
  }
  return choose(dnatTo(addr, port));
}

function dnatTo(addr: unknown, port: unknown): Verdict {
  const [ip, number] = isObject(addr) && Array.isArray(addr.concat) ? addr.concat : [addr, port];
  if (number !== undefined && !Number.isInteger(number)) throw new UnknownRule(`port ${textOfValue(number)}`);
  return { to: 'dnat', ip: addressText(ip), port: number as number | undefined };
}

function addressText(addr: unknown): string | undefined {
  if (addr === undefined) return undefined;
  if (typeof addr === 'string' && isIp(addr)) return formatIp(parseIp(addr));
  throw new UnknownRule(`address ${textOfValue(addr)}`);
}

function mangleSteps({ key, value }: JsonObject): Step[] {
  if (!isObject(key) || !isObject(key.meta) || key.meta.key !== 'mark') return []; // TTL, DSCP, ct mark and the like
  return [{ is: 'mark', next: markFunction(value) }];
}

function markFunction(value: unknown): (mark: number) => number {
  if (typeof value === 'number') return () => value;
  if (isObject(value) && isObject(value.meta) && value.meta.key === 'mark') return (mark) => mark;
  if (isObject(value)) {
    for (const [op, apply] of Object.entries(BIT_OPERATIONS)) {
      if (!Array.isArray(value[op])) continue;
      const [left, right] = value[op].map(markFunction) as [(m: number) => number, (m: number) => number];
      return (mark) => apply(left(mark), right(mark)) >>> 0;
    }
  }
  throw new UnknownRule(`mark ${JSON.stringify(value)}`);
}

const BIT_OPERATIONS: Readonly<Record<string, (a: number, b: number) => number>> = {
  '&': (a, b) => a & b,
  '|': (a, b) => a | b,
  '^': (a, b) => a ^ b,
};

/** @throws {UnknownRule} for expressions that nothing is known about. */
function readExpression(expression: unknown): Read {
  if (typeof expression === 'number') return () => [{ share: 1, value: expression }];
  const object = asObject(expression);
  const [[kind, argument] = ['', null]] = Object.entries(object);
  if (kind === 'concat') return readConcat(asArray(argument));
  if (BIT_OPERATIONS[kind] !== undefined) return readBits(BIT_OPERATIONS[kind], asArray(argument).map(readExpression));
  const fields = asObject(argument);
  if (kind === 'payload') return readPayload(String(fields.protocol), String(fields.field));
  if (kind === 'meta') return single(META[String(fields.key)] ?? unknown(`meta ${String(fields.key)}`));
  if (kind === 'ct') return readConntrack(String(fields.key));
  if (kind === 'fib') return readFib(fields);
  if (kind === 'numgen') {
    const [mod, offset] = [Number(fields.mod), Number(fields.offset ?? 0)];
    if (!(mod >= 1 && mod <= MAX_NUMBERS)) throw new UnknownRule(`numgen mod ${mod}`);
    const all = Array.from({ length: mod }, (_, i) => ({ share: 1 / mod, value: i + offset }));
    return () => all; // `inc` takes turns: the same shares in the long run
  }
  throw new UnknownRule(kind);
}

function readConcat(expressions: readonly unknown[]): Read {
  if (expressions.some((e) => isObject(e) && 'numgen' in e))
    throw new UnknownRule('a random number in a concatenation');
  const parts = expressions.map(readExpression);
  return (p, facts) => {
    const values = parts.map((read) => read(p, facts));
    if (values.some((v) => v.length === 0)) return [];
    return [{ share: 1, value: values.map((v) => v[0]!.value) }];
  };
}

function readBits(apply: (a: number, b: number) => number, parts: readonly Read[]): Read {
  return (p, facts) => {
    const [a, b] = parts.map((read) => read(p, facts)[0]?.value);
    return a === undefined || b === undefined ? [] : [{ share: 1, value: apply(Number(a), Number(b)) >>> 0 }];
  };
}

function readPayload(protocol: string, field: string): Read {
  if ((protocol === 'ip' || protocol === 'ip6') && (field === 'saddr' || field === 'daddr')) {
    return single((p) => {
      const ip = field === 'saddr' ? p.source : p.destination;
      return ip.includes(':') === (protocol === 'ip6') ? ip : undefined;
    });
  }
  if (field === 'dport') return single((p) => (protocol === 'th' || protocol === p.protocol ? p.port : undefined));
  if (protocol === 'ip' && field === 'protocol') return single((p) => p.protocol);
  throw new UnknownRule(`${protocol} ${field}`);
}

const META: Readonly<Record<string, (p: Packet) => Value | undefined>> = {
  mark: (p) => p.mark,
  l4proto: (p) => p.protocol,
  nfproto: (p) => (p.source.includes(':') ? 'ipv6' : 'ipv4'),
  protocol: (p) => (p.source.includes(':') ? 'ip6' : 'ip'),
  iifname: (p) => p.inDevice ?? '',
  oifname: (p) => p.outDevice ?? '',
  iif: (p) => p.inDevice,
  oif: (p) => p.outDevice,
};

function readConntrack(key: string): Read {
  if (key === 'state') return single(() => 'new');
  // The status bits that NAT sets on the way; each may match.
  if (key === 'status') return (p) => (p.isDnat ? [{ share: 1, value: 'dnat' }] : [{ share: 1, value: 'none' }]);
  if (key === 'mark') return single(() => 0);
  if (key === 'direction') return single(() => 'original');
  throw new UnknownRule(`ct ${key}`);
}

function readFib({ result, flags }: JsonObject): Read {
  const about = asArray(flags ?? []);
  if (result !== 'type' || about.length !== 1) throw new UnknownRule(`fib ${about.join(' . ')} ${String(result)}`);
  return single((p, facts) => (facts.isLocal(about[0] === 'saddr' ? p.source : p.destination) ? 'local' : 'unicast'));
}

function single(of: (p: Packet, facts: HostFacts) => Value | undefined): Read {
  return (p, facts) => {
    const value = of(p, facts);
    return value === undefined ? [] : [{ share: 1, value }];
  };
}

function mapOf(data: unknown, containers: Containers): Container {
  if (typeof data === 'string' && data.startsWith('@')) return named(data, containers);
  const elements = isObject(data) ? data.set : undefined;
  return Array.isArray(elements) ? readElements('map', elements) : unknown('a map of an unknown form');
}

function named(reference: string, containers: Containers): Container {
  return containers.get(reference.slice(1)) ?? unknown(`${reference}, which is not there`);
}

function verdictOf(verdict: JsonObject): Verdict {
  const [[kind, value] = ['', null]] = Object.entries(verdict);
  if (kind === 'jump' || kind === 'goto') return { to: kind, chain: String(asObject(value).target) };
  if (kind === 'accept' || kind === 'drop' || kind === 'return' || kind === 'continue' || kind === 'reject') {
    return { to: kind };
  }
  return unknown(`verdict ${kind}`);
}

function textOfVerdict(verdict: Verdict): string {
  return verdict.to === 'jump' || verdict.to === 'goto' ? `${verdict.to} ${verdict.chain}` : verdict.to;
}

function choose(verdict: Verdict): Step {
  return { is: 'choose', choices: () => [{ share: 1, verdict }] };
}

function unknown(what: string): never {
  throw new UnknownRule(what);
}
