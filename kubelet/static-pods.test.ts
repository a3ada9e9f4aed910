// Static pods from real files through the whole pod side of the agent: their mirrors, their order, their ends.
import { readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Node } from '../api/kinds.ts';
import type { Pod } from '../api/pod.ts';
import { pods } from '../api/resources.ts';
import type { ApiClient } from '../client/api-client.ts';
import { NoApi } from '../client/no-api.ts';
import { Store } from '../client/store.ts';
import { FAKE_NODE, FakeAgent, fakePod } from './fake-agent.ts';
import { FAKE_KUBELET_CONFIG } from './fake-config.ts';
import type { Kubelet } from './kubelet.ts';
import type { KubeletDeps } from './kubelet-deps.ts';

const REAL_STEP_MS = 5;
const DEADLINE_MS = 30_000;

let dir: string;
let agent: FakeAgent;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'static-pods-'));
  agent = new FakeAgent();
});

afterEach(async () => {
  await agent.stop();
  await rm(dir, { recursive: true, force: true });
});

function start(deps: Partial<KubeletDeps> = {}): Kubelet {
  const rules = { checkTypes: () => {}, setDefaults: () => {}, faultsOf: () => [] };
  const staticPods = { ...FAKE_KUBELET_CONFIG.staticPods, path: dir };
  return agent.start({ staticPods }, { staticPodRules: async () => rules, ...deps });
}

async function put(name: string, image: string, spec: object = {}): Promise<void> {
  const { terminationGracePeriodSeconds, restartPolicy } = fakePod(name).spec!;
  const manifest = {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: { terminationGracePeriodSeconds, restartPolicy, containers: [{ name: 'main', image }], ...spec },
  };
  await writeFile(path.join(dir, `.${name}`), JSON.stringify(manifest));
  await rename(path.join(dir, `.${name}`), path.join(dir, `${name}.json`));
}

const take = (name: string) => rm(path.join(dir, `${name}.json`));

/** Steps the agent's clock while real files are read. */
async function until(holds: () => boolean): Promise<void> {
  for (const endMs = Date.now() + DEADLINE_MS; !holds() && Date.now() < endMs; ) {
    await agent.clock.advance(50);
    await new Promise((resolve) => setTimeout(resolve, REAL_STEP_MS));
  }
  expect(holds()).toBe(true);
}

const mirror = (name: string): Pod | undefined => agent.stored(`${name}-node-1`);
const imageOf = (name: string) => mirror(name)?.spec?.containers[0]?.image;
const hashOf = (name: string) => mirror(name)?.metadata?.annotations?.['kubernetes.io/config.mirror'];
const phaseOf = (name: string) => mirror(name)?.status?.phase;

test('a static pod is known by its own uid and by that of its mirror', async () => {
  await put('web', 'busybox');
  const kubelet = start();
  await until(() => phaseOf('web') === 'Running');
  const web = kubelet.podByName('default', 'web-node-1')!;
  expect(mirror('web')!.metadata!.uid).not.toBe(web.metadata!.uid);
  expect(kubelet.hasUid(web, web.metadata!.uid!)).toBe(true);
  await until(() => kubelet.hasUid(web, mirror('web')!.metadata!.uid!));
  expect(kubelet.hasUid(web, 'another')).toBe(false);
});

test('a static pod runs before the API server has said a word, and shows as soon as the Node does', async () => {
  const nodes = new Store<Node>();
  const { uid: _, ...metadata } = FAKE_NODE.metadata!;
  await put('web', 'busybox');
  const kubelet = start({ nodes, localNode: async () => ({ ...FAKE_NODE, metadata }) });
  await until(() => kubelet.podByName('default', 'web-node-1')?.status?.phase === 'Running');
  expect(kubelet.podByName('default', 'web-node-1')?.status?.hostIP).toBe('192.0.2.1');
  expect(mirror('web')).toBeUndefined();
  nodes.replace([FAKE_NODE]);
  await until(() => phaseOf('web') === 'Running');
  expect(mirror('web')?.metadata?.ownerReferences).toEqual([
    { apiVersion: 'v1', kind: 'Node', name: 'node-1', uid: 'uid-node-1', controller: true },
  ]);
});

