// The managers of CPUs, memory and NUMA nodes: from the KubeletConfiguration to their settings, and the rules between them
// (pkg/kubelet/cm/cpumanager/policy_options.go, topologymanager/policy_options.go).
import { parseCpuPolicyOptions } from '../../kubelet/managers/cpu/cpu-policy-options.ts';
import type { ManagerSettings } from '../../kubelet/managers/settings.ts';
import { parseTopologyOptions } from '../../kubelet/managers/topology-options.ts';
import type { KubeletSettings } from './rules.ts';
import type { Report } from './values.ts';

type Gates = ReadonlyMap<string, boolean>;

export function managerSettings(c: KubeletSettings, gates: Gates): ManagerSettings {
  return {
    cpuPolicy: c.cpuManagerPolicy || 'none',
    cpuPolicyOptions: cpuOptions(c, gates).options,
    cpuReconcilePeriodMs: c.cpuManagerReconcilePeriod,
    reservedSystemCpus: c.reservedSystemCPUs,
    keepCpuQuota: gates.get('DisableCPUQuotaWithExclusiveCPUs') === false,
    memoryPolicy: c.memoryManagerPolicy || 'None',
    reservedMemory: (c.reservedMemory ?? []).map(({ numaNode, limits }) => ({
      numaNode: numaNode ?? 0,
      limits: limits ?? {},
    })),
    topologyPolicy: c.topologyManagerPolicy || 'none',
    topologyScope: c.topologyManagerScope || 'container',
    topologyOptions: parseTopologyOptions(c.topologyManagerPolicyOptions ?? {}).options,
  };
}

export function checkManagers(c: KubeletSettings, gates: Gates, report: Report): void {
  const { options, faults } = cpuOptions(c, gates);
  for (const fault of faults) report('cpuManagerPolicyOptions', fault);
  const isNone = (c.cpuManagerPolicy || 'none') === 'none';
  if (isNone && Object.keys(c.cpuManagerPolicyOptions ?? {}).length > 0) {
    report('cpuManagerPolicyOptions', 'expected to be left out with cpuManagerPolicy: none');
  }
  if (options.alignBySocket && c.topologyManagerPolicy === 'single-numa-node') {
    report('cpuManagerPolicyOptions', 'align-by-socket does not go with topologyManagerPolicy: single-numa-node');
  }
  for (const fault of parseTopologyOptions(c.topologyManagerPolicyOptions ?? {}).faults) {
    report('topologyManagerPolicyOptions', fault);
  }
}

function cpuOptions(c: KubeletSettings, gates: Gates) {
  return parseCpuPolicyOptions(c.cpuManagerPolicyOptions ?? {}, (gate) => gates.get(gate) === true);
}
