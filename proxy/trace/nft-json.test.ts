import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { trace } from './evaluate.ts';
import { hostFacts } from './host-facts.ts';
import { parseNftJson } from './nft-json.ts';
import type { Connection } from './way.ts';

type Json = Record<string, unknown>;

const facts = hostFacts(
  [
    { ifname: 'lo', addr_info: [{ local: '127.0.0.1', prefixlen: 8 }] },
    { ifname: 'eth0', addr_info: [{ local: '192.0.2.10', prefixlen: 24 }] },
  ],
  [
    { dst: 'default', dev: 'eth0' },
    { dst: '10.244.0.0/16', dev: 'cni0' },
  ],
  new Map(),
  4,
);

/** A table of one family with a nat chain on prerouting (or another base chain) that holds `rules`. */
function document(rules: readonly Json[][], more: readonly Json[] = [], base: Json = {}): string {
  const at = { family: 'ip', table: 't' };
  const chain = { ...at, name: 'base', type: 'nat', hook: 'prerouting', prio: -100, policy: 'accept', ...base };
  return JSON.stringify({
    nftables: [
      { metainfo: { json_schema_version: 1 } },
      { table: { family: 'ip', name: 't' } },
      { chain },
      ...rules.map((expr) => ({ rule: { ...at, chain: 'base', expr } })),
      ...more.map((o) => Object.fromEntries(Object.entries(o).map(([k, v]) => [k, { ...at, ...(v as Json) }]))),
    ],
  });
}

const connection: Connection = { from: '198.51.100.9', to: '10.96.0.10', port: 80, protocol: 'tcp' };

function run(text: string, c: Connection = connection): { ways: string[]; unknown: readonly string[] } {
  const { ways, unknown } = trace(c, parseNftJson(text, 4), facts);
  const words = ways.map((w) => {
    const to = `${w.destination.ip}:${w.destination.port}`;
    return w.outcome === 'delivered' ? `${to} ${Math.round(w.share * 100)}%` : w.outcome;
  });
  return { ways: words.sort(), unknown };
}

const daddr = { payload: { protocol: 'ip', field: 'daddr' } };
const saddr = { payload: { protocol: 'ip', field: 'saddr' } };
const dport = { payload: { protocol: 'tcp', field: 'dport' } };
const match = (left: unknown, op: string, right: unknown): Json => ({ match: { op, left, right } });
const dnat = { dnat: { addr: '10.244.1.5', port: 8080 } };
const taken = ['10.244.1.5:8080 100%'];
const passed = ['10.96.0.10:80 100%'];

describe('a match', () => {
  test.each<[string, Json, boolean]>([
    ['of an address', match(daddr, '==', '10.96.0.10'), true],
    ['of another address', match(daddr, '==', '10.96.0.11'), false],
    ['of a network', match(daddr, '==', { prefix: { addr: '10.96.0.0', len: 16 } }), true],
    ['of no network', match(saddr, '!=', { prefix: { addr: '10.244.0.0', len: 16 } }), true],
    ['of a set', match(saddr, '!=', { set: ['192.0.2.1', { prefix: { addr: '198.51.100.0', len: 25 } }] }), false],
    ['of a range', match(daddr, '==', { range: ['10.96.0.1', '10.96.0.20'] }), true],
    ['of a range of ports', match(dport, '==', { range: [8000, 9000] }), false],
    ['of a greater port', match(dport, '>', 79), true],
    ['of a port of another protocol', match({ payload: { protocol: 'udp', field: 'dport' } }, '==', 80), false],
    ['of a device', match({ meta: { key: 'iifname' } }, '==', 'eth0'), true],
    ['of devices', match({ meta: { key: 'iifname' } }, '!=', 'eth*'), false],
    ['of states', match({ ct: { key: 'state' } }, 'in', ['established', 'related']), false],
    ['of states with a new one', match({ ct: { key: 'state' } }, 'in', ['new', 'related']), true],
    ['of own addresses', match({ fib: { result: 'type', flags: ['daddr'] } }, '==', 'local'), false],
    ['of a mark', match({ '&': [{ meta: { key: 'mark' } }, 16384] }, '!=', 0), false],
    ['of a named set', match(daddr, '==', '@ips'), true],
  ])('%s', (_what, statement, isTaken) => {
    const ips = {
      set: { name: 'ips', type: 'ipv4_addr', elem: ['10.96.0.9', { elem: { val: '10.96.0.10', timeout: 5 } }] },
    };
    expect(run(document([[statement, dnat]], [ips]))).toEqual({ ways: isTaken ? taken : passed, unknown: [] });
  });
});

