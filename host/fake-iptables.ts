// An iptables that lives in memory, for tests: takes restore documents, refuses what the kernel and its tools would,
// and walks packets through the rules.
import { BlockList, isIP } from 'node:net';
import type { Exec, ExecResult } from './exec.ts';

interface Rule {
  /** Canonical text after `-A CHAIN `. */
  readonly text: string;
  readonly tests: readonly ((p: Walk) => boolean)[];
  readonly target: string | undefined;
  readonly targetArg: string | undefined;
}

type Chains = Map<string, Rule[]>;

const BUILTIN: Readonly<Record<string, readonly string[]>> = {
  filter: ['INPUT', 'FORWARD', 'OUTPUT'],
  nat: ['PREROUTING', 'INPUT', 'OUTPUT', 'POSTROUTING'],
  mangle: ['PREROUTING', 'INPUT', 'FORWARD', 'OUTPUT', 'POSTROUTING'],
};
const TARGETS = new Set(['ACCEPT', 'DROP', 'RETURN', 'REJECT', 'DNAT', 'MASQUERADE', 'MARK']);
const ONLY_IN: Readonly<Record<string, string>> = { REJECT: 'filter', DNAT: 'nat', MASQUERADE: 'nat' };

export interface Packet {
  readonly src: string;
  readonly dst: string;
  readonly proto: 'tcp' | 'udp' | 'sctp';
  readonly dport: number;
  /** Sent by this host: enters OUTPUT instead of PREROUTING. */
  readonly fromHost?: boolean;
}

export interface Outcome {
  readonly verdict: 'accept' | 'reject' | 'drop';
  /** `ip:port` that the packet arrives at. */
  readonly to: string;
  readonly masqueraded: boolean;
}

interface Walk {
  packet: Packet;
  dst: string;
  dport: number;
  mark: number;
  dnated: boolean;
  masqueraded: boolean;
  /** Answers "does this statistic match?". */
  readonly choose: () => boolean;
  readonly isLocal: (ip: string) => boolean;
}

class Refused extends Error {}

export class FakeIptables {
  #tables = new Map<string, Chains>();
  readonly #localAddresses: ReadonlySet<string>;
  #failures: { readonly stderr: string; readonly code: number }[] = [];
  /** Documents that were applied, oldest first. */
  readonly applied: string[] = [];
  /** Programs that were run. */
  readonly programs: string[] = [];

  constructor(localAddresses: readonly string[] = []) {
    this.#localAddresses = new Set(localAddresses);
    for (const [table, chains] of Object.entries(BUILTIN)) {
      this.#tables.set(table, new Map(chains.map((c) => [c, []])));
    }
  }

  /** The next restore is refused with `stderr` and changes nothing. */
  failNext(stderr: string, code = 1): void {
    this.#failures.push({ stderr, code });
  }

  /** As if somebody had run `iptables -F; iptables -X`. */
  flush(table: string): void {
    this.#tables.set(table, new Map(BUILTIN[table]!.map((c) => [c, []])));
  }

  readonly exec: Exec = async (program, _args, opts = {}) => {
    this.programs.push(program);
    if (program.endsWith('-save')) return result(0, this.save());
    if (!program.endsWith('-restore')) return result(127, '', `${program}: not faked`);
    const failure = this.#failures.shift();
    if (failure !== undefined) return result(failure.code, '', failure.stderr);
    try {
      return result(0, this.restore(String(opts.input ?? '')));
    } catch (err) {
      if (err instanceof Refused) return result(1, '', `iptables-restore: ${err.message}`);
      throw err;
    }
  };

  /**
   * `--noflush`. Returns what it prints. Tables before a refused one stay changed, as in the kernel.
   * @throws when refused.
   */
  restore(document: string): string {
    const printed: string[] = [];
    let name: string | undefined;
    let chains: Chains = new Map();
    for (const [i, line] of document.split('\n').entries()) {
      try {
        if (line === '' || line.startsWith('#')) continue;
        if (line.startsWith('*')) {
          name = line.slice(1);
          const table = this.#tables.get(name);
          if (table === undefined) throw new Refused(`unknown table ${name}`);
          chains = new Map([...table].map(([c, rules]) => [c, [...rules]]));
        } else if (name === undefined) throw new Refused('no table');
        else if (line === 'COMMIT') {
          checkTargets(chains);
          this.#tables.set(name, chains);
          name = undefined;
        } else if (line.startsWith('-S ')) printed.push(...listChain(line.slice(3), chains));
        else applyLine(line, name, chains);
      } catch (err) {
        if (err instanceof Refused) throw new Refused(`line ${i + 1} failed: ${err.message}`);
        throw err;
      }
    }
    if (name !== undefined) throw new Refused('COMMIT expected');
    this.applied.push(document);
    return printed.map((l) => `${l}\n`).join('');
  }

  save(): string {
    const lines: string[] = [];
    for (const [table, chains] of this.#tables) {
      lines.push(`*${table}`);
      // By name, as iptables-nft lists them.
      for (const chain of [...chains.keys()].sort()) lines.push(`:${chain} - [0:0]`);
      for (const [chain, rules] of chains) for (const r of rules) lines.push(`-A ${chain} ${r.text}`);
      lines.push('COMMIT');
    }
    return lines.join('\n');
  }

