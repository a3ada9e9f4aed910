// Settings of a node's rules, for tests: IPv4, pods known by their range, everything that is on by default.
import type { RuleOptions } from './options.ts';

export const RULES: RuleOptions = {
  family: 4,
  masqueradeBit: 14,
  masqueradeAll: false,
  localTraffic: { by: 'cidr', cidr: '10.244.0.0/16' },
  localhostNodePorts: true,
  nodePortIps: undefined,
  nodeIps: ['192.0.2.10'],
  randomFully: true,
  dropInvalid: true,
};
