// The service proxy: from the configuration to a ServiceProxy that runs.
import { isIPv6 } from 'node:net';
import { release } from 'node:os';
import { runTasks, type Task } from '../../core/tasks.ts';
import { isIptablesUsable, restoreCommand } from '../../host/iptables-restore.ts';
import { ReadyExec } from '../../host/ready-exec.ts';
import { SliMetrics } from '../../kubelet/metrics/sli-metrics.ts';
import { IptablesBackend, type IptablesDeps, iptablesVariant } from '../../proxy/iptables/iptables.ts';
import { PacketCounters } from '../../proxy/iptables/packet-counters.ts';
import { cleanupFailures, ruleGauges } from '../../proxy/metrics.ts';
import { NftablesBackend } from '../../proxy/nftables/nftables.ts';
import { type KernelFacts, probeNftables } from '../../proxy/nftables/support.ts';
import type { NodeAddresses } from '../../proxy/options.ts';
import { ServiceProxy } from '../../proxy/proxy.ts';
import type { RuleBackend } from '../../proxy/rule-backend.ts';
import { type PodRanges, waitForNodeCidrs, watchNodeCidrs } from './node-cidrs.ts';
import { setProxyLimits } from './proxy-limits.ts';
import { otherModeRemoval } from './proxy-removal.ts';
import { localhostNodePorts, type NodeFacts, nodeAddresses, primaryAddresses, ruleOptions } from './proxy-rules.ts';
import { followServiceCidrs } from './service-cidrs.ts';
import type { AgentContext } from './shared.ts';

/** Everything is written anew once an hour, as upstream does: flushes are noticed sooner, other meddling is not. */
const FULL_SYNC_MS = 3_600_000;

/** Makes what writes the rules of one family; `signal` ends what it keeps ready. */
type MakeBackend = (family: 4 | 6, facts: NodeFacts, signal: AbortSignal) => RuleBackend;

/** @throws {AgentError} NFTABLES_UNSUPPORTED or IPTABLES_MISSING when this host cannot do the mode. */
export async function createProxyPart(ctx: AgentContext, signal: AbortSignal): Promise<{ readonly run: Task }> {
  const { proxy, network } = ctx.config;
  for (const informer of [ctx.services, ctx.endpointSlices]) informer(); // now, so that they run together with the parts
  const makeBackend = await (proxy.mode === 'iptables' ? iptablesBackends : nftablesBackends)(ctx, signal);
  if (proxy.detectLocal.by === 'node-cidr') return { run: (s) => runOnNodeCidrs(ctx, makeBackend, s) };
  const ranges = { 4: proxy.clusterCidr, 6: network.clusterCidrV6 };
  return { run: (s) => runProxy(ctx, makeBackend, ranges, s) };
}

/** The kubelet part of this process may have yet to register the Node whose ranges are waited for. */
async function runOnNodeCidrs(ctx: AgentContext, makeBackend: MakeBackend, signal: AbortSignal): Promise<void> {
  const ranges = await waitForNodeCidrs(ctx, signal);
  if (ranges === undefined) return; // stopped before there were any
  await runTasks(signal, {
    rules: (s) => runProxy(ctx, makeBackend, ranges, s),
    nodeCidrs: (s) => watchNodeCidrs(ctx, ranges, s),
  });
}

async function runProxy(
  ctx: AgentContext,
  makeBackend: MakeBackend,
  podRanges: PodRanges,
  signal: AbortSignal,
): Promise<void> {
  const { proxy: settings, nodeName } = ctx.config;
  const facts = await nodeFacts(ctx, podRanges);
  const families = await servedFamilies(ctx, signal);
  const backends = families.map((family) => makeBackend(family, facts, signal));
  const laterLimits = await setProxyLimits(ctx);
  const proxy = new ServiceProxy(
    {
      nodeName,
      mode: settings.mode,
      routeLocalnet: localhostNodePorts(settings),
      minSyncPeriodMs: settings.minSyncPeriodMs,
      syncPeriodMs: settings.syncPeriodMs,
      fullSyncIntervalMs: FULL_SYNC_MS,
      configz: ctx.config.proxyConfigz,
      ...(settings.healthzAddress === undefined ? {} : { healthzAddress: settings.healthzAddress }),
      ...(settings.metricsAddress === undefined ? {} : { metricsAddress: settings.metricsAddress }),
    },
    {
      backends,
      services: ctx.services().store,
      endpointSlices: ctx.endpointSlices().store,
      nodes: ctx.ownNode.store,
      events: ctx.proxyRecorder,
      exec: ctx.exec,
      sysctl: ctx.sysctl,
      lookAtAddresses: async () => void (await ctx.addresses.look()),
      clock: ctx.clock,
      log: ctx.log,
      registry: ctx.registry,
      slis: new SliMetrics(),
    },
  );
  const nft = backends.filter((backend) => backend instanceof NftablesBackend);
  const setAll = (cidrs: readonly string[]) => {
    for (const backend of nft) backend.setServiceCidrs(cidrs);
  };
  const tasks: Record<string, Task> = {
    rules: (s) => proxy.run(s),
    otherMode: otherModeRemoval(ctx, settings.mode, proxy.synced),
    ...(nft.length === 0 ? {} : { serviceCidrs: (s) => followServiceCidrs(ctx, setAll, s) }),
    ...(laterLimits === undefined ? {} : { limits: laterLimits(proxy.synced) }),
  };
  await runTasks(signal, tasks);
}

