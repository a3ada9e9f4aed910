import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Node, ObjectReference } from '../../api/kinds.ts';
import { leases, nodes } from '../../api/resources.ts';
import { FakeApi } from '../../client/fake-client.ts';
import { Store } from '../../client/store.ts';
import { AgentError } from '../../core/errors.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { type Logger, silentLog } from '../../core/log.ts';
import { factsOf } from './fake-facts.ts';
import { NodeLease } from './lease.ts';
import type { NodeFacts } from './node-status.ts';
import { NodeStatusLoop } from './status-loop.ts';

const identity = {
  nodeName: 'n1',
  hostname: 'n1',
  architecture: 'amd64',
  labels: { rack: 'r1' },
  taints: [],
  providerId: undefined,
  controllerManagedAttachDetach: true,
};

let clock: FakeClock;
let api: FakeApi;
let facts: NodeFacts;
let events: string[];
let texts: string[];
let informed: Store<Node>;
let loop: NodeStatusLoop;
let looked: Promise<void>;
let stop: AbortController;
let ended: Promise<void>;

beforeEach(() => {
  clock = new FakeClock();
  api = new FakeApi({ now: () => clock.now() });
  facts = factsOf({ notReady: ['network state unknown'] });
  events = [];
  texts = [];
  informed = new Store<Node>();
  looked = Promise.resolve();
  loop = loopWith(silentLog);
  stop = new AbortController();
  ended = Promise.resolve();
});
afterEach(async () => {
  stop.abort();
  await ended;
  expect(clock.sleeping).toBe(0);
});

function loopWith(log: Logger): NodeStatusLoop {
  return new NodeStatusLoop(
    { identity, registerNode: true, updateMs: 10_000, reportMs: 300_000 },
    {
      client: api,
      ownNode: informed,
      events: {
        event: (_: ObjectReference, type, reason, message) => {
          events.push(reason);
          texts.push(`${type} ${reason} ${message}`);
        },
      },
      clock,
      log,
      facts: async () => facts,
      looked,
      random: () => 0.5,
    },
  );
}

const start = () => {
  ended = loop.run(stop.signal);
};
const node = () => api.get(nodes, { name: 'n1' });
const patches = () => api.requests.filter((r) => r.verb === 'patch');
const readyOf = (n: Node) => n.status?.conditions?.find((c) => c.type === 'Ready')?.status;

test('the node is made at once, and Ready is posted on request, not at the next tick', async () => {
  start();
  await clock.advance(0);
  const made = await node();
  expect(made.metadata?.labels).toMatchObject({ 'kubernetes.io/os': 'linux', rack: 'r1' });
  expect(readyOf(made)).toBe('False');
  facts = factsOf();
  loop.request();
  await clock.advance(60); // the pause that folds bursts
  expect(readyOf(await node())).toBe('True');
  expect(events).toContain('NodeReady');
});

test('describe node tells of the start: Starting, then what the node has enough of', async () => {
  start();
  await clock.advance(1000);
  expect(events).toEqual(['Starting', 'NodeHasSufficientMemory', 'NodeHasNoDiskPressure', 'NodeHasSufficientPID']);
});

test('cordoning and uncordoning are told as the node sees them', async () => {
  facts = factsOf();
  start();
  await clock.advance(1000);
  const found = await node();
  await api.update(nodes, { name: 'n1' }, { ...found, spec: { ...found.spec, unschedulable: true } });
  informed.replace([await node()]);
  await clock.advance(10_000);
  await api.update(nodes, { name: 'n1' }, { ...(await node()), spec: {} });
  informed.replace([await node()]);
  await clock.advance(10_000);
  expect(texts).toContain('Normal NodeNotSchedulable Node n1 status is now: NodeNotSchedulable');
  expect(texts).toContain('Normal NodeSchedulable Node n1 status is now: NodeSchedulable');
});

test('a reboot is told once, with the new boot id', async () => {
  await api.create<Node>(nodes, {}, { metadata: { name: 'n1' }, status: { nodeInfo: { bootID: 'old' } } } as Node);
  facts = factsOf();
  start();
  await clock.advance(1000);
  loop.request();
  await clock.advance(10_000);
  const told = texts.filter((t) => t.includes('Rebooted'));
  expect(told).toEqual([`Warning Rebooted Node n1 has been rebooted, boot id: ${facts.machine.bootId}`]);
});

test('an unchanged status is reported every five minutes, not every ten seconds', async () => {
  facts = factsOf();
  start();
  await clock.advance(1000);
  const before = patches().length;
  await clock.advance(280_000);
  expect(patches().length).toBe(before);
  await clock.advance(40_000);
  expect(patches().length).toBe(before + 1);
});

test('an existing node is reconciled: own labels and status, but neither spec nor conditions of others', async () => {
  await api.create(
    nodes,
    {},
    {
      metadata: { name: 'n1', labels: { 'kubernetes.io/arch': 'sparc', mine: 'x' } },
      spec: { podCIDR: '10.244.1.0/24', taints: [{ key: 'k', effect: 'NoSchedule' }] },
      status: { conditions: [{ type: 'NetworkUnavailable', status: 'False' }] },
    },
  );
  start();
  await clock.advance(1000);
  const found = await node();
  expect(found.metadata?.labels).toMatchObject({ 'kubernetes.io/arch': 'amd64', mine: 'x' });
  expect(found.metadata?.labels?.rack).toBeUndefined(); // --node-labels apply on creation only
  expect(found.spec).toMatchObject({ podCIDR: '10.244.1.0/24', taints: [{ key: 'k' }] });
  expect(found.status?.conditions?.map((c) => c.type)).toContain('NetworkUnavailable');
  expect(readyOf(found)).toBe('False');
  for (const p of patches()) expect(p.subresource).toBe('status');
});

