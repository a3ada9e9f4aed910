// Does what `nodelet proxy trace` was asked for: reads the kernel and the Service, traces, prints.
import { formatIp, hostRange, isIp, parseIp } from '../api/cidr.ts';
import type { Service } from '../api/kinds.ts';
import { endpointSlices, services } from '../api/resources.ts';
import { isNotFound } from '../client/errors.ts';
import { loadKubeconfig } from '../client/kubeconfig.ts';
import { RestClient } from '../client/rest.ts';
import { systemClock } from '../core/clock.ts';
import { AgentError, errorMessage } from '../core/errors.ts';
import { silentLog } from '../core/log.ts';
import { systemExec } from '../host/exec.ts';
import { execInNetns } from '../host/netns.ts';
import { trace } from '../proxy/trace/evaluate.ts';
import { type Frontend, frontendsOfRules, frontendsOfService } from '../proxy/trace/frontends.ts';
import { type LiveState, readLiveState } from '../proxy/trace/live.ts';
import {
  type EndpointNames,
  formatReport,
  type PlaceName,
  reportTrace,
  type TracedConnection,
  type TraceReport,
} from '../proxy/trace/report.ts';
import type { Protocol } from '../proxy/trace/ruleset.ts';
import { existingNetns } from './named-netns.ts';
import type { TraceFlags } from './proxy-trace.ts';
import { stopSignal } from './signals.ts';

/** Of calls to the API server, ms: the rules can tell the addresses as well. */
const API_TIMEOUT_MS = 10_000;

type Family = 4 | 6;

/** @throws {AgentError} CONFIG_INVALID, SERVICE_UNKNOWN, NOT_ROOT, RULES_UNREADABLE, TRACE_UNBOUNDED. */
export async function runTrace(service: string | undefined, flags: TraceFlags): Promise<string> {
  const target = readTarget(service, flags);
  if (process.getuid?.() !== 0) {
    throw new AgentError('nodelet proxy trace needs root: only root may list the rules of the kernel', {
      code: 'NOT_ROOT',
      hint: 'run it with sudo',
    });
  }
  const exec = flags.netns === undefined ? systemExec : execInNetns(systemExec, existingNetns(flags.netns));
  const signal = stopSignal();
  const families: readonly Family[] = target.to === undefined ? [4, 6] : [parseIp(target.to.ip).version];
  const live = new Map(
    await Promise.all(families.map(async (f) => [f, await readLiveState(exec, f, signal)] as const)),
  );
  const { report, shown } =
    target.to === undefined
      ? await traceService(target, flags, live)
      : traceAddress(target.to, flags, live.get(families[0]!)!);
  return flags.output === 'json' ? JSON.stringify(report, null, 2) : formatReport(report, shown);
}

interface Asked {
  readonly report: TraceReport;
  /** What is printed hop by hop. */
  readonly shown: (trace: TracedConnection) => boolean;
}

function traceAddress(to: { ip: string; port: number }, flags: TraceFlags, { ruleset, facts }: LiveState): Asked {
  const client = clientsOf(flags.from ?? 'node', to.ip, facts)[0]!;
  const connection = { from: client.ip, to: to.ip, port: to.port, protocol: flags.protocol ?? 'tcp' };
  const traced = reportTrace(trace(connection, ruleset, facts), null, client.place, new Map());
  const report = { netns: flags.netns ?? null, service: null, addressesFrom: null, warnings: [], traces: [traced] };
  return { report, shown: () => true };
}

async function traceService(target: Target, flags: TraceFlags, live: ReadonlyMap<Family, LiveState>): Promise<Asked> {
  const told = flags.kubeconfig === undefined ? NOTHING_TOLD : await askApi(target.service, flags.kubeconfig);
  const traces: TracedConnection[] = [];
  let known = 0;
  for (const [family, { ruleset, facts }] of live) {
    const all =
      told.service === undefined ? frontendsOfRules(target.service, ruleset) : frontendsOfService(told.service, family);
    known += all.length;
    for (const frontend of all.filter((f) => isWanted(f, target, flags.protocol))) {
      const ip = frontend.ip ?? nodeAddress(family, facts);
      if (ip === undefined) continue; // no address of this family: no node port either
      for (const client of clientsOf(flags.from ?? 'everywhere', ip, facts)) {
        const connection = { from: client.ip, to: ip, port: frontend.port, protocol: frontend.protocol };
        const { kind, portName } = frontend;
        traces.push(reportTrace(trace(connection, ruleset, facts), { kind, portName }, client.place, told.names));
      }
    }
  }
  if (traces.length === 0) throw unknownService(target, told.service !== undefined, known);
  const report: TraceReport = {
    netns: flags.netns ?? null,
    service: target.service,
    addressesFrom: told.service === undefined ? 'rules' : 'api',
    warnings: told.warnings,
    traces,
  };
  return { report, shown: (t) => flags.from !== undefined || t.from.place === 'node' };
}

interface Told {
  readonly service: Service | undefined;
  readonly names: EndpointNames;
  readonly warnings: readonly string[];
}

const NOTHING_TOLD: Told = { service: undefined, names: new Map(), warnings: [] };