  chains(table: string): readonly string[] {
    return [...this.#tables.get(table)!.keys()];
  }

  rules(table: string, chain: string): readonly string[] {
    return (this.#tables.get(table)?.get(chain) ?? []).map((r) => r.text);
  }

  /** Every way the packet can go: statistic matches are tried both ways. */
  trace(packet: Packet): readonly Outcome[] {
    const outcomes = new Map<string, Outcome>();
    const decisions: boolean[] = [];
    for (;;) {
      let used = 0;
      const outcome = this.#walk(packet, () => {
        if (used === decisions.length) decisions.push(true);
        return decisions[used++]!;
      });
      outcomes.set(JSON.stringify(outcome), outcome);
      decisions.length = used;
      while (decisions.at(-1) === false) decisions.pop();
      if (decisions.length === 0) return [...outcomes.values()];
      decisions[decisions.length - 1] = false;
    }
  }

  #walk(packet: Packet, choose: () => boolean): Outcome {
    const isLocal = (ip: string) => this.#localAddresses.has(ip) || ip.startsWith('127.') || ip === '::1';
    const walk: Walk = {
      packet,
      dst: packet.dst,
      dport: packet.dport,
      mark: 0,
      dnated: false,
      masqueraded: false,
      choose,
      isLocal,
    };
    this.#run('nat', packet.fromHost ? 'OUTPUT' : 'PREROUTING', walk);
    const hook = packet.fromHost ? 'OUTPUT' : isLocal(walk.dst) ? 'INPUT' : 'FORWARD';
    const verdict = this.#run('filter', hook, walk);
    const to = walk.dst.includes(':') ? `[${walk.dst}]:${walk.dport}` : `${walk.dst}:${walk.dport}`;
    if (verdict === 'REJECT' || verdict === 'DROP') {
      return { verdict: verdict === 'REJECT' ? 'reject' : 'drop', to, masqueraded: false };
    }
    this.#run('nat', 'POSTROUTING', walk);
    return { verdict: 'accept', to, masqueraded: walk.masqueraded };
  }

  /** The final verdict, or undefined at the end of the chain (or RETURN). */
  #run(table: string, chain: string, walk: Walk): string | undefined {
    for (const rule of this.#tables.get(table)!.get(chain)!) {
      if (!rule.tests.every((t) => t(walk)) || rule.target === undefined) continue;
      const { target, targetArg } = rule;
      if (target === 'RETURN') return undefined;
      if (target === 'MARK') {
        const [op, value] = targetArg!.split(' ') as [string, string];
        walk.mark = op === '--or-mark' ? walk.mark | Number(value) : walk.mark ^ Number(value);
      } else if (target === 'DNAT') {
        const colon = targetArg!.lastIndexOf(':');
        walk.dst = targetArg!.slice(0, colon).replace(/[[\]]/g, '');
        walk.dport = Number(targetArg!.slice(colon + 1));
        walk.dnated = true;
        return target;
      } else if (target === 'MASQUERADE') {
        walk.masqueraded = true;
        return target;
      } else if (TARGETS.has(target)) return target;
      else {
        const verdict = this.#run(table, target, walk);
        if (verdict !== undefined) return verdict;
      }
    }
    return undefined;
  }
}

function result(code: number, stdout: string, stderr = ''): ExecResult {
  return { code, signal: undefined, stdout, stderr };
}

function listChain(name: string, chains: Chains): string[] {
  const rules = chains.get(name);
  if (rules === undefined) throw new Refused('No chain/target/match by that name.');
  return [`-N ${name}`, ...rules.map((r) => `-A ${name} ${r.text}`)];
}

function applyLine(line: string, table: string, chains: Chains): void {
  if (line.startsWith(':')) {
    const name = /^:(\S+) - \[0:0\]$/.exec(line)?.[1];
    if (name === undefined || name.length > 28) throw new Refused(`bad chain line ${line}`);
    chains.set(name, []);
    return;
  }
  const [op, chain, ...rest] = tokens(line) as [string, string, ...string[]];
  const rules = chains.get(chain);
  if (rules === undefined) throw new Refused(`Chain '${chain}' does not exist`);
  if (op === '-X') {
    if (rules.length > 0) throw new Refused(`chain ${chain} is not empty`);
    if (BUILTIN[table]!.includes(chain)) throw new Refused('built-in chain');
    for (const [user, of] of chains) {
      if (of.some((r) => r.text.endsWith(`-j ${chain}`))) throw new Refused(`chain ${chain} is in use by ${user}`);
    }
    chains.delete(chain);
    return;
  }
  const place = /^\d+$/.test(rest[0] ?? '') && op !== '-A' ? Number(rest.shift()) : undefined;
  if (place !== undefined && (place < 1 || place > rules.length)) throw new Refused('Index too big.');
  if (op === '-D' && place !== undefined) {
    rules.splice(place - 1, 1);
    return;
  }
  const rule = parseRule(rest, table);
  if (op === '-A') rules.push(rule);
  else if (op === '-I') rules.splice((place ?? 1) - 1, 0, rule);
  else if (op === '-C') {
    if (!rules.some((r) => r.text === rule.text)) throw new Refused('Bad rule (does a matching rule exist?)');
  } else if (op === '-D') {
    const at = rules.findIndex((r) => r.text === rule.text);
    if (at < 0) throw new Refused('no such rule');
    rules.splice(at, 1);
  } else throw new Refused(`unknown command ${op}`);
}

