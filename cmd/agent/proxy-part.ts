// The service proxy: from the configuration to a ServiceProxy that runs.
import { isIPv6 } from 'node:net';
import { release } from 'node:os';
import { cidrContains, parseCidr, parseIp } from '../../api/cidr.ts';
import { errorMessage } from '../../core/errors.ts';
import { runTasks, type Task } from '../../core/tasks.ts';
import { defaultRouteAddress, localAddresses } from '../../host/network-interfaces.ts';
import { cleanupIptables, IptablesBackend, iptablesVariant } from '../../proxy/iptables/iptables.ts';
import { NftablesBackend } from '../../proxy/nftables/nftables.ts';
import { cleanupNftables, type KernelFacts, probeNftables } from '../../proxy/nftables/support.ts';
import type { LocalTraffic, RuleOptions } from '../../proxy/options.ts';
import { type ProxyMode, ServiceProxy } from '../../proxy/proxy.ts';
import type { RuleBackend } from '../../proxy/rule-backend.ts';
import type { ProxySettings } from '../config/agent-config.ts';
import { setProxyLimits } from './proxy-limits.ts';
import { followServiceCidrs } from './service-cidrs.ts';
import type { AgentContext } from './shared.ts';

/** Everything is written anew once an hour, as upstream does: flushes are noticed sooner, other meddling is not. */
const FULL_SYNC_MS = 3_600_000;

/** @throws {AgentError} NFTABLES_UNSUPPORTED or IPTABLES_MISSING when this host cannot do the mode. */
export async function createProxyPart(ctx: AgentContext, signal: AbortSignal): Promise<{ readonly run: Task }> {
  const { proxy: settings, nodeName } = ctx.config;
  const rules = ruleOptions(settings, await primaryIps(ctx));
  const backend = await createBackend(ctx, settings.mode, rules, signal);
  await removeOtherMode(ctx, settings.mode, signal);
  await setProxyLimits(ctx);
  const proxy = new ServiceProxy(
    {
      nodeName,
      mode: settings.mode,
      routeLocalnet: settings.mode === 'iptables' && settings.localhostNodePorts,
      nodePortIps: rules.nodePortIps,
      minSyncPeriodMs: settings.minSyncPeriodMs,
      syncPeriodMs: settings.syncPeriodMs,
      fullSyncIntervalMs: FULL_SYNC_MS,
      ...(settings.healthzAddress === undefined ? {} : { healthzAddress: settings.healthzAddress }),
      ...(settings.metricsAddress === undefined ? {} : { metricsAddress: settings.metricsAddress }),
    },
    {
      backends: [backend],
      services: ctx.services().store,
      endpointSlices: ctx.endpointSlices().store,
      nodes: ctx.ownNode.store,
      events: ctx.recorder,
      exec: ctx.exec,
      sysctl: ctx.sysctl,
      clock: ctx.clock,
      log: ctx.log,
      registry: ctx.registry,
    },
  );
  if (!(backend instanceof NftablesBackend)) return { run: (s) => proxy.run(s) };
  const serviceCidrs = (s: AbortSignal) => followServiceCidrs(ctx, (cidrs) => backend.setServiceCidrs(cidrs), s);
  return { run: (s) => runTasks(s, { rules: (inner) => proxy.run(inner), serviceCidrs }) };
}

