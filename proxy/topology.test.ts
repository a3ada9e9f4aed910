import { describe, expect, test } from 'vitest';
import { planPort } from './port-plan.ts';
import type { Endpoint, ServicePort } from './service-map.ts';
import { chooseEndpoints } from './topology.ts';

const NODE = { nodeName: 'a', zone: 'z1' };

const port: ServicePort = {
  serviceKey: 'ns/web',
  nameString: 'ns/web:p',
  portId: 'p/TCP',
  protocol: 'TCP',
  clusterIp: '10.96.0.1',
  port: 80,
  nodePort: undefined,
  externalIps: [],
  loadBalancerVips: [],
  sourceRanges: [],
  affinitySeconds: undefined,
  externalPolicyLocal: false,
  internalPolicyLocal: false,
  healthCheckNodePort: undefined,
};
const internalLocal = { ...port, internalPolicyLocal: true };
const externalLocal = { ...port, nodePort: 30_000, externalPolicyLocal: true };

interface Shape {
  /** The last number of its address. */
  readonly n: number;
  readonly here?: boolean;
  readonly state?: 'ready' | 'draining' | 'unready' | 'gone';
  readonly zones?: readonly string[];
  readonly nodes?: readonly string[];
}

function endpoint({ n, here = false, state = 'ready', zones = [], nodes = [] }: Shape): Endpoint {
  return {
    ip: `10.0.0.${n}`,
    port: 80,
    address: `10.0.0.${n}:80`,
    isLocal: here,
    ready: state === 'ready',
    serving: state === 'ready' || state === 'draining',
    terminating: state === 'draining' || state === 'gone',
    zoneHints: zones,
    nodeHints: nodes,
  };
}

const numbers = (list: readonly Endpoint[]) => list.map((e) => Number(e.ip.split('.')[3])).sort();

function choose(
  of: ServicePort,
  shapes: readonly Shape[],
  node: { nodeName: string; zone: string | undefined } = NODE,
) {
  const { cluster, local, reachable, hasAny } = chooseEndpoints(of, shapes.map(endpoint), node);
  return { cluster: numbers(cluster), local: numbers(local), reachable: numbers(reachable), hasAny };
}

describe('hints', () => {
  const zoned = [
    { n: 1, zones: ['z1'] },
    { n: 2, zones: ['z1', 'z2'] },
    { n: 3, zones: ['z2'] },
  ];

  test('of zones keep traffic in the zone of the node', () => {
    expect(choose(port, zoned).cluster).toEqual([1, 2]);
    expect(choose(port, zoned, { nodeName: 'a', zone: 'z2' }).cluster).toEqual([2, 3]);
  });

  test.each([
    ['a node without a zone', zoned, { nodeName: 'a', zone: undefined }],
    ['a zone that has no endpoint', zoned, { nodeName: 'a', zone: 'z9' }],
    ['one ready endpoint without them', [...zoned, { n: 4 }], NODE],
  ])('are not heeded for %s', (_why, shapes, node) => {
    expect(choose(port, shapes, node).cluster).toEqual(shapes.map((s) => s.n));
  });

  test('of an endpoint that is not ready do not count', () => {
    expect(choose(port, [...zoned, { n: 4, state: 'unready' }]).cluster).toEqual([1, 2]);
  });

  test('of nodes come before those of zones, where one names this node', () => {
    const both = [
      { n: 1, zones: ['z1'], nodes: ['a'] },
      { n: 2, zones: ['z1'], nodes: ['b'] },
      { n: 3, zones: ['z2'], nodes: ['c'] },
    ];
    expect(choose(port, both).cluster).toEqual([1]);
    expect(choose(port, both, { nodeName: 'd', zone: 'z1' }).cluster).toEqual([1, 2]);
    expect(choose(port, both, { nodeName: 'd', zone: 'z3' }).cluster).toEqual([1, 2, 3]);
  });

  test('do not narrow what the Local policy allows, and that is reachable as well', () => {
    const shapes = [
      { n: 1, zones: ['z1'] },
      { n: 2, here: true, zones: ['z2'] },
    ];
    expect(choose(externalLocal, shapes)).toMatchObject({ cluster: [1], local: [2], reachable: [1, 2] });
    expect(choose(internalLocal, shapes)).toMatchObject({ local: [2], reachable: [2] });
  });
});

