// The service proxy: from the configuration to a ServiceProxy that runs.
import { isIPv6 } from 'node:net';
import type { Task } from '../../core/tasks.ts';
import { localAddresses } from '../../host/network-interfaces.ts';
import { detectLocalByCidr, type RuleOptions } from '../../proxy/iptables/options.ts';
import { ServiceProxy } from '../../proxy/proxy.ts';
import type { ProxySettings } from '../config/agent-config.ts';
import type { AgentContext } from './shared.ts';

/** Everything is written anew once an hour, as upstream does, in case somebody changed the rules. */
const FULL_SYNC_MS = 3_600_000;

export function createProxyPart(ctx: AgentContext): { proxy: ServiceProxy; task: Task } {
  const { proxy: settings, nodeName } = ctx.config;
  const proxy = new ServiceProxy(
    {
      nodeName,
      families: [ruleOptions(settings)],
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
  return { proxy, task: (signal) => proxy.run(signal) };
}

function ruleOptions(settings: ProxySettings): RuleOptions {
  return {
    family: 4,
    masqueradeBit: settings.masqueradeBit,
    masqueradeAll: settings.masqueradeAll,
    detectLocal: settings.clusterCidr === '' ? undefined : detectLocalByCidr(settings.clusterCidr),
    localhostNodePorts: settings.localhostNodePorts,
    nodePortIps: settings.nodePortAddresses.length === 0 ? undefined : settings.nodePortAddresses,
    nodeIps: localAddresses()
      .map((a) => a.address)
      .filter((ip) => !isIPv6(ip)),
    randomFully: true,
    dropInvalid: true,
  };
}
