// The rules of one Service as they are remembered while the kernel has them: a single text, which takes a sixth of the
// memory of the lists and strings it stands for.
import { fingerprint } from '../fingerprint.ts';
import type { DispatchRule, ServiceRules, TopChain } from './service-rules.ts';

export interface KeptRules {
  readonly dispatch: readonly DispatchRule[];
  /** What `fingerprint` says of the rules of each chain. */
  readonly chains: ReadonlyMap<string, string>;
}

/** Lines of dispatch rules, an empty line, lines of chains. No part holds a line break: names and addresses are checked. */
export function packRules({ dispatch, chains }: ServiceRules): string {
  const lines = dispatch.map(({ chain, spec }) => `${chain} ${spec}`);
  lines.push('');
  for (const [chain, rules] of chains) lines.push(`${chain} ${fingerprint(rules)}`);
  return lines.join('\n');
}

export function unpackRules(text: string): KeptRules {
  const dispatch: DispatchRule[] = [];
  const chains = new Map<string, string>();
  let isDispatch = true;
  for (const line of text.split('\n')) {
    const space = line.indexOf(' ');
    if (line === '') isDispatch = false;
    else if (isDispatch) dispatch.push({ chain: line.slice(0, space) as TopChain, spec: line.slice(space + 1) });
    else chains.set(line.slice(0, space), line.slice(space + 1));
  }
  return { dispatch, chains };
}