/** Removes the rules of both modes, of this run or an earlier one. @throws {AgentError} when rules cannot be removed. */
export async function cleanupProxy(ctx: AgentContext, signal: AbortSignal): Promise<void> {
  const results = await Promise.allSettled([
    cleanupBothIptables(ctx, !ctx.config.parts.has('kubelet'), signal),
    hasNft(ctx, signal).then((has) => (has ? cleanupNftables(ctx.exec, signal) : undefined)),
  ]);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

async function createBackend(
  { exec, clock }: AgentContext,
  mode: ProxyMode,
  rules: RuleOptions,
  signal: AbortSignal,
): Promise<RuleBackend> {
  if (mode === 'iptables') return new IptablesBackend(rules, { exec, variant: await iptablesVariant(exec, signal) });
  const { hasObjectComments } = await probeNftables(exec, kernelFacts(), signal);
  return new NftablesBackend({ ...rules, hasObjectComments, serviceCidrs: [] }, { exec, clock });
}

/** The variable is upstream's, for distributions that carry what the mode needs in an older kernel. */
function kernelFacts(): KernelFacts {
  return { release: release(), skipVersionCheck: !!process.env.KUBE_PROXY_NFTABLES_SKIP_KERNEL_VERSION_CHECK };
}

/** What a run in the other mode left would go on sending packets to endpoints that are gone. Failures are logged only. */
export async function removeOtherMode(ctx: AgentContext, mode: ProxyMode, signal: AbortSignal): Promise<void> {
  try {
    if (mode === 'nftables') await cleanupBothIptables(ctx, true, signal);
    else if (await hasNft(ctx, signal)) await cleanupNftables(ctx.exec, signal);
  } catch (err) {
    ctx.log.warn({ err }, `rules of the ${mode === 'nftables' ? 'iptables' : 'nftables'} mode cannot be removed`);
  }
}

/** Of both families: an earlier run, or kube-proxy before us, may have served IPv6. A host without its tools has none. */
async function cleanupBothIptables(ctx: AgentContext, keepShared: boolean, signal: AbortSignal): Promise<void> {
  for (const family of [4, 6] as const) {
    if (await hasIptables(ctx, family, signal)) await cleanupIptables(ctx.exec, family, { keepShared }, signal);
  }
}

/** As upstream asks: by a chain that is always there. Exit code 4 is a lock held by another, or a kernel in trouble. */
async function hasIptables({ exec, log }: AgentContext, family: 4 | 6, signal: AbortSignal): Promise<boolean> {
  const program = family === 6 ? 'ip6tables' : 'iptables';
  try {
    const { code } = await exec(program, ['-w', '5', '-t', 'nat', '-S', 'POSTROUTING'], { signal });
    return code === 0 || code === 4;
  } catch (err) {
    if (signal.aborted) throw err;
    log.debug({ cause: errorMessage(err) }, `no ${program} here, so no rules of it`);
    return false;
  }
}

async function hasNft({ exec, log }: AgentContext, signal: AbortSignal): Promise<boolean> {
  try {
    return (await exec('nft', ['--version'], { signal })).code === 0;
  } catch (err) {
    log.debug({ cause: errorMessage(err) }, 'no nft here, so no rules of the nftables mode');
    return false;
  }
}

/** The node's own addresses: as configured, else that of the way out. */
async function primaryIps({ config }: AgentContext): Promise<readonly string[]> {
  const { nodeIps } = config.node;
  const found = nodeIps.length > 0 ? undefined : await defaultRouteAddress(4);
  return found === undefined ? nodeIps : [found];
}

function ruleOptions(settings: ProxySettings, nodeIps: readonly string[]): RuleOptions {
  const own = localAddresses()
    .map((a) => a.address)
    .filter((ip) => !isIPv6(ip));
  // Upstream's default differs: node ports answer on every address with iptables, on the node's own with nftables.
  const isDefault = settings.nodePortAddresses.length === 0;
  const ranges = isDefault && settings.mode === 'nftables' ? ['primary'] : settings.nodePortAddresses;
  return {
    family: 4,
    masqueradeBit: settings.masqueradeBit,
    masqueradeAll: settings.masqueradeAll,
    localTraffic: localTraffic(settings),
    localhostNodePorts: settings.localhostNodePorts,
    nodePortIps: nodePortIps(ranges, own, nodeIps),
    nodeIps: own,
    randomFully: true,
    dropInvalid: !settings.conntrack.tcpBeLiberal,
  };
}

function localTraffic({ detectLocal, clusterCidr }: ProxySettings): LocalTraffic | undefined {
  if (detectLocal.by !== 'cidr') return detectLocal;
  return clusterCidr === '' ? undefined : { by: 'cidr', cidr: clusterCidr };
}

/** Own addresses in the ranges given; `primary` is the node's own. Undefined: all of them. */
function nodePortIps(
  ranges: readonly string[],
  own: readonly string[],
  nodeIps: readonly string[],
): string[] | undefined {
  if (ranges.length === 0) return undefined;
  const cidrs = ranges.filter((r) => r !== 'primary' && !isIPv6(r.split('/')[0]!)).map(parseCidr);
  const primary = ranges.includes('primary') ? nodeIps : [];
  return own.filter((ip) => primary.includes(ip) || cidrs.some((cidr) => cidrContains(cidr, parseIp(ip))));
}