test('the mirror stays for as long as its pod needs to end, with what it said last', async () => {
  start();
  await put('web', 'busybox', { terminationGracePeriodSeconds: 20 });
  await until(() => phaseOf('web') === 'Running');
  const uid = hashOf('web')!;
  const { promise, resolve } = Promise.withResolvers<void>();
  agent.runtime.killGate = promise;
  await take('web');
  await until(() => agent.runtime.kills.length === 1);
  expect(agent.runtime.kills).toEqual([{ uid, graceSeconds: 20 }]);
  await agent.clock.advance(19_000); // several rounds of housekeeping
  expect(phaseOf('web')).toBe('Running');
  resolve();
  await until(() => mirror('web') === undefined);
});

test('changed again and again while the first one ends: only the last one follows it', async () => {
  const kubelet = start();
  await put('web', 'busybox:1');
  await until(() => phaseOf('web') === 'Running');
  const first = hashOf('web')!;
  const { promise, resolve } = Promise.withResolvers<void>();
  agent.runtime.killGate = promise;
  const seen = new Set<string>();
  for (const image of ['busybox:2', 'busybox:3', 'busybox:4']) {
    await put('web', image);
    await until(() => kubelet.podByName('default', 'web-node-1')?.spec?.containers[0]?.image === image);
    await agent.clock.advance(1000);
    for (const pod of await agent.runtime.listPods()) seen.add(pod.uid);
  }
  expect(seen).toEqual(new Set([first]));
  expect(imageOf('web')).toBe('busybox:1');
  await until(() => agent.runtime.kills.length === 1);
  resolve();
  await until(() => imageOf('web') === 'busybox:4' && phaseOf('web') === 'Running');
  expect(agent.runtime.containersOf(first).some((c) => c.state === 'running')).toBe(false);
  expect(agent.runtime.kills).toEqual([{ uid: first, graceSeconds: 30 }]);
});

test('taken away and put back as it was while it ends: it runs again, under the same uid and with what it had', async () => {
  const held = new Set<string>();
  const resources = {
    concerns: () => true,
    admit: async (pod: Pod) => void held.add(pod.metadata?.uid ?? ''),
    retain: (uids: ReadonlySet<string>) => {
      for (const uid of held) if (!uids.has(uid)) held.delete(uid);
    },
    forget: (uid: string) => void held.delete(uid),
    heldAmounts: () => new Map(),
  };
  const kubelet = start({ resources });
  await put('web', 'busybox');
  await until(() => phaseOf('web') === 'Running');
  const uid = hashOf('web')!;
  const { promise, resolve } = Promise.withResolvers<void>();
  agent.runtime.killGate = promise;
  await take('web');
  await until(() => agent.runtime.kills.length === 1);
  await put('web', 'busybox');
  await until(() => kubelet.podByName('default', 'web-node-1') !== undefined);
  resolve();
  const states = () => agent.runtime.containersOf(uid).map((c) => c.state);
  await until(() => states().join() === 'running,exited' && phaseOf('web') === 'Running');
  expect(hashOf('web')).toBe(uid);
  expect(held).toEqual(new Set([uid]));
});

test('what pods hold that nobody has told of yet is not given to a static pod that comes before them', async () => {
  const held = new Set(['uid-of-the-api']);
  const resources = {
    concerns: () => true,
    admit: async () => undefined,
    retain: (uids: ReadonlySet<string>) => {
      for (const uid of held) if (!uids.has(uid)) held.delete(uid);
    },
    forget: (uid: string) => void held.delete(uid),
    heldAmounts: () => new Map(),
  };
  for (let i = 0; i < 100; i++) {
    for (const verb of ['list', 'watch'] as const) agent.api.failNext(verb, new Error('not now'), 'pods');
  }
  await put('web', 'busybox');
  const kubelet = start({ resources });
  await until(() => kubelet.podByName('default', 'web-node-1')?.status?.phase === 'Running');
  expect(held).toEqual(new Set(['uid-of-the-api']));
});

