// What `nodelet proxy trace` says, as data (its JSON form, which programs rely on) and as text for a terminal. Pure.
import { formatTable } from '../../core/text-table.ts';
import type { FrontendKind } from './frontends.ts';
import type { Protocol } from './ruleset.ts';
import type { Hop, Trace, Way } from './way.ts';

export type PlaceName = 'node' | 'pod' | 'outside';

export interface TraceReport {
  /** Network namespace that was looked into; null for the one of the command. */
  readonly netns: string | null;
  /** `namespace/name`; null when an address was asked for. */
  readonly service: string | null;
  /** Who told the Service's addresses. */
  readonly addressesFrom: 'api' | 'rules' | null;
  readonly warnings: readonly string[];
  readonly traces: readonly TracedConnection[];
}

export interface TracedConnection {
  /** Null for an address that was given. */
  readonly frontend: { readonly kind: FrontendKind; readonly portName: string } | null;
  readonly from: { readonly place: PlaceName | null; readonly ip: string };
  readonly to: { readonly ip: string; readonly port: number };
  readonly protocol: Protocol;
  readonly ways: readonly ReportedWay[];
  /** Rules on the way that could not be judged; they count as not matching. */
  readonly unknownRules: readonly string[];
}

export interface ReportedWay extends Omit<Way, 'hops' | 'destination'> {
  readonly endpoint: {
    readonly ip: string;
    readonly port: number;
    readonly pod: string | null;
    readonly node: string | null;
  };
  /** The rule that dropped or refused the packet. */
  readonly decidedBy: Hop | null;
  readonly hops: readonly Hop[];
}

/** Who is behind an endpoint's address, where the API server told. */
export type EndpointNames = ReadonlyMap<string, { readonly pod: string | null; readonly node: string | null }>;

export function reportTrace(
  { connection, ways, unknown }: Trace,
  frontend: TracedConnection['frontend'],
  place: PlaceName | null,
  names: EndpointNames,
): TracedConnection {
  return {
    frontend,
    from: { place, ip: connection.from },
    to: { ip: connection.to, port: connection.port },
    protocol: connection.protocol,
    ways: ways.map(({ destination, hops, ...way }) => ({
      ...way,
      endpoint: { ...destination, ...(names.get(destination.ip) ?? { pod: null, node: null }) },
      decidedBy: way.outcome === 'dropped' || way.outcome === 'rejected' ? (hops.at(-1) ?? null) : null,
      hops,
    })),
    unknownRules: unknown,
  };
}

/** Branches of one fork that are printed hop by hop; the others are in the table below and in the JSON form. */
const SHOWN_BRANCHES = 8;

/** Hop by hop for the connections of `shown`, then one line for each of all. */
export function formatReport(report: TraceReport, shown: (trace: TracedConnection) => boolean): string {
  const blocks = report.traces.filter(shown).map((t) => formatTrace(t, report.service));
  const warnings = report.warnings.map((w) => `! ${w}`);
  return [...warnings, ...blocks, formatSummary(report.traces)].filter((b) => b !== '').join('\n\n');
}

function formatTrace(traced: TracedConnection, service: string | null): string {
  const { from, to, protocol, frontend } = traced;
  const port = frontend === null || frontend.portName === '' ? '' : `, port ${frontend.portName}`;
  const what = frontend === null ? '' : ` (${frontend.kind} of ${service}${port})`;
  const lines = [`From ${placeText(from)} to ${hostPort(to)}/${protocol}${what}`];
  printBranches(branchesOf(traced.ways), '  ', lines);
  for (const rule of traced.unknownRules) lines.push(`  ! cannot judge, taken as not matching: ${rule}`);
  return lines.join('\n');
}

interface Branch {
  readonly hop: Hop;
  readonly next: Branch[];
  readonly ways: ReportedWay[];
  total: number;
}

/** Ways with their common beginnings joined: branches of one trace share the very objects. */
function branchesOf(ways: readonly ReportedWay[]): Branch {
  const root: Branch = { hop: NO_HOP, next: [], ways: [], total: 0 };
  for (const way of ways) {
    let at = root;
    for (const hop of way.hops.filter(didSomething)) {
      let branch = at.next.find((b) => b.hop === hop);
      if (branch === undefined) {
        branch = { hop, next: [], ways: [], total: 0 };
        at.next.push(branch);
      }
      branch.total += way.share;
      at = branch;
    }
    at.ways.push(way);
  }
  return root;
}

/** False for a jump to a chain where no rule took the packet. */
function didSomething({ effect }: Hop, index: number, hops: readonly Hop[]): boolean {
  return !effect.startsWith('→ ') || hops[index + 1]?.chain === effect.slice(2);
}

const NO_HOP: Hop = { hook: 'prerouting', table: '', chain: '', rule: '', comment: '', effect: '', share: 1 };