function checkTargets(chains: Chains): void {
  for (const rules of chains.values()) {
    for (const { target } of rules) {
      if (target !== undefined && !TARGETS.has(target) && !chains.has(target)) {
        throw new Refused(`no chain ${target}`);
      }
    }
  }
}

function tokens(line: string): string[] {
  const out = line.match(/"[^"]*"|\S+/g) ?? [];
  if (out.some((t) => t !== '' && t.includes('"') && !/^"[^"]*"$/.test(t))) throw new Refused('unbalanced quote');
  return out.map((t) => t.replace(/^"|"$/g, ''));
}

function parseRule(args: readonly string[], table: string): Rule {
  const tests: ((p: Walk) => boolean)[] = [];
  const queue = [...args];
  let target: string | undefined;
  let targetArg: string | undefined;
  let negated = false;
  const next = (): string => {
    const value = queue.shift();
    if (value === undefined) throw new Refused('argument missing');
    return value;
  };
  const test = (fn: (p: Walk) => boolean) => {
    const wanted = !negated;
    tests.push((p) => fn(p) === wanted);
    negated = false;
  };
  while (queue.length > 0) {
    const arg = next();
    if (arg === '!') negated = true;
    else if (arg === '-m') {
      const module = next();
      if (!MODULES.has(module)) throw new Refused(`unknown match ${module}`);
    } else if (arg === '--comment') {
      if (next().length > 256) throw new Refused('comment too long');
    } else if (arg === '-s' || arg === '-d') {
      const matches = addressTest(next());
      test(arg === '-s' ? (p) => matches(p.packet.src) : (p) => matches(p.dst));
    } else if (arg === '-p') {
      const proto = next();
      test((p) => p.packet.proto === proto);
    } else if (arg === '--dport') {
      const port = portNumber(next());
      test((p) => p.dport === port);
    } else if (arg === '--mark') {
      const [value, mask] = next().split('/').map(Number) as [number, number];
      test((p) => (p.mark & mask) === value);
    } else if (arg === '--ctstate') {
      const states = next().split(',');
      test((p) => states.includes('NEW') || (p.dnated && states.includes('DNAT')));
    } else if (arg === '--dst-type' || arg === '--src-type') {
      if (next() !== 'LOCAL') throw new Refused('address type');
      test(arg === '--dst-type' ? (p) => p.isLocal(p.dst) : (p) => p.isLocal(p.packet.src));
    } else if (arg === '--mode') next();
    else if (arg === '--probability') {
      const p = Number(next());
      if (!(p >= 0 && p <= 1)) throw new Refused('probability');
      test((w) => w.choose());
    } else if (arg === '--name' || arg === '--seconds' || arg === '--nfacct-name') next();
    else if (arg === '--rcheck')
      test(() => false); // a first packet: nobody is remembered
    else if (arg === '--set' || arg === '--reap' || arg === '--random-fully') continue;
    else if (arg === '-j') {
      target = next();
      if (ONLY_IN[target] !== undefined && ONLY_IN[target] !== table) throw new Refused(`${target} in ${table}`);
    } else if (arg === '--to-destination') {
      targetArg = next();
      const m = /^(?:\[([^\]]+)\]|([\d.]+)):(\d+)$/.exec(targetArg);
      if (m === null || isIP(m[1] ?? m[2]!) === 0) throw new Refused(`bad destination ${targetArg}`);
      portNumber(m[3]!);
    } else if (arg === '--or-mark' || arg === '--xor-mark') targetArg = `${arg} ${next()}`;
    else throw new Refused(`unknown option ${arg}`);
  }
  return { text: args.map((a) => (/\s/.test(a) ? `"${a}"` : a)).join(' '), tests, target, targetArg };
}

const MODULES = new Set('comment tcp udp sctp mark conntrack addrtype statistic recent nfacct'.split(' '));

function portNumber(text: string): number {
  const port = Number(text);
  if (!/^\d+$/.test(text) || port < 1 || port > 65_535) throw new Refused(`invalid port ${text}`);
  return port;
}

function addressTest(text: string): (ip: string) => boolean {
  const [ip, prefix] = text.split('/') as [string, string | undefined];
  const version = isIP(ip);
  if (version === 0) throw new Refused(`host/network ${text} not found`);
  const list = new BlockList();
  const bits = Number(prefix ?? (version === 4 ? 32 : 128));
  list.addSubnet(ip, bits, version === 4 ? 'ipv4' : 'ipv6');
  return (other) => list.check(other, isIP(other) === 4 ? 'ipv4' : 'ipv6');
}
