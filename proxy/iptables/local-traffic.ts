// Packets of pods on this node, in the words of iptables.
import type { LocalTraffic } from '../options.ts';

export interface LocalMatch {
  readonly local: string;
  readonly notLocal: string;
}

export function localMatch(traffic: LocalTraffic): LocalMatch {
  switch (traffic.by) {
    case 'cidr':
      return { local: `-s ${traffic.cidr}`, notLocal: `! -s ${traffic.cidr}` };
    case 'interface':
      return { local: `-i ${traffic.name}`, notLocal: `! -i ${traffic.name}` };
    case 'interface-prefix':
      return { local: `-i ${traffic.prefix}+`, notLocal: `! -i ${traffic.prefix}+` };
  }
}
