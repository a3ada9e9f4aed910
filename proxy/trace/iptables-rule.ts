// One rule of iptables, `-d 10.96.0.10/32 -p tcp -m tcp --dport 80 -j KUBE-SVC-…`, as steps of the tracer.
import { isIp } from '../../api/cidr.ts';
import { addressRangeTest, addressTest, deviceTest, portTest } from './address-test.ts';
import type { HostFacts } from './host-facts.ts';
import { type Packet, type Rule, type Step, UnknownRule, type Verdict } from './ruleset.ts';

type Test = (packet: Packet, facts: HostFacts) => boolean;

/** Words of a rule; quotes as iptables-save writes them, with `\"` inside. */
function splitWords(text: string): string[] {
  return (text.match(/"(?:\\.|[^"\\])*"|\S+/g) ?? []).map((w) =>
    w.startsWith('"') ? w.slice(1, -1).replace(/\\(.)/g, '$1') : w,
  );
}

export function parseRule(text: string): Rule {
  const reader = new RuleReader(splitWords(text));
  const steps = reader.read();
  return {
    text: text.replace(/-m comment --comment ("(?:\\.|[^"\\])*"|\S+) ?/g, '').trim(),
    comment: reader.comment,
    steps,
  };
}

class RuleReader {
  readonly #words: string[];
  readonly #steps: Step[] = [];
  comment = '';
  #negated = false;
  #recent = { name: 'DEFAULT', looks: false };

  constructor(words: readonly string[]) {
    this.#words = [...words];
  }

  read(): Step[] {
    let word = '';
    try {
      while (this.#words.length > 0) {
        word = this.#next();
        this.#readWord(word);
      }
    } catch (err) {
      if (!(err instanceof UnknownRule)) throw err;
      return [{ is: 'unknown', what: err.message || word }];
    }
    return this.#steps;
  }

  #readWord(word: string): void {
    if (word === '!') {
      this.#negated = true;
      return;
    }
    if (word === '-j' || word === '--jump') this.#target(this.#next());
    else if (word === '-g' || word === '--goto') this.#verdict({ to: 'goto', chain: this.#next() });
    else if (!this.#matchOption(word) && !this.#moduleOption(word)) throw new UnknownRule(word);
    this.#negated = false;
  }

  /** Options that every rule may have. */
  #matchOption(word: string): boolean {
    switch (word) {
      case '-m':
        if (!MODULES.has(this.#next())) throw new UnknownRule(`-m ${this.#last}`);
        return true;
      case '--comment':
        this.comment = this.#next();
        return true;
      case '-s':
        return this.#test(onSource(need(addressTest(this.#next()), this.#last)));
      case '-d':
        return this.#test(onDestination(need(addressTest(this.#next()), this.#last)));
      case '-p': {
        const protocol = PROTOCOL_NUMBERS[this.#next()] ?? this.#last;
        return this.#test((p) => protocol === 'all' || p.protocol === protocol);
      }
      case '-i': {
        const matches = deviceTest(this.#next());
        return this.#test((p) => matches(p.inDevice));
      }
      case '-o': {
        const matches = deviceTest(this.#next());
        return this.#test((p) => matches(p.outDevice));
      }
      default:
        return false;
    }
  }

  /** Options of matches (`-m`). */
  #moduleOption(word: string): boolean {
    switch (word) {
      case '--dport':
      case '--dports': {
        const tests = this.#next()
          .split(',')
          .map((t) => need(portTest(t), t));
        return this.#test((p) => tests.some((matches) => matches(p.port)));
      }
      case '--mark': {
        const [value, mask] = markAndMask(this.#next());
        return this.#test((p) => (p.mark & mask) >>> 0 === value);
      }
      case '--ctstate':
      case '--state': {
        const states = this.#next().split(',');
        const matches = (p: Packet) =>
          states.includes('NEW') || (states.includes('DNAT') && p.isDnat) || (states.includes('SNAT') && p.isSnat);
        return this.#test(matches);
      }
      case '--dst-type':
        return this.#addressType(this.#next(), (p) => p.destination);
      case '--src-type':
        return this.#addressType(this.#next(), (p) => p.source);
      case '--src-range':
        return this.#test(onSource(rangeTest(this.#next())));
      case '--dst-range':
        return this.#test(onDestination(rangeTest(this.#next())));
      case '--tcp-flags': {
        const [mask, set] = [this.#next().split(','), this.#next()];
        return this.#test((p) => p.protocol === 'tcp' && (mask.includes('SYN') ? set === 'SYN' : set === 'NONE'));
      }
      case '--probability':
        return this.#chance(Number(this.#next()));
      case '--every':
        return this.#chance(1 / Number(this.#next()));
      default:
        return this.#recentOption(word) || this.#ignored(word);
    }
  }

  #recentOption(word: string): boolean {
    switch (word) {
      case '--rcheck':
      case '--update':
        this.#recent = { ...this.#recent, looks: true };
        if (this.#negated) throw new UnknownRule(`! ${word}`);
        // The name may come before or after: it is read when a packet comes.
        return this.#test((p, facts) => facts.recent(this.#recent.name).has(p.source));
      case '--name':
        this.#recent = { ...this.#recent, name: this.#next() };
        return true;
      default:
        return false;
    }
  }

  /** What neither decides about the first packet of a connection nor changes where it goes. */
  #ignored(word: string): boolean {
    const values = IGNORED[word];
    if (values === undefined) return false;
    for (let i = 0; i < values; i++) this.#next();
    return true;
  }

  #target(target: string): void {
    switch (target) {
      case 'ACCEPT':
      case 'DROP':
      case 'RETURN':
      case 'REJECT':
        this.#verdict({ to: target.toLowerCase() as 'accept' | 'drop' | 'return' | 'reject' });
        break;
      case 'MARK':
        this.#steps.push({ is: 'mark', next: this.#markChange() });
        return;
      case 'DNAT':
        this.#verdict({ to: 'dnat', ...addressAndPort(this.#option('--to-destination')) });
        break;
      case 'SNAT':
        this.#verdict({ to: 'snat', ip: addressAndPort(this.#option('--to-source')).ip });
        break;
      case 'MASQUERADE':
        this.#verdict({ to: 'masquerade' });
        break;
      default:
        if (GOES_ON.has(target)) this.#verdict({ to: 'continue' });
        else if (OTHER_TARGETS.has(target)) throw new UnknownRule(`-j ${target}`);
        else this.#verdict({ to: 'jump', chain: target });
    }
    this.#words.length = 0; // options of the target
  }

  #markChange(): (mark: number) => number {
    const option = this.#next();
    const [value, mask] = markAndMask(this.#next());
    switch (option) {
      case '--set-xmark':
        return (mark) => ((mark & ~mask) ^ value) >>> 0;
      case '--set-mark':
        return (mark) => ((mark & ~mask) | value) >>> 0;
      case '--or-mark':
        return (mark) => (mark | value) >>> 0;
      case '--xor-mark':
        return (mark) => (mark ^ value) >>> 0;
      case '--and-mark':
        return (mark) => (mark & value) >>> 0;
      default:
        throw new UnknownRule(option);
    }
  }

  #addressType(type: string, of: (p: Packet) => string): boolean {
    if (type !== 'LOCAL') throw new UnknownRule(`address type ${type}`);
    return this.#test((p, facts) => facts.isLocal(of(p)));
  }

  #option(name: string): string {
    const at = this.#words.indexOf(name);
    const value = at < 0 ? undefined : this.#words[at + 1];
    if (value === undefined) throw new UnknownRule(`a target without ${name}`);
    return value;
  }

  #verdict(verdict: Verdict): void {
    this.#steps.push({ is: 'choose', choices: () => [{ share: 1, verdict }] });
  }

