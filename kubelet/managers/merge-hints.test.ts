import { expect, test } from 'vitest';
import { fakeMachine } from './fake-machine.ts';
import type { ResourceHints, TopologyHint } from './hint-provider.ts';
import { mergeHints, type TopologyPolicy } from './merge-hints.ts';
import { nodesIn } from './numa-mask.ts';

/** `01+`: preferred on nodes 0 and 1 of the bits written lowest last; `*`: anywhere. */
function hint(text: string): TopologyHint {
  const preferred = text.endsWith('+');
  const bits = text.replace('+', '');
  return { nodes: bits === '*' ? undefined : BigInt(`0b${bits}`), preferred };
}

function hints(...resources: (string | 'any')[]): ResourceHints {
  return new Map(
    resources.map((list, i) => [
      `r${i}`,
      list === 'any'
        ? 'any'
        : list
            .split(' ')
            .filter((t) => t !== '')
            .map(hint),
    ]),
  );
}

const TWO = fakeMachine({ sockets: 2, cores: 2 }).nodes;

function merge(policy: TopologyPolicy, managers: ResourceHints[], nodes = TWO, preferClosest = false) {
  const { hint: found, admitted } = mergeHints(managers, { policy, nodes, preferClosest });
  const where = found.nodes === undefined ? '*' : nodesIn(found.nodes).join('');
  return `${where}${found.preferred ? '+' : ''}${admitted ? '' : ' refused'}`;
}

test.each<[string, ResourceHints[], string, string, string]>([
  // what managers say, then what best-effort, restricted and single-numa-node make of it
  ['nobody minds', [new Map(), hints('any')], '01+', '01+', '*+'],
  ['one manager has a wish', [hints('01+ 10+ 11'), new Map()], '0+', '0+', '0+'],
  ['all agree on one node', [hints('01+ 11'), hints('01+ 10+ 11')], '0+', '0+', '0+'],
  ['the lower node of two that would do', [hints('01+ 10+'), hints('01+ 10+')], '0+', '0+', '0+'],
  ['only the second node is common', [hints('10+ 11'), hints('01+ 10+ 11')], '1+', '1+', '1+'],
  ['preferred ones lie apart', [hints('01+'), hints('10+')], '01', '01 refused', '* refused'],
  ['preferred by one, possible for the other', [hints('01+ 10+ 11'), hints('11')], '01', '01 refused', '* refused'],
  ['a resource cannot be had anywhere', [hints('01+'), hints('')], '0', '0 refused', '* refused'],
  ['both nodes are needed and preferred', [hints('11+'), hints('11+')], '01+', '01+', '* refused'],
  ['two resources of one manager', [hints('01+ 10+', '10+ 11')], '1+', '1+', '1+'],
  ['a preferred pair against a single one', [hints('11+'), hints('01+ 10+')], '0', '0 refused', '* refused'],
])('%s', (_, managers, bestEffort, restricted, single) => {
  expect(merge('best-effort', managers)).toBe(bestEffort);
  expect(merge('restricted', managers)).toBe(restricted);
  expect(merge('single-numa-node', managers)).toBe(single);
});

test('among what nobody prefers, as many nodes as the most modest wish of the neediest', () => {
  const four = fakeMachine({ sockets: 4, cores: 2 }).nodes;
  // One needs two nodes at least: a merged hint of one node would serve it badly.
  expect(merge('best-effort', [hints('0011 1100 1111'), hints('0001 0011 1111')], four)).toBe('01');
});

test('eight nodes and four managers with a wish for every set of them', () => {
  const eight = fakeMachine({ sockets: 2, numaNodes: 4, cores: 4 }).nodes;
  const every = Array.from({ length: 255 }, (_, i) => ({ nodes: BigInt(i + 1), preferred: i > 200 }));
  const managers = Array.from({ length: 4 }, (_, i) => new Map([[`r${i}`, every]]));
  expect(merge('restricted', managers, eight)).toBe('467+'); // the first three nodes beyond the 200th set
});

test('nodes that are close to each other, when asked for', () => {
  const nodes = [
    { id: 0, distances: [10, 40, 20, 40] },
    { id: 1, distances: [40, 10, 40, 11] },
    { id: 2, distances: [20, 40, 10, 40] },
    { id: 3, distances: [40, 11, 40, 10] },
  ];
  const managers = [hints('0011+ 0101+ 1010+ 1100+')];
  const by = (preferClosest: boolean, policy: TopologyPolicy = 'best-effort') => {
    const { hint: found } = mergeHints(managers, { policy, nodes, preferClosest });
    return found.nodes === undefined ? '*' : nodesIn(found.nodes).join('');
  };
  expect(by(false)).toBe('01');
  expect(by(true)).toBe('13');
  expect(by(true, 'single-numa-node')).toBe('*');
});
