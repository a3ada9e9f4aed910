// The rules of one Service as they are remembered while the kernel has them: a single text, which takes a sixth of the
// memory of the lists and strings it stands for.
import { fingerprint } from '../fingerprint.ts';
import type { DispatchRule, ServiceRules, TopChain } from './service-rules.ts';

export interface KeptRules {
  readonly dispatch: readonly DispatchRule[];
  /** Number of rules in its own chains. */
  readonly ownRules: number;
  /** What `fingerprint` says of the rules of each chain. */
  readonly chains: ReadonlyMap<string, string>;
}

export function keptOf({ dispatch, chains: own }: ServiceRules): KeptRules {
  let ownRules = 0;
  const chains = new Map<string, string>();
  for (const [chain, rules] of own) {
    ownRules += rules.length;
    chains.set(chain, fingerprint(rules));
  }
  return { dispatch, ownRules, chains };
}

/**
 * Lines of dispatch rules, an empty line, the number of its own rules, lines of chains. No part holds a line break: names
 * and addresses are checked.
 */
export function packRules({ dispatch, ownRules, chains }: KeptRules): string {
  const lines = dispatch.map(({ chain, spec }) => `${chain} ${spec}`);
  lines.push('', String(ownRules));
  for (const [chain, print] of chains) lines.push(`${chain} ${print}`);
  return lines.join('\n');
}

export function unpackRules(text: string): KeptRules {
  const dispatch: DispatchRule[] = [];
  const chains = new Map<string, string>();
  const lines = text.split('\n');
  const end = lines.indexOf('');
  for (const line of lines.slice(0, end)) {
    const space = line.indexOf(' ');
    dispatch.push({ chain: line.slice(0, space) as TopChain, spec: line.slice(space + 1) });
  }
  for (const line of lines.slice(end + 2)) {
    const space = line.indexOf(' ');
    chains.set(line.slice(0, space), line.slice(space + 1));
  }
  return { dispatch, ownRules: Number(lines[end + 1]), chains };
}
