// Rules of all Services → restore documents, pure: everything, or the difference between two states.
import { Turns } from '../../core/turns.ts';
import { findJump, hasJump, type Jump, renderRestore, type SavedTable } from '../../host/iptables-restore.ts';
import { markText, type RuleOptions } from '../options.ts';
import { counterMatch, INVALID_DROPPED } from './counter-match.ts';
import {
  type ChainText,
  chainText,
  LINES_OF_REMOVAL,
  leavesFirst,
  linesOf,
  type OwnChain,
  removalText,
  rootsFirst,
  slices,
  splitTopChain,
} from './delta.ts';
import { isServiceChain } from './names.ts';
import type { DispatchRule, ServiceRules } from './service-rules.ts';

type Table = 'filter' | 'nat';

const MARK_CHAIN = 'KUBE-MARK-MASQ';

const TOP_CHAINS: Readonly<Record<Table, readonly string[]>> = {
  filter: ['KUBE-SERVICES', 'KUBE-EXTERNAL-SERVICES', 'KUBE-FORWARD', 'KUBE-NODEPORTS', 'KUBE-PROXY-FIREWALL'],
  nat: ['KUBE-SERVICES', 'KUBE-NODEPORTS', 'KUBE-POSTROUTING', MARK_CHAIN],
};

interface HookJump {
  readonly table: Table;
  readonly from: string;
  readonly to: string;
  readonly match: string;
}

const NEW = '-m conntrack --ctstate NEW ';
const PORTALS = '-m comment --comment "kubernetes service portals"';
const EXTERNAL = '-m comment --comment "kubernetes externally-visible service portals"';
const FIREWALL = '-m comment --comment "kubernetes load balancer firewall"';

/** Inserted at the head one after the other, so that the last of a hook comes first. */
const JUMPS: readonly HookJump[] = [
  { table: 'filter', from: 'INPUT', to: 'KUBE-EXTERNAL-SERVICES', match: NEW + EXTERNAL },
  { table: 'filter', from: 'FORWARD', to: 'KUBE-EXTERNAL-SERVICES', match: NEW + EXTERNAL },
  {
    table: 'filter',
    from: 'INPUT',
    to: 'KUBE-NODEPORTS',
    match: '-m comment --comment "kubernetes health check service ports"',
  },
  { table: 'filter', from: 'FORWARD', to: 'KUBE-SERVICES', match: NEW + PORTALS },
  { table: 'filter', from: 'OUTPUT', to: 'KUBE-SERVICES', match: NEW + PORTALS },
  { table: 'filter', from: 'FORWARD', to: 'KUBE-FORWARD', match: '-m comment --comment "kubernetes forwarding rules"' },
  { table: 'filter', from: 'INPUT', to: 'KUBE-PROXY-FIREWALL', match: NEW + FIREWALL },
  { table: 'filter', from: 'OUTPUT', to: 'KUBE-PROXY-FIREWALL', match: NEW + FIREWALL },
  { table: 'filter', from: 'FORWARD', to: 'KUBE-PROXY-FIREWALL', match: NEW + FIREWALL },
  { table: 'nat', from: 'OUTPUT', to: 'KUBE-SERVICES', match: PORTALS },
  { table: 'nat', from: 'PREROUTING', to: 'KUBE-SERVICES', match: PORTALS },
  {
    table: 'nat',
    from: 'POSTROUTING',
    to: 'KUBE-POSTROUTING',
    match: '-m comment --comment "kubernetes postrouting rules"',
  },
  { table: 'filter', from: 'INPUT', to: 'KUBE-FIREWALL', match: '' },
  { table: 'filter', from: 'OUTPUT', to: 'KUBE-FIREWALL', match: '' },
];

/** What leads from built-in chains to ours. */
export function jumpsFromHooks(): readonly Jump[] {
  return JUMPS.map((j) => ({ table: j.table, rule: jumpRule('-A', j) }));
}

const SHARED_WITH_KUBELET = 'KUBE-FIREWALL';

/** Empty, in every table, as upstream has it: other programs look for it to see that a proxy is at work here. */
const CANARY = 'KUBE-PROXY-CANARY';

export type SavedRules = ReadonlyMap<string, SavedTable>;

export interface FullContext {
  readonly opts: RuleOptions;
  readonly saved: SavedRules;
  /** Of every Service; asked once all Services have been taken. */
  readonly dispatch: () => Iterable<DispatchRule>;
  /** So many lines about chains of Services fit into one document. */
  readonly linesPerDocument: number;
}

/**
 * Everything: top-level chains, all Services, jumps from the built-in chains where `saved` has none, and the removal of
 * chains that `saved` has and no Service uses any more. When Services have more lines than fit into one document, their
 * chains come first, in documents of that many, and the top-level chains that lead to them last: at each moment every
 * Service that worked before works. Services are taken as they are needed, so that no more than a document is in memory.
 */