/** @throws {AgentError} IPTABLES_MISSING */
async function iptablesBackends(ctx: AgentContext, signal: AbortSignal): Promise<MakeBackend> {
  const { exec, config, registry, log } = ctx;
  const variant = await iptablesVariant(exec, signal);
  const packetCounters = new PacketCounters({ exec, registry, log });
  const gauges = ruleGauges(registry);
  return (family, facts, running) => {
    const ready = new ReadyExec(restoreCommand(family), exec);
    running.addEventListener('abort', () => ready[Symbol.dispose](), { once: true });
    const onWritten: IptablesDeps['onWritten'] = (table, { total, written }) => {
      gauges.total.set({ table, ip_family: familyLabel(family) }, total);
      gauges.last.set({ table, ip_family: familyLabel(family) }, written);
    };
    const addresses = currentAddresses(ctx, family, facts);
    const deps = { exec: ready.exec, variant, packetCounters, onWritten, addresses };
    return new IptablesBackend(ruleOptions(family, config.proxy, facts), deps);
  };
}

/** @throws {AgentError} NFTABLES_UNSUPPORTED */
async function nftablesBackends(ctx: AgentContext, signal: AbortSignal): Promise<MakeBackend> {
  const { exec, clock, config, registry } = ctx;
  const { hasObjectComments } = await probeNftables(exec, kernelFacts(), signal);
  const failures = cleanupFailures(registry);
  return (family, facts) => {
    const onCleanupFailure = () => failures.inc({ ip_family: familyLabel(family) });
    const deps = { exec, clock, onCleanupFailure, addresses: currentAddresses(ctx, family, facts) };
    const rules = ruleOptions(family, config.proxy, facts);
    return new NftablesBackend({ ...rules, hasObjectComments, serviceCidrs: [] }, deps);
  };
}

/** Addresses come and go while the proxy runs, and a node may get another one for good. */
function currentAddresses(ctx: AgentContext, family: 4 | 6, facts: NodeFacts): () => NodeAddresses {
  const { config } = ctx;
  return () => {
    const [own, ofNode] = [ownAddresses(ctx), statedAddresses(ctx)];
    const primary = primaryAddresses({ configured: configuredAddresses(config), ofNode, own, atStart: facts.primary });
    return nodeAddresses(family, config.proxy, { ...facts, own, primary });
  };
}

function familyLabel(family: 4 | 6): 'IPv4' | 'IPv6' {
  return family === 4 ? 'IPv4' : 'IPv6';
}

/** What the Node says; nothing before it is known. */
function statedAddresses({ config, ownNode }: AgentContext): readonly string[] {
  const stated = ownNode.store.get(config.nodeName)?.status?.addresses ?? [];
  return stated.filter((a) => a.type === 'InternalIP').map((a) => a.address);
}

/**
 * Both where this host can do both, whatever addresses it has by now, as upstream: those of IPv6 may come hours later. In
 * iptables mode it takes the program as well.
 */
async function servedFamilies(ctx: AgentContext, signal: AbortSignal): Promise<readonly (4 | 6)[]> {
  // Not there either where the kernel has no IPv6.
  if ((await ctx.sysctl.read('net/ipv6/conf/all/disable_ipv6')) !== '0') return [4];
  return ctx.config.proxy.mode === 'nftables' || (await isIptablesUsable(ctx.exec, 6, signal)) ? [4, 6] : [4];
}

/** The variable is upstream's, for distributions that carry what the mode needs in an older kernel. */
function kernelFacts(): KernelFacts {
  return { release: release(), skipVersionCheck: !!process.env.KUBE_PROXY_NFTABLES_SKIP_KERNEL_VERSION_CHECK };
}

/** The node's own address of each family: as configured, else that of the way out. */
async function nodeFacts(ctx: AgentContext, podRanges: PodRanges): Promise<NodeFacts> {
  const { config, sysctl, addresses } = ctx;
  await addresses.look();
  const primary: string[] = [];
  for (const family of [4, 6] as const) {
    const configured = configuredAddresses(config).find((ip) => isIPv6(ip) === (family === 6));
    const ip = configured ?? (await addresses.ofDefaultRoute(family));
    if (ip !== undefined) primary.push(ip);
  }
  const liberal = await sysctl.read('net/netfilter/nf_conntrack_tcp_be_liberal');
  return { own: ownAddresses(ctx), primary, podRanges, acceptsInvalid: liberal !== undefined && liberal !== '0' };
}

function configuredAddresses({ node, proxy }: AgentContext['config']): readonly string[] {
  return [proxy.bindAddress ?? [], ...node.nodeIps].flat();
}

function ownAddresses({ addresses }: AgentContext): readonly string[] {
  return addresses.known.map((a) => a.address);
}