  #test(matches: Test): true {
    const wanted = !this.#negated;
    this.#steps.push({ is: 'match', chance: (p, facts) => (matches(p, facts) === wanted ? 1 : 0) });
    return true;
  }

  #chance(probability: number): true {
    if (!(probability >= 0 && probability <= 1)) throw new UnknownRule(`probability ${this.#last}`);
    const chance = this.#negated ? 1 - probability : probability;
    this.#steps.push({ is: 'match', chance: () => chance });
    return true;
  }

  #last = '';
  #next(): string {
    const word = this.#words.shift();
    if (word === undefined) throw new UnknownRule('a rule that breaks off');
    this.#last = word;
    return word;
  }
}

const MODULES = new Set(
  'comment tcp udp sctp multiport mark conntrack state addrtype statistic recent iprange nfacct limit'.split(' '),
);
const PROTOCOL_NUMBERS: Readonly<Record<string, string>> = { 6: 'tcp', 17: 'udp', 132: 'sctp' };
/** Options and how many values each has. */
const IGNORED: Readonly<Record<string, number>> = {
  '--mode': 1,
  '--packet': 1,
  '--seconds': 1,
  '--reap': 0,
  '--set': 0,
  '--remove': 0,
  '--mask': 1,
  '--rsource': 0,
  '--nfacct-name': 1,
  '--limit': 1,
  '--limit-burst': 1,
};
const GOES_ON = new Set('LOG NFLOG ULOG TRACE AUDIT CONNMARK TCPMSS TOS DSCP CLASSIFY CHECKSUM CT SECMARK'.split(' '));
const OTHER_TARGETS = new Set('REDIRECT NFQUEUE TPROXY NETMAP SYNPROXY CLUSTERIP TEE IDLETIMER'.split(' '));

function need<T>(value: T | undefined, text: string): T {
  if (value === undefined) throw new UnknownRule(text);
  return value;
}

function onSource(matches: (ip: string) => boolean): Test {
  return (p) => matches(p.source);
}

function onDestination(matches: (ip: string) => boolean): Test {
  return (p) => matches(p.destination);
}

function rangeTest(text: string): (ip: string) => boolean {
  const [first = '', last = first] = text.split('-');
  return need(addressRangeTest(first, last), text);
}

/** `0x4000/0x4000`; without a mask all bits count. */
function markAndMask(text: string): [value: number, mask: number] {
  const [value, mask = 0xffff_ffff] = text.split('/').map(Number);
  if (value === undefined || Number.isNaN(value) || Number.isNaN(mask)) throw new UnknownRule(text);
  return [value >>> 0, mask];
}

/** `10.0.0.1:80`, `[fd00::1]:80`, `10.0.0.1`, `:80`. */
function addressAndPort(text: string): { ip: string | undefined; port: number | undefined } {
  const [, v6, v4, port] = /^(?:\[([^\]]+)\]|([^:]*))(?::(\d+))?$/.exec(text) ?? [];
  const ip = v6 ?? v4 ?? (isIp(text) ? text : undefined);
  if (ip === undefined || (ip !== '' && !isIp(ip))) throw new UnknownRule(text);
  return { ip: ip === '' ? undefined : ip, port: port === undefined ? undefined : Number(port) };
}