export async function* renderFull(services: Iterable<ServiceRules>, ctx: FullContext): AsyncGenerator<string> {
  const unused = new Set([...(ctx.saved.get('nat')?.chains ?? [])].filter(isServiceChain));
  const size = ctx.linesPerDocument;
  let own: OwnChain[] = [];
  let lines = 0;
  let isCut = false;
  const turns = new Turns();
  for (const { chains } of services) {
    if (turns.isDue) await turns.next();
    for (const chain of leavesFirst([...chains])) {
      unused.delete(chain[0]);
      if (own.length > 0 && lines + linesOf(chain) > size) {
        if (!isCut) yield markOnly(ctx.opts);
        isCut = true;
        yield renderRestore([{ table: 'nat', ...chainText(own) }]);
        [own, lines] = [[], 0];
      }
      own.push(chain);
      lines += linesOf(chain);
    }
  }
  if (!isCut && unused.size * LINES_OF_REMOVAL <= size) {
    yield renderTop(ctx, chainText(own), removalText([...unused]));
    return;
  }
  if (!isCut) yield markOnly(ctx.opts);
  yield renderRestore([{ table: 'nat', ...chainText(own) }]);
  const nothing = { chains: [], rules: [] };
  yield renderTop(ctx, nothing, nothing);
  for (const some of slices(rootsFirst(unused), size, () => LINES_OF_REMOVAL)) {
    yield renderRestore([{ table: 'nat', ...removalText(some) }]);
  }
}

/** What the chains of Services refer to. */
function markOnly(opts: RuleOptions): string {
  return renderRestore([{ table: 'nat', chains: [MARK_CHAIN], rules: [markRule(opts)] }]);
}

/** Top-level chains with all that leads to Services, around what `own` and `removed` add to table nat. */
function renderTop({ opts, saved, dispatch }: FullContext, own: ChainText, removed: ChainText): string {
  const filter = { chains: [...TOP_CHAINS.filter, CANARY], rules: missingJumps('filter', saved) };
  const nat = { chains: [...TOP_CHAINS.nat, CANARY], rules: missingJumps('nat', saved) };
  addLocalnetGuard(filter, opts, saved);
  nat.rules.push(...masqueradeRules(opts));
  for (const d of dispatch()) {
    const [table, chain] = splitTopChain(d.chain);
    (table === 'filter' ? filter : nat).rules.push(`-A ${chain} ${d.spec}`);
  }
  filter.rules.push(...forwardRules(opts));
  const rules = [...nat.rules, ...own.rules, ...removed.rules, ...nodePortJumps(opts)];
  return renderRestore([
    { table: 'filter', ...filter },
    { table: 'nat', chains: [...nat.chains, ...own.chains, ...removed.chains], rules },
  ]);
}

/** The canary of table mangle, where `saved` has none: apart, since a kernel without that table serves Services too. */
export function renderMangleCanary(saved: SavedRules): string {
  const isThere = saved.get('mangle')?.chains.has(CANARY) ?? false;
  return isThere ? '' : renderRestore([{ table: 'mangle', chains: [CANARY], rules: [] }]);
}

export interface Landmark {
  readonly table: Table;
  readonly rules: readonly string[];
}

/**
 * Rules that stand after a full sync until somebody flushes a table or one of the top-level chains. Upstream watches an
 * empty chain instead (KUBE-PROXY-CANARY), which notices `iptables -X` only. Jumps are spelled as `saved` has them: one
 * that another version of a proxy left may match otherwise than ours.
 */
export function landmarks(opts: RuleOptions, saved: SavedRules): readonly Landmark[] {
  const jumps = (table: Table) =>
    JUMPS.filter((j) => j.table === table).map((j) => findJump(saved.get(table), j.from, j.to) ?? jumpRule('-A', j));
  return [
    { table: 'filter', rules: [...jumps('filter'), ...forwardRules(opts)] },
    { table: 'nat', rules: [...jumps('nat'), ...masqueradeRules(opts), ...nodePortJumps(opts)] },
  ];
}

export interface CleanupOptions {
  /** True while a kubelet goes on using what it shares with the proxy (KUBE-FIREWALL). */
  readonly keepShared: boolean;
}

/**
 * Removes all that the proxy made, as far as `saved` shows it: what leads to Services and, where these fit into the same
 * document, their chains; else those come in further ones.
 */
