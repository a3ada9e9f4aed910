// The service proxy: from the configuration to a ServiceProxy that runs.
import { isIPv6 } from 'node:net';
import { cidrContains, parseCidr, parseIp } from '../../api/cidr.ts';
import { AgentError } from '../../core/errors.ts';
import { localAddresses } from '../../host/network-interfaces.ts';
import { detectLocalByCidr, type RuleOptions } from '../../proxy/iptables/options.ts';
import { ServiceProxy } from '../../proxy/proxy.ts';
import type { ProxySettings } from '../config/agent-config.ts';
import type { AgentContext } from './shared.ts';

/** Everything is written anew once an hour, as upstream does: flushes are noticed sooner, other meddling is not. */
const FULL_SYNC_MS = 3_600_000;

/** @throws {AgentError} CONFIG_INVALID for a mode that is not there yet. */
export function createProxyPart(ctx: AgentContext): ServiceProxy {
  const { proxy: settings, nodeName } = ctx.config;
  if (settings.mode !== 'iptables') {
    throw new AgentError(`--proxy-mode=${settings.mode}: only iptables is supported so far`, {
      code: 'CONFIG_INVALID',
    });
  }
  return new ServiceProxy(
    {
      nodeName,
      families: [ruleOptions(settings, ctx.config.node.nodeIps)],
      minSyncPeriodMs: settings.minSyncPeriodMs,
      syncPeriodMs: settings.syncPeriodMs,
      fullSyncIntervalMs: FULL_SYNC_MS,
      ...(settings.healthzAddress === undefined ? {} : { healthzAddress: settings.healthzAddress }),
      ...(settings.metricsAddress === undefined ? {} : { metricsAddress: settings.metricsAddress }),
    },
    {
      services: ctx.services().store,
      endpointSlices: ctx.endpointSlices().store,
      nodes: ctx.ownNode.store,
      exec: ctx.exec,
      sysctl: ctx.sysctl,
      clock: ctx.clock,
      log: ctx.log,
      registry: ctx.registry,
    },
  );
}

function ruleOptions(settings: ProxySettings, nodeIps: readonly string[]): RuleOptions {
  const own = localAddresses()
    .map((a) => a.address)
    .filter((ip) => !isIPv6(ip));
  return {
    family: 4,
    masqueradeBit: settings.masqueradeBit,
    masqueradeAll: settings.masqueradeAll,
    detectLocal: settings.clusterCidr === '' ? undefined : detectLocalByCidr(settings.clusterCidr),
    localhostNodePorts: settings.localhostNodePorts,
    nodePortIps: nodePortIps(settings.nodePortAddresses, own, nodeIps),
    nodeIps: own,
    randomFully: true,
    dropInvalid: true,
  };
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