describe('policies', () => {
  const bothLocal = { ...externalLocal, internalPolicyLocal: true };
  const nodePort = { ...internalLocal, nodePort: 30_000 };
  const mixed: Shape[] = [{ n: 1, here: true }, { n: 2 }];
  const away: Shape[] = [{ n: 1 }, { n: 2 }];
  const leavingAway: Shape[] = [
    { n: 1, state: 'draining' },
    { n: 2, state: 'draining' },
  ];
  const shifting: Shape[] = [
    { n: 1 },
    { n: 2, here: true, state: 'unready' },
    { n: 3, here: true, state: 'draining' },
    { n: 4, state: 'draining' },
  ];
  test.each<[string, ServicePort, Shape[], number[], number[], number[], boolean]>([
    ['internal Local, of cluster clients alone', internalLocal, mixed, [], [1], [1], true],
    ['internal Local, endpoints elsewhere', internalLocal, away, [], [], [], true],
    ['internal Local, none', internalLocal, [], [], [], [], false],
    ['internal Local beside a node port', nodePort, mixed, [1, 2], [1], [1, 2], true],
    ['external Local', externalLocal, mixed, [1, 2], [1], [1, 2], true],
    [
      'external Local that nothing outside can reach',
      { ...port, externalPolicyLocal: true },
      mixed,
      [1, 2],
      [],
      [1, 2],
      true,
    ],
    ['both Local', bothLocal, mixed, [1, 2], [1], [1, 2], true],
    ['both Local, endpoints elsewhere', bothLocal, away, [1, 2], [], [1, 2], true],
    ['both Local, endpoints that shut down elsewhere', bothLocal, leavingAway, [1, 2], [], [1, 2], true],
    ['external Local, one that shuts down here', externalLocal, shifting, [1], [3], [1, 3], true],
    ['Cluster, none ready', port, [{ n: 1, state: 'unready' }], [], [], [], false],
  ])('%s', (_what, of, shapes, cluster, local, reachable, hasAny) => {
    expect(choose(of, shapes)).toEqual({ cluster, local, reachable, hasAny });
  });

  test('a zone that has but endpoints that are not ready is one without any', () => {
    const shapes: Shape[] = [
      { n: 1, state: 'unready', zones: ['z1'] },
      { n: 2, zones: ['z2'] },
      { n: 3, zones: ['z3'] },
    ];
    expect(choose(port, shapes).cluster).toEqual([2, 3]);
  });
});

describe('endpoints that shut down', () => {
  test('serve while none is ready, whatever the hints', () => {
    const shapes: Shape[] = [
      { n: 1, state: 'draining', zones: ['z2'] },
      { n: 2, state: 'draining', zones: ['z1'] },
      { n: 3, state: 'gone' },
      { n: 4, state: 'unready' },
    ];
    expect(choose(port, shapes)).toMatchObject({ cluster: [1, 2], hasAny: true });
    expect(choose(port, [...shapes, { n: 5 }]).cluster).toEqual([5]);
  });

  test('serve here under the Local policy, though there are ready ones elsewhere', () => {
    const shapes: Shape[] = [{ n: 1, here: true, state: 'draining' }, { n: 2 }];
    expect(choose(externalLocal, shapes)).toMatchObject({ cluster: [2], local: [1], reachable: [1, 2] });
    expect(choose(internalLocal, shapes)).toMatchObject({ local: [1], reachable: [1] });
  });
});

test.each([
  ['nothing at all', [], 'none', 'none'],
  ['only what is not ready', [{ n: 1, here: true, state: 'unready' }], 'none', 'none'],
  ['some elsewhere', [{ n: 1 }], 'none-local', 'none-local'],
  ['some that shut down elsewhere', [{ n: 1, state: 'draining' }], 'none-local', 'none-local'],
  ['some here', [{ n: 1, here: true }], undefined, undefined],
] as const)(
  'with %s, traffic under the Local policy is refused, dropped or served',
  (_what, shapes, internal, external) => {
    const endpoints = shapes.map(endpoint);
    expect(planPort(internalLocal, endpoints, NODE).internalBlocked).toBe(internal);
    expect(planPort(externalLocal, endpoints, NODE).externalBlocked).toBe(external);
    // The other policy stays Cluster: it is blocked by a lack of endpoints alone.
    const blocked = internal === 'none' ? 'none' : undefined;
    expect(planPort(externalLocal, endpoints, NODE).internalBlocked).toBe(blocked);
    expect(planPort(port, endpoints, NODE)).toMatchObject({ internalBlocked: blocked, usesExternal: false });
  },
);
