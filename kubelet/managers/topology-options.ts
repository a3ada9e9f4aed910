// topologyManagerPolicyOptions. Pure. After pkg/kubelet/cm/topologymanager/policy_options.go.
import { parseGoBool } from './cpu/cpu-policy-options.ts';

export interface TopologyOptions {
  readonly preferClosest: boolean;
  /** A machine with more NUMA nodes cannot be a node: every set of them is looked at. */
  readonly maxNodes: number;
}

const DEFAULT_MAX_NODES = 8;

export const NO_TOPOLOGY_OPTIONS: TopologyOptions = Object.freeze({
  preferClosest: false,
  maxNodes: DEFAULT_MAX_NODES,
});

/** `faults`: each a sentence about one option. */
export function parseTopologyOptions(options: Readonly<Record<string, string>>): {
  readonly options: TopologyOptions;
  readonly faults: readonly string[];
} {
  const faults: string[] = [];
  let { preferClosest, maxNodes } = NO_TOPOLOGY_OPTIONS;
  for (const [name, value] of Object.entries(options)) {
    if (name === 'prefer-closest-numa-nodes') {
      const on = parseGoBool(value);
      if (on === undefined) faults.push(`bad value for option "${name}": expected true or false, got "${value}"`);
      preferClosest = on ?? false;
    } else if (name === 'max-allowable-numa-nodes') {
      maxNodes = /^\d{1,4}$/.test(value) ? Number(value) : 0;
      if (maxNodes < DEFAULT_MAX_NODES) {
        faults.push(
          `bad value for option "${name}": expected a number of at least ${DEFAULT_MAX_NODES}, got "${value}"`,
        );
      }
    } else faults.push(`unknown Topology Manager Policy option: "${name}"`);
  }
  return { options: { preferClosest, maxNodes }, faults };
}