test('taken away and put back in one go: it ends, and runs again as a restart', async () => {
  const kubelet = start();
  await put('web', 'busybox');
  const status = () => kubelet.podByName('default', 'web-node-1')?.status?.containerStatuses?.[0];
  await until(() => status()?.state?.running !== undefined);
  const file = path.join(dir, 'web.json');
  const manifest = readFileSync(file, 'utf8');
  rmSync(file);
  writeFileSync(file, manifest);
  await until(
    () => status()?.restartCount === 1 && status()?.state?.running !== undefined && phaseOf('web') === 'Running',
  );
});

test('a mirror that somebody asks to end is replaced; the pod does not notice', async () => {
  start();
  await put('web', 'busybox');
  await until(() => phaseOf('web') === 'Running');
  const before = mirror('web')?.metadata?.uid;
  await agent.api.delete(pods, { namespace: 'default', name: 'web-node-1' }, { gracePeriodSeconds: 30 });
  await until(() => phaseOf('web') === 'Running' && mirror('web')?.metadata?.uid !== before);
  expect(mirror('web')?.metadata?.deletionTimestamp).toBeUndefined();
  expect(agent.runtime.kills).toEqual([]);
});

test('a static pod takes the place of others', async () => {
  const requesting = (cpu: string) => [{ name: 'main', image: 'busybox', resources: { requests: { cpu } } }];
  agent.api.seed(pods, fakePod('guest', { containers: requesting('2') }));
  start();
  await until(() => agent.condition('guest', 'Ready') === 'True');
  await put('web', 'busybox', { containers: requesting('1') });
  await until(() => phaseOf('web') === 'Running');
  expect(agent.stored('guest')?.status).toMatchObject({ phase: 'Failed', reason: 'Preempting' });
});

test('killed agents: what did not change runs on, what changed meanwhile is ended and follows anew', async () => {
  start();
  await put('same', 'busybox');
  await put('changed', 'busybox:1');
  await until(() => phaseOf('same') === 'Running' && phaseOf('changed') === 'Running');
  const [same, changed] = [hashOf('same')!, hashOf('changed')!];
  await agent.stop();
  await put('changed', 'busybox:2');
  start();
  await until(() => imageOf('changed') === 'busybox:2' && phaseOf('changed') === 'Running');
  await until(() => agent.runtime.kills.length > 0);
  expect(agent.runtime.kills).toEqual([{ uid: changed, graceSeconds: 1 }]);
  expect(agent.runtime.containersOf(same)).toHaveLength(1);
});

describe.each([
  ['the API server answers first', 0],
  ['the manifest is read long before the API server answers', 3],
])('killed and started again, %s', (_, refusals) => {
  const exec = { exec: { command: ['true'] } };
  test.each<[string, object]>([
    ['no probes', {}],
    ['a readiness probe', { readinessProbe: exec }],
    ['a startup probe and a readiness probe', { startupProbe: exec, readinessProbe: exec }],
  ])('an agent takes over what was told of a static pod with %s', async (_probes, probes) => {
    const isReady = () => agent.condition('web-node-1', 'Ready') === 'True';
    start();
    await put('web', 'busybox', { containers: [{ name: 'main', image: 'busybox', ...probes }] });
    await until(() => phaseOf('web') === 'Running');
    const podUid = hashOf('web')!;
    const about = { podUid, container: 'main', containerId: agent.runtime.containersOf(podUid)[0]!.id };
    for (const kind of ['startup', 'readiness'] as const) agent.probes.report({ ...about, kind, verdict: 'success' });
    await until(isReady);
    await agent.clock.advance(30_000);
    const before = mirror('web')!;
    await agent.stop();
    agent.probes.verdicts.clear();
    agent.api.requests.length = 0;
    for (let i = 0; i < refusals; i++) {
      for (const verb of ['list', 'watch'] as const) agent.api.failNext(verb, new Error('not now'), 'pods');
    }
    await put('other', 'busybox');
    start();
    await until(() => phaseOf('other') === 'Running');
    await agent.clock.advance(30_000); // longer than differences may last
    expect(mirror('web')).toEqual(before);
    expect(agent.api.requests.filter(({ verb, name }) => verb !== 'get' && name === 'web-node-1')).toEqual([]);
    agent.probes.report({ ...about, kind: 'readiness', verdict: 'failure' });
    if ('readinessProbe' in probes) await until(() => !isReady());
  });
});