test('a map of verdicts sends a packet to a chain; one without an entry goes on', () => {
  const key = { concat: [daddr, { meta: { key: 'l4proto' } }, { payload: { protocol: 'th', field: 'dport' } }] };
  const map = (port: number) => ({
    map: {
      name: 'm',
      map: 'verdict',
      elem: [[{ elem: { val: { concat: ['10.96.0.10', 'tcp', port] } } }, { goto: { target: 'c' } }]],
    },
  });
  const more = [{ chain: { name: 'c' } }, { rule: { chain: 'c', expr: [dnat] } }];
  const text = (port: number) => document([[{ vmap: { key, data: '@m' } }], [{ drop: null }]], [map(port), ...more]);
  expect(run(text(80)).ways).toEqual(taken);
  expect(run(text(81)).ways).toEqual(['dropped']);
  const [way] = trace(connection, parseNftJson(text(80), 4), facts).ways;
  expect(way!.hops[0]).toMatchObject({ table: 'ip t', effect: '→ c', entry: '10.96.0.10 . tcp . 80 : goto c' });
});

test('a random choice of three is followed three ways', () => {
  const ends = [5, 6, 7].map((n, i) => [i, { concat: [`10.244.1.${n}`, 8080] }]);
  const addr = { map: { key: { numgen: { mode: 'random', mod: 3, offset: 0 } }, data: { set: ends } } };
  const { ways } = run(document([[{ dnat: { family: 'ip', addr } }]]));
  expect(ways).toEqual(['10.244.1.5:8080 33%', '10.244.1.6:8080 33%', '10.244.1.7:8080 33%']);
});

test('a random choice that leaves out a number goes on for that share', () => {
  const half = match({ numgen: { mode: 'inc', mod: 4, offset: 0 } }, '<', 1);
  expect(run(document([[half, dnat]])).ways).toEqual(['10.244.1.5:8080 25%', '10.96.0.10:80 75%']);
});

test('goto does not come back to the chain that it left, jump does', () => {
  const text = (kind: 'goto' | 'jump') =>
    document([[{ [kind]: { target: 'c' } }], [{ drop: null }]], [{ chain: { name: 'c' } }]);
  expect(run(text('goto')).ways).toEqual(passed);
  expect(run(text('jump')).ways).toEqual(['dropped']);
});

test('a chain drops by its policy what no rule accepts', () => {
  const base = { type: 'filter', hook: 'forward', prio: 0, policy: 'drop' };
  expect(run(document([[match(dport, '==', 81), { accept: null }]], [], base)).ways).toEqual(['dropped']);
  expect(run(document([[match(dport, '==', 80), { accept: null }]], [], base)).ways).toEqual(passed);
});

test('rules of the other family are left out, and those that cannot be judged are named', () => {
  const text = document([[{ xt: null }], [match({ osf: { key: 'name' } }, '==', 'Linux'), { drop: null }]]);
  const { ways, unknown } = run(text);
  expect(ways).toEqual(passed);
  expect(unknown).toHaveLength(2);
  expect(unknown[1]).toContain('osf');
  expect(parseNftJson(text, 6)).toEqual([]);
});

test('chains that jump to each other end with an error, not with the process', () => {
  const loop = document(
    [[{ jump: { target: 'c' } }]],
    [{ chain: { name: 'c' } }, { rule: { chain: 'c', expr: [{ jump: { target: 'c' } }] } }],
  );
  expect(() => run(loop)).toThrow(expect.objectContaining({ code: 'TRACE_UNBOUNDED' }));
});

test('whatever stands in a rule, the answer is a trace or an AgentError', () => {
  const leaf = fc.oneof(fc.jsonValue({ maxDepth: 1 }), fc.constantFrom('10.96.0.10', '@m', 'mark', 'new', 80, '*'));
  const words = 'op left right key data set map elem val concat prefix addr len range meta ct fib numgen mod payload'
    .concat(' protocol field target port | & ^ flags result accept drop goto')
    .split(' ');
  const { value } = fc.letrec((tie) => ({
    value: fc.oneof(
      { maxDepth: 5 },
      leaf,
      fc.array(tie('value'), { maxLength: 3 }),
      fc.dictionary(fc.constantFrom(...words), tie('value'), { maxKeys: 3 }),
    ),
  }));
  const kinds = ['match', 'vmap', 'dnat', 'mangle', 'jump', 'snat', 'counter', 'weird'];
  const statement = fc.dictionary(fc.constantFrom(...kinds), value, { minKeys: 1, maxKeys: 1 });
  fc.assert(
    fc.property(fc.array(statement as fc.Arbitrary<Json>, { maxLength: 3 }), (expr) => {
      try {
        const { ways } = trace(connection, parseNftJson(document([expr]), 4), facts);
        expect(ways.reduce((sum, w) => sum + w.share, 0)).toBeCloseTo(1, 6);
      } catch (err) {
        expect(err).toMatchObject({ code: 'RULES_UNREADABLE' });
      }
    }),
    { numRuns: 2_000, seed: 4 }, // always the same ones: 200,000 others were tried once
  );
});
