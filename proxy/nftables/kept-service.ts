// What one Service has in the table as it is remembered while the kernel has it: a single text, which takes a fifth of the
// memory of the objects and strings it stands for.
import { fingerprint } from '../fingerprint.ts';
import type { Element, NftService } from './service-rules.ts';
import type { Container } from './table.ts';

export interface KeptService {
  readonly elements: readonly Element[];
  /** What `fingerprint` says of the rules of each chain. */
  readonly chains: ReadonlyMap<string, string>;
  /** Timeouts in seconds by set. */
  readonly affinitySets: ReadonlyMap<string, number>;
}

/** A Service that has nothing. */
export const NOTHING_KEPT: KeptService = { elements: [], chains: new Map(), affinitySets: new Map() };

/** One line for each thing, its first word telling what it is. No part holds a tab or a line break. */
export function packService({ elements, chains, affinitySets }: NftService): string {
  const lines: string[] = [];
  for (const e of elements) lines.push(`element\t${e.container}\t${e.key}\t${e.value}\t${e.comment}`);
  for (const [name, rules] of chains) lines.push(`chain\t${name}\t${fingerprint(rules)}`);
  for (const [name, seconds] of affinitySets) lines.push(`set\t${name}\t${seconds}`);
  return lines.join('\n');
}

export function unpackService(text: string): KeptService {
  const elements: Element[] = [];
  const chains = new Map<string, string>();
  const affinitySets = new Map<string, number>();
  for (const line of text.split('\n')) {
    const [what, name, ...rest] = line.split('\t');
    if (what === 'element') {
      const [key, value, comment] = rest;
      elements.push({ container: name as Container, key: key!, value: value!, comment: comment! });
    } else if (what === 'chain') chains.set(name!, rest[0]!);
    else if (what === 'set') affinitySets.set(name!, Number(rest[0]));
  }
  return { elements, chains, affinitySets };
}