test('a mirror whose manifest went while no agent was there goes too', async () => {
  start();
  await put('web', 'busybox');
  await until(() => phaseOf('web') === 'Running');
  await agent.stop();
  await take('web');
  start();
  await until(() => mirror('web') === undefined);
});

test('without an API server static pods come, change and go; nobody is asked or told', async () => {
  const deps = { client: new NoApi(), standalone: true, nodes: new Store<Node>(), localNode: async () => FAKE_NODE };
  const kubelet = start(deps);
  const running = () => {
    const web = kubelet.podByName('default', 'web-node-1');
    return web?.status?.phase === 'Running' ? web.spec?.containers[0]?.image : undefined;
  };
  await put('web', 'busybox:1');
  await until(() => running() === 'busybox:1');
  await put('web', 'busybox:2');
  await until(() => running() === 'busybox:2');
  const uid = kubelet.getPods()[0]!.metadata!.uid!;
  await take('web');
  await until(() => kubelet.getPods().length === 0 && !agent.runtime.isKnown(uid));
  expect(agent.runtime.kills.map((k) => k.graceSeconds)).toEqual([30, 30]);
});

test('an API server that does not answer keeps no static pod from being restarted', async () => {
  const never = (...[, , , opts]: Parameters<ApiClient['create']>) =>
    new Promise<never>((_, reject) => {
      opts?.signal?.addEventListener('abort', () => reject(new Error('given up')));
    });
  const client = new Proxy(agent.api, {
    get: (api, member) => {
      if (member === 'create') return never;
      const value: unknown = Reflect.get(api, member, api);
      return typeof value === 'function' ? value.bind(api) : value;
    },
  });
  const kubelet = start({ client });
  await put('web', 'busybox');
  const web = () => kubelet.podByName('default', 'web-node-1');
  await until(() => web()?.status?.phase === 'Running');
  const uid = web()!.metadata!.uid!;
  await agent.clock.advance(1000);
  agent.runtime.exit(uid, 'main', 1);
  await until(() => web()?.status?.containerStatuses?.[0]?.restartCount === 1);
});

test('of two manifests with one uid the first runs and the other is told why not, until the first one goes', async () => {
  const refusals = () => agent.events.events.filter((e) => e.message.includes('duplicate pod uid')).length;
  const stamped = async (name: string) => {
    await put(name, 'busybox');
    const file = path.join(dir, `${name}.json`);
    const manifest = JSON.parse(readFileSync(file, 'utf8')) as Pod;
    writeFileSync(`${file}.new`, JSON.stringify({ ...manifest, metadata: { ...manifest.metadata, uid: 'copied' } }));
    await rename(`${file}.new`, file);
  };
  await stamped('one');
  await stamped('two');
  const kubelet = start();
  await until(() => phaseOf('one') === 'Running' && refusals() === 1);
  expect(kubelet.podByName('default', 'two-node-1')).toBeUndefined();
  await take('one');
  await until(() => phaseOf('two') === 'Running' && mirror('one') === undefined);
  expect(agent.runtime.kills).toEqual([{ uid: 'copied', graceSeconds: 30 }]);
  expect(refusals()).toBe(1);
});