function printBranches(branch: Branch, indent: string, lines: string[]): void {
  for (const way of branch.ways) lines.push(`${indent}⇒ ${wayText(way)}`);
  const [only] = branch.next;
  if (only !== undefined && branch.next.length === 1 && branch.ways.length === 0) {
    lines.push(`${indent}${hopText(only.hop)}`);
    printBranches(only, indent, lines);
    return;
  }
  const shown = branch.next.slice(0, SHOWN_BRANCHES);
  const hidden = branch.next.length - shown.length;
  let firstTail: string | undefined;
  for (const [i, next] of shown.entries()) {
    const isLast = i === shown.length - 1 && hidden === 0;
    const below: string[] = [];
    printBranches(next, '', below);
    // Most branches differ in the endpoint alone: what follows is told once.
    const from = below.findLastIndex((line) => line.includes('  DNAT to ')) + 1;
    const tail = below.slice(from, -1);
    if (tail.length > 1 && tail.join() === firstTail) below.splice(from, tail.length, '… on as above');
    firstTail ??= tail.join();
    lines.push(`${indent}${isLast ? '└' : '├'} ${percent(next.total)} ${hopText(next.hop)}`);
    for (const line of below) lines.push(`${indent}${isLast ? ' ' : '│'}        ${line}`);
  }
  if (hidden > 0) lines.push(`${indent}└ and ${hidden} more (all of them with -o json)`);
}

function hopText({ hook, table, chain, effect, entry, rule, comment }: Hop): string {
  const why = [
    entry === undefined ? rule.replace(/ ?-[jg] \S+.*$/, '') : `entry ${entry}`,
    comment === '' ? '' : `"${comment}"`,
  ].filter((t) => t !== '');
  return `${hook} ${table} ${chain}  ${effect}${why.length === 0 ? '' : `   [${why.join('  ')}]`}`;
}

function wayText(way: ReportedWay): string {
  const { outcome, decidedBy, isDnat, isLocal, endpoint } = way;
  const by = decidedBy === null ? '' : ` by ${decidedBy.table} ${decidedBy.chain}`;
  switch (outcome) {
    case 'dropped':
      return `dropped${by}: the client hears nothing`;
    case 'rejected':
      return `refused${by}: the client is told at once`;
    case 'unroutable':
      return `no route to ${endpoint.ip}`;
    case 'delivered': {
      const untouched = isDnat ? '' : isLocal ? ', to this host itself' : ', as it is: no rule of a Service takes it';
      return `${endpointText(endpoint)} ${percent(way.share)}, ${sourceText(way)}${untouched}`;
    }
  }
}

function sourceText({ source, sourceIp }: ReportedWay): string {
  if (source === 'kept') return 'source kept';
  return `${source === 'masqueraded' ? 'masqueraded' : 'source rewritten'}${sourceIp === undefined ? '' : ` as ${sourceIp}`}`;
}

function formatSummary(traces: readonly TracedConnection[]): string {
  const rows = traces.map((t) => [
    t.from.place ?? t.from.ip,
    `${hostPort(t.to)}/${t.protocol}`,
    t.frontend?.kind ?? '',
    summaryOf(t.ways),
  ]);
  return formatTable([['FROM', 'TO', 'FRONTEND', 'REACHES'], ...rows]);
}

/** `10.244.1.5:8080 50 %, 10.244.2.7:8080 50 %; masqueraded`. */
function summaryOf(ways: readonly ReportedWay[]): string {
  const bySource = new Map<string, string[]>();
  for (const way of ways) {
    const isReached = way.outcome === 'delivered';
    const group = !isReached ? '' : way.source === 'kept' ? 'source kept' : way.source;
    const what = isReached
      ? `${hostPort(way.endpoint)}${ways.length > 1 ? ` ${percent(way.share).trim()}` : ''}${way.isDnat ? '' : ' as it is'}`
      : { dropped: 'nothing: dropped', rejected: 'nothing: refused', unroutable: 'nothing: no route' }[
          way.outcome as 'dropped'
        ];
    bySource.set(group, [...(bySource.get(group) ?? []), what]);
  }
  return [...bySource].map(([source, what]) => `${listText(what)}${source === '' ? '' : ` (${source})`}`).join('; ');
}

function listText(all: readonly string[]): string {
  if (all.length <= SHOWN_BRANCHES) return all.join(', ');
  return `${all.slice(0, SHOWN_BRANCHES).join(', ')} and ${all.length - SHOWN_BRANCHES} more`;
}

function placeText({ place, ip }: TracedConnection['from']): string {
  if (place === null) return ip;
  return { node: `this node (${ip})`, pod: `a pod on this node (${ip})`, outside: `outside the cluster (${ip})` }[
    place
  ];
}

function endpointText({ ip, port, pod, node }: ReportedWay['endpoint']): string {
  const who = [pod === null ? '' : `pod ${pod}`, node === null ? '' : `on ${node}`].filter((t) => t !== '').join(' ');
  return `${hostPort({ ip, port })}${who === '' ? '' : ` (${who})`}`;
}

function hostPort({ ip, port }: { readonly ip: string; readonly port: number }): string {
  return ip.includes(':') ? `[${ip}]:${port}` : `${ip}:${port}`;
}

function percent(share: number): string {
  const text = share >= 0.9995 ? '100' : (share * 100).toFixed(1);
  return `${text} %`.padStart(6);
}