test('registration goes on through an outage', async () => {
  const outage = new AgentError('connection refused', { code: 'API_UNREACHABLE' });
  for (let i = 0; i < 3; i++) api.failNext('create', outage, 'nodes');
  start();
  await clock.advance(100 + 200 + 400);
  expect((await node()).metadata?.name).toBe('n1');
});

test('a lost status update is tried again in the same round with a fresh read', async () => {
  start();
  await clock.advance(1000);
  api.failNext('patch', new AgentError('reset', { code: 'API_UNREACHABLE' }), 'nodes');
  facts = factsOf();
  loop.request();
  await clock.advance(60);
  expect(readyOf(await node())).toBe('True');
});

test('a server that came back with an older store is told within a round what it does not know any more', async () => {
  facts = factsOf();
  start();
  await clock.advance(1000);
  expect(readyOf(await node())).toBe('True');
  // What is stored now says otherwise, and its version is one that was passed long ago.
  const unknown = [{ type: 'Ready', status: 'Unknown', reason: 'NodeStatusUnknown' }];
  await api.patch(nodes, { name: 'n1' }, { type: 'strategic', body: { status: { conditions: unknown } } });
  const found = await node();
  informed.replace([{ ...found, metadata: { ...found.metadata, resourceVersion: '0' } }]);
  await clock.advance(20_000);
  expect(readyOf(await node())).toBe('True');
});

test('of versions that nobody can compare our own last answer counts, without asking for the Node each time', async () => {
  start();
  await clock.advance(0);
  const made = await node();
  informed.replace([{ ...made, metadata: { ...made.metadata, resourceVersion: 'before-that' } }]);
  api.requests.length = 0;
  facts = factsOf();
  loop.request();
  await clock.advance(60);
  expect(api.requests.map((r) => r.verb)).toEqual(['patch']);
});

test('a Node that somebody deleted is missed within a round, told of each time, and not made anew', async () => {
  const told: unknown[] = [];
  const log = { ...silentLog, child: () => log, error: (fields: { err: AgentError }) => told.push(fields.err.code) };
  loop = loopWith(log as unknown as Logger);
  facts = factsOf();
  start();
  await clock.advance(1_000);
  informed.replace([await node()]);
  await api.delete(nodes, { name: 'n1' });
  informed.replace([]);
  await clock.advance(30_000);
  expect(told).toEqual(['NODE_GONE', 'NODE_GONE', 'NODE_GONE']);
  await expect(node()).rejects.toMatchObject({ code: 'NotFound' });
  await api.create<Node>(nodes, {}, { metadata: { name: 'n1' } } as Node); // somebody else may
  await clock.advance(11_000);
  expect(readyOf(await node())).toBe('True');
});

test('a dual-stack change replaces the addresses', async () => {
  start();
  await clock.advance(1000);
  const addresses = ['10.0.0.2', 'fd00::2'].map((address) => ({ type: 'InternalIP', address }));
  facts = factsOf({ addresses });
  loop.request();
  await clock.advance(60);
  expect((await node()).status?.addresses).toEqual(addresses);
});

test('the lease waits for the node, then is renewed every ten seconds and survives its deletion', async () => {
  const opts = { nodeName: 'n1', durationSeconds: 40, callTimeoutMs: 10_000 };
  const lease = new NodeLease(opts, { client: api, clock, log: silentLog, random: () => 0 });
  ended = lease.run(stop.signal);
  await clock.advance(0);
  const at = { namespace: 'kube-node-lease', name: 'n1' };
  await expect(api.get(leases, at)).rejects.toThrow();
  await api.create<Node>(nodes, {}, { metadata: { name: 'n1' } });
  const { metadata } = await node();
  await clock.advance(10_000);
  const first = await api.get(leases, at);
  expect(first.spec).toMatchObject({ holderIdentity: 'n1', leaseDurationSeconds: 40 });
  expect(first.metadata?.ownerReferences).toEqual([{ apiVersion: 'v1', kind: 'Node', name: 'n1', uid: metadata?.uid }]);
  await clock.advance(10_000);
  const second = await api.get(leases, at);
  expect(Date.parse(second.spec!.renewTime!) - Date.parse(first.spec!.renewTime!)).toBe(10_000);
  await api.update(leases, at, { ...second, metadata: { ...second.metadata, labels: { touched: 'yes' } } });
  await clock.advance(10_000); // conflict: read again, renew
  expect((await api.get(leases, at)).spec?.renewTime).not.toBe(second.spec?.renewTime);
  await api.delete(leases, at);
  await clock.advance(10_000);
  expect((await api.get(leases, at)).spec?.holderIdentity).toBe('n1');
});

test('a node that is Ready stays so until the runtime has been asked, but not for long', async () => {
  facts = factsOf();
  start();
  await clock.advance(0);
  loop.request();
  await clock.advance(100);
  expect(readyOf(await node())).toBe('True');
  stop.abort();
  await ended;
  const look = Promise.withResolvers<void>();
  const restarted = (answer: Promise<void>) => {
    facts = factsOf({ notReady: ['container runtime status check may not have completed yet'] });
    looked = answer;
    stop = new AbortController();
    loop = loopWith(silentLog);
    start();
  };
  restarted(look.promise);
  await clock.advance(100);
  expect(readyOf(await node())).toBe('True');
  facts = factsOf();
  look.resolve();
  await clock.advance(100);
  expect(readyOf(await node())).toBe('True');
  stop.abort();
  await ended;
  restarted(new Promise(() => {}));
  await clock.advance(2_000);
  expect(readyOf(await node())).toBe('False');
});