export function* renderCleanup(
  saved: SavedRules,
  { keepShared }: CleanupOptions,
  linesPerDocument: number,
): Generator<string> {
  const isOfServices = (chain: string) => isServiceChain(chain) || chain === MARK_CHAIN; // all of them lead to the latter
  const ofServices = rootsFirst([...(saved.get('nat')?.chains ?? [])].filter(isOfServices));
  const fits = ofServices.length * LINES_OF_REMOVAL <= linesPerDocument;
  const top = (['filter', 'nat', 'mangle'] as const).map((table) => {
    const there = saved.get(table);
    const own = table === 'mangle' ? [] : TOP_CHAINS[table].filter((c) => !isOfServices(c));
    const chains = [...(there?.chains ?? [])].filter(
      (c) => own.includes(c) || c === CANARY || (table === 'filter' && c === SHARED_WITH_KUBELET && !keepShared),
    );
    const gone = new Set(table === 'nat' ? [...chains, ...ofServices] : chains);
    const jumps = (there?.rules ?? []).filter((r) => {
      const [, from] = r.split(' ', 2);
      return !gone.has(from!) && gone.has(/ -j (\S+)$/.exec(r)?.[1] ?? '');
    });
    const removal = removalText(table === 'nat' && fits ? [...chains, ...ofServices] : chains);
    return { table, chains: removal.chains, rules: [...jumps.map((r) => r.replace(/^-A/, '-D')), ...removal.rules] };
  });
  yield renderRestore(top);
  if (fits) return;
  for (const some of slices(ofServices, linesPerDocument, () => LINES_OF_REMOVAL)) {
    yield renderRestore([{ table: 'nat', ...removalText(some) }]);
  }
}

function missingJumps(table: Table, saved: SavedRules): string[] {
  return JUMPS.filter((j) => j.table === table && !hasJump(saved.get(table), j.from, j.to)).map((j) =>
    jumpRule('-I', j),
  );
}

function jumpRule(op: '-A' | '-I', j: HookJump): string {
  return `${op} ${j.from} ${j.match}${j.match === '' ? '' : ' '}-j ${j.to}`;
}

/** route_localnet opens 127.0.0.0/8 to neighbours (CVE-2020-8558): this closes it again. */
function addLocalnetGuard(
  filter: { readonly chains: string[]; readonly rules: string[] },
  opts: RuleOptions,
  saved: SavedRules,
): void {
  if (guardsLocalnet(opts)) {
    filter.chains.push(SHARED_WITH_KUBELET);
    filter.rules.push(
      `-A ${SHARED_WITH_KUBELET} -m comment --comment "block incoming localnet connections" -d 127.0.0.0/8 ! -s 127.0.0.0/8 -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP`,
    );
  } else if (!saved.get('filter')?.chains.has(SHARED_WITH_KUBELET)) {
    filter.chains.push(SHARED_WITH_KUBELET); // the jumps need it; the kubelet's rule in it is left alone
  }
}

function guardsLocalnet(opts: RuleOptions): boolean {
  return opts.family === 4 && opts.localhostNodePorts;
}

function masqueradeRules(opts: RuleOptions): string[] {
  const mark = markText(opts.masqueradeBit);
  const random = opts.randomFully ? ' --random-fully' : '';
  return [
    `-A KUBE-POSTROUTING -m mark ! --mark ${mark}/${mark} -j RETURN`,
    `-A KUBE-POSTROUTING -j MARK --xor-mark ${mark}`, // a second pass must not masquerade again
    `-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE${random}`,
    markRule(opts),
  ];
}

function markRule(opts: RuleOptions): string {
  return `-A ${MARK_CHAIN} -j MARK --or-mark ${markText(opts.masqueradeBit)}`;
}

function forwardRules(opts: RuleOptions): string[] {
  const mark = markText(opts.masqueradeBit);
  const invalid = counterMatch(INVALID_DROPPED, opts) ?? '';
  return [
    ...(opts.dropInvalid ? [`-A KUBE-FORWARD -m conntrack --ctstate INVALID ${invalid}-j DROP`] : []),
    `-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark ${mark}/${mark} -j ACCEPT`,
    '-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT',
  ];
}

/** How many rules there are whatever Services there are, without the jumps from built-in chains. */
export function fixedRules(opts: RuleOptions): Record<Table, number> {
  const guard = guardsLocalnet(opts) ? 1 : 0;
  return {
    filter: forwardRules(opts).length + guard,
    nat: masqueradeRules(opts).length + nodePortJumps(opts).length,
  };
}

/** Last in KUBE-SERVICES, so that a Service address that is also a node address is matched first. */
export function nodePortJumps(opts: RuleOptions): string[] {
  const rule =
    '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain"';
  if (opts.nodePortIps !== undefined) {
    const loopbackToo = opts.family === 4 && opts.localhostNodePorts;
    return opts.nodePortIps
      .filter((ip) => loopbackToo || !(ip.startsWith('127.') || ip === '::1'))
      .map((ip) => `${rule} -d ${ip} -j KUBE-NODEPORTS`);
  }
  const notLoopback = opts.family === 6 ? ' ! -d ::1/128' : opts.localhostNodePorts ? '' : ' ! -d 127.0.0.0/8';
  return [`${rule} -m addrtype --dst-type LOCAL${notLoopback} -j KUBE-NODEPORTS`];
}