/** The Service and who its endpoints are. Without an answer the rules tell. @throws {AgentError} SERVICE_UNKNOWN. */
async function askApi(key: string, kubeconfig: string): Promise<Told> {
  const [namespace, name] = key.split('/') as [string, string];
  const config = await loadKubeconfig(kubeconfig);
  const client = new RestClient(config, { userAgent: 'nodelet-trace' }, { clock: systemClock, log: silentLog });
  const opts = { timeoutMs: API_TIMEOUT_MS };
  try {
    const [service, slices] = await Promise.all([
      client.get(services, { namespace, name }, opts),
      client.list(endpointSlices, { ...opts, namespace, labelSelector: `kubernetes.io/service-name=${name}` }),
    ]);
    const names = new Map<string, { pod: string | null; node: string | null }>();
    for (const e of slices.items.flatMap((s) => s.endpoints ?? [])) {
      for (const ip of e.addresses) {
        const pod = e.targetRef?.kind === 'Pod' ? `${e.targetRef.namespace ?? namespace}/${e.targetRef.name}` : null;
        if (isIp(ip)) names.set(formatIp(parseIp(ip)), { pod, node: e.nodeName ?? null });
      }
    }
    return { service, names, warnings: [] };
  } catch (err) {
    if (isNotFound(err)) {
      throw new AgentError(`the API server has no Service ${key}`, {
        code: 'SERVICE_UNKNOWN',
        hint: 'give it as NAMESPACE/NAME (default: namespace default); `kubectl get services -A` lists them',
      });
    }
    const warnings = [`the API server cannot be asked (${errorMessage(err)}); addresses are taken from the rules`];
    return { service: undefined, names: new Map(), warnings };
  } finally {
    client.closeIdleConnections();
  }
}

interface Target {
  /** `namespace/name`; empty with `to`. */
  readonly service: string;
  readonly port: string | undefined;
  readonly to: { readonly ip: string; readonly port: number } | undefined;
}

function readTarget(service: string | undefined, { to, from }: TraceFlags): Target {
  if (from !== undefined && !isPlace(from) && !isIp(from)) {
    throw invalid(`--from=${from}: expected node, pod, outside or an IP address`);
  }
  if (to !== undefined) {
    if (service !== undefined) throw invalid('a Service and --to were given; one of them says where to');
    const [, v6, v4, port] = /^(?:\[([^\]]+)\]|([^:]+)):(\d{1,5})$/.exec(to) ?? [];
    const ip = v6 ?? v4;
    if (ip === undefined || !isIp(ip) || Number(port) < 1 || Number(port) > 65_535) {
      throw invalid(`--to=${to}: expected IP:PORT, such as 10.96.0.10:53 or [fd00:96::a]:53`);
    }
    const canonical = formatIp(parseIp(ip));
    if (from !== undefined && isIp(from) && parseIp(from).version !== parseIp(ip).version) {
      throw invalid(`--from=${from} and --to=${to} are of different IP families`);
    }
    return { service: '', port: undefined, to: { ip: canonical, port: Number(port) } };
  }
  const [, namespace = 'default', name, port] = /^(?:([^/:]+)\/)?([^/:]+)(?::([^/:]+))?$/.exec(service ?? '') ?? [];
  if (name === undefined) {
    throw invalid(service === undefined ? 'say where to: a Service, or --to IP:PORT' : `"${service}" names no Service`);
  }
  return { service: `${namespace}/${name}`, port, to: undefined };
}

function isWanted({ port, portName, protocol }: Frontend, target: Target, wanted: Protocol | undefined): boolean {
  if (wanted !== undefined && protocol !== wanted) return false;
  return target.port === undefined || target.port === portName || target.port === String(port);
}

interface Client {
  readonly place: PlaceName | null;
  readonly ip: string;
}

/** Addresses of RFC 5737 and RFC 3849: nobody has them. */
const OUTSIDE = { 4: '203.0.113.254', 6: '2001:db8:ffff::fe' } as const;

function clientsOf(from: string, to: string, facts: LiveState['facts']): Client[] {
  if (isIp(from))
    return parseIp(from).version === parseIp(to).version ? [{ place: null, ip: formatIp(parseIp(from)) }] : [];
  const family = parseIp(to).version;
  const places: readonly PlaceName[] = isPlace(from) ? [from] : ['node', 'pod', 'outside'];
  return places.flatMap((place) => {
    const ip = {
      node: () => facts.sourceTo(to) ?? facts.ownAddress(),
      pod: () => podAddress(facts),
      outside: () => OUTSIDE[family],
    }[place]();
    if (ip !== undefined) return [{ place, ip }];
    if (!isPlace(from)) return [];
    throw invalid(
      `--from=${place}: this ${place === 'pod' ? 'node has no bridge cni0 with pods' : 'host has no address'}; give an IP address`,
    );
  });
}

/** An address of the node's pod subnet that is given out last. */
function podAddress(facts: LiveState['facts']): string | undefined {
  const subnet = facts.subnetOf('cni0');
  return subnet === undefined ? undefined : formatIp(hostRange(subnet).last);
}

function nodeAddress(family: Family, facts: LiveState['facts']): string | undefined {
  return facts.sourceTo(OUTSIDE[family]) ?? facts.ownAddress();
}

function isPlace(text: string): text is PlaceName {
  return text === 'node' || text === 'pod' || text === 'outside';
}

function unknownService({ service, port }: Target, isTold: boolean, known: number): AgentError {
  if (known > 0) {
    return new AgentError(`Service ${service} has no port ${port ?? 'of that protocol'}`, {
      code: 'SERVICE_UNKNOWN',
      hint: 'leave the port out to see all of them',
    });
  }
  const hint = isTold
    ? 'headless Services and ExternalName have no address of their own: DNS answers for them'
    : 'is it in another namespace (NAMESPACE/NAME)? does the proxy run? or ask the API server with --kubeconfig';
  return new AgentError(
    isTold ? `Service ${service} has no address` : `no rule of this host is about Service ${service}`,
    {
      code: 'SERVICE_UNKNOWN',
      hint,
    },
  );
}

function invalid(message: string): AgentError {
  return new AgentError(message, { code: 'CONFIG_INVALID', hint: 'see nodelet proxy trace --help' });
}
