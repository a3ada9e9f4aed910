// Writes about pods through the whole server but HTTP: defaults, admission, validation, store.
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Node } from '../api/kinds.ts';
import type { Pod, PodSpec, ResourceRequirements } from '../api/pod.ts';
import { namespaces, nodes, pods, replicaSets, runtimeClasses, serviceAccounts } from '../api/resources.ts';
import type { ApiClient, Patch } from '../client/api-client.ts';
import { createApiServer } from '../test/harness/api-server.ts';
import { limitRanges } from './admission/limit-ranger.ts';
import type { ApiServer } from './apiserver.ts';

let dir: string;
let server: ApiServer;
let client: ApiClient;

beforeAll(async () => {
  dir = mkdtempSync(path.join(tmpdir(), 'pod-writes-test-'));
  server = createApiServer(dir);
  client = server.client();
  const status = { allocatable: { cpu: '2', memory: '4Gi', pods: '10' } };
  const labels = { 'kubernetes.io/os': 'linux', 'topology.kubernetes.io/zone': 'z1' };
  await client.create<Node>(nodes, {}, { metadata: { name: 'n', labels }, status });
  await addNamespace('default');
});

afterAll(async () => {
  await server.close();
  rmSync(dir, { recursive: true });
});

async function addNamespace(name: string): Promise<void> {
  await client.create(namespaces, {}, { metadata: { name } });
  await client.create(serviceAccounts, { namespace: name }, { metadata: { name: 'default' } });
}

const container = (resources: ResourceRequirements = {}, name = 'c') => ({ name, image: 'busybox:1', resources });
const burstable = { requests: { cpu: '100m', memory: '100Mi' }, limits: { cpu: '200m', memory: '200Mi' } };

async function make(name: string, spec: Partial<PodSpec> = {}, namespace = 'default'): Promise<Pod> {
  return await client.create(pods, { namespace }, {
    metadata: { name },
    spec: { containers: [container()], ...spec },
  } as Pod);
}
const get = (name: string, namespace = 'default') => client.get(pods, { namespace, name });
const change = (name: string, patch: Patch, subresource?: string, namespace = 'default') =>
  client.patch(pods, { namespace, name }, patch, subresource === undefined ? {} : { subresource });
const strategic = (spec: object): Patch => ({ type: 'strategic', body: { spec } });
const cpu = (value: string) => strategic({ containers: [{ name: 'c', resources: { requests: { cpu: value } } }] });

describe('resize', () => {
  test('every kind of patch and PUT change resources and begin a new generation; the pod itself cannot', async () => {
    await make('sized', { containers: [container(burstable)] });
    expect((await change('sized', cpu('110m'), 'resize')).metadata?.generation).toBe(2);
    const at = '/spec/containers/0/resources/requests/cpu';
    const json = await change('sized', { type: 'json', body: [{ op: 'replace', path: at, value: '120m' }] }, 'resize');
    expect(json.metadata?.generation).toBe(3);
    const containers = structuredClone(json.spec!.containers);
    containers[0]!.resources!.requests!.cpu = '130m';
    const merged = await change('sized', { type: 'merge', body: { spec: { containers } } }, 'resize');
    expect(merged.spec?.containers[0]?.resources?.requests).toEqual({ cpu: '130m', memory: '100Mi' });
    const wanted = structuredClone(merged);
    wanted.spec!.containers[0]!.resources!.limits!.memory = '150Mi';
    wanted.spec!.hostNetwork = true;
    wanted.metadata!.labels = { a: 'b' };
    const put = await client.update(pods, { namespace: 'default', name: 'sized' }, wanted, { subresource: 'resize' });
    expect(put).toMatchObject({
      metadata: { generation: 5 },
      spec: { containers: [{ resources: { limits: { memory: '150Mi' } } }] },
    });
    expect([put.spec?.hostNetwork, put.metadata?.labels]).toEqual([undefined, undefined]);
    expect((await change('sized', cpu('130m'), 'resize')).metadata?.generation).toBe(5);
    await expect(change('sized', cpu('140m'))).rejects.toThrow(
      'Pod "sized" is invalid: spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`',
    );
  });

  test('faults name the pod and the field', async () => {
    await make('idle');
    await expect(change('idle', cpu('1'), 'resize')).rejects.toMatchObject({
      httpStatus: 422,
      message:
        'Pod "idle" is invalid: spec: Invalid value: "BestEffort": Pod QOS Class may not change as a result of resizing',
    });
    const two = [container({ requests: { cpu: '1' } }, 'c1'), container({ requests: { cpu: '1' } }, 'c2')];
    await make('pair', { containers: two });
    const order = { '$setElementOrder/containers': [{ name: 'c2' }, { name: 'c1' }], containers: [] };
    await expect(change('pair', strategic(order), 'resize')).rejects.toThrow(
      'spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize, spec.containers[1].name: Forbidden: containers may not be renamed or reordered on resize',
    );
    const withdrawn = strategic({ containers: [{ name: 'c1', resources: { requests: null } }] });
    await expect(change('pair', withdrawn, 'resize')).rejects.toThrow(
      'spec.containers[0].resources.requests: Forbidden: resource requests cannot be removed',
    );
  });

  test('what the node can never give is refused, in words and with a reason that clients look for', async () => {
    await make('bound', { nodeName: 'n', containers: [container({ requests: { cpu: '1', memory: '1Gi' } })] });
    const much = strategic({ containers: [{ name: 'c', resources: { requests: { cpu: '3', memory: '5Gi' } } }] });
    await expect(change('bound', much, 'resize')).rejects.toMatchObject({
      httpStatus: 403,
      message:
        'pods "bound" is forbidden: node didn\'t have enough allocatable resources: cpu, requested: 3000, allocatable: 2000; memory, requested: 5368709120, allocatable: 4294967296',
      status: { details: { causes: [{ reason: 'NodeCapacity' }] } },
    });
    expect((await change('bound', cpu('2'), 'resize')).metadata?.generation).toBe(2);
    for (const os of ['windows', 'none']) {
      const labels = os === 'none' ? {} : { 'kubernetes.io/os': os };
      await client.create<Node>(nodes, {}, { metadata: { name: os, labels }, status: { allocatable: { cpu: '2' } } });
      await make(os, { nodeName: os, containers: [container({ requests: { cpu: '1' } })] });
    }
    await expect(change('windows', cpu('2'), 'resize')).rejects.toMatchObject({
      message: 'pods "windows" is forbidden: pod resize is only supported on linux nodes, node "windows" is "windows"',
      status: { details: { causes: [{ reason: 'UnsupportedPlatform' }] } },
    });
    expect((await change('none', cpu('2'), 'resize')).metadata?.generation).toBe(2); // a node that has just come
    await make('lost', { nodeName: 'gone', containers: [container({ requests: { cpu: '1' } })] });
    await expect(change('lost', cpu('2'), 'resize')).rejects.toThrow('node "gone" not found');
  });
});

describe('status', () => {
  const statusOf = (status: object): Patch => ({ type: 'strategic', body: { status } });

  test('observed generations outlive writers that do not know them; the QoS class never changes', async () => {
    await make('observed');
    const ready = { type: 'Ready', status: 'True', observedGeneration: 1 };
    await change('observed', statusOf({ observedGeneration: 1, conditions: [ready] }), 'status');
    const current = structuredClone(await get('observed'));
    current.status = { phase: 'Running', conditions: [{ type: 'Ready', status: 'False' }] };
    const name = { namespace: 'default', name: 'observed' };
    expect((await client.update(pods, name, current, { subresource: 'status' })).status).toEqual({
      phase: 'Running',
      qosClass: 'BestEffort',
      observedGeneration: 1,
      conditions: [{ type: 'Ready', status: 'False', observedGeneration: 1 }],
    });
    await expect(change('observed', statusOf({ qosClass: 'Burstable' }), 'status')).rejects.toThrow(
      'status.qosClass: Invalid value: "Burstable": field is immutable',
    );
  });

  test.each([
    ['Never', 1, false],
    ['OnFailure', 0, false],
    ['OnFailure', 1, true],
    ['Always', 0, true],
  ])('of a pod that restarts %s, a container that ended with %d may run again: %s', async (policy, exitCode, may) => {
    const name = `ended-${policy.toLowerCase()}-${exitCode}`;
    await make(name, { restartPolicy: policy });
    const report = (state: object) =>
      change(
        name,
        statusOf({ containerStatuses: [{ name: 'c', image: '', imageID: '', ready: false, state }] }),
        'status',
      );
    await report({ terminated: { exitCode } });
    const again = report({ running: {} });
    if (may) await again;
    else await expect(again).rejects.toThrow('status.containerStatuses[0].state: Forbidden: may not be transitioned');
  });
});

describe('LimitRange', () => {
  beforeAll(async () => {
    await addNamespace('limited');
    const limits = [
      {
        type: 'Container',
        min: { cpu: '50m' },
        max: { cpu: '500m', memory: '500Mi' },
        default: { cpu: '100m', memory: '100Mi' },
        defaultRequest: { cpu: '50m', memory: '50Mi' },
        maxLimitRequestRatio: { cpu: '4' },
      },
      { type: 'Pod', max: { memory: '800Mi' } },
    ];
    await client.create(limitRanges, { namespace: 'limited' }, { metadata: { name: 'l' }, spec: { limits } });
  });

  test('says what containers ask for when they do not, and notes that on the pod', async () => {
    const made = await make('plain', { initContainers: [container({ requests: { cpu: '80m' } }, 'i')] }, 'limited');
    expect(made.metadata?.annotations).toEqual({
      'kubernetes.io/limit-ranger':
        'LimitRanger plugin set: cpu, memory request for container c; cpu, memory limit for container c; ' +
        'memory request for init container i; cpu, memory limit for init container i',
    });
    expect(made.spec?.containers[0]?.resources).toEqual({
      requests: { cpu: '50m', memory: '50Mi' },
      limits: { cpu: '100m', memory: '100Mi' },
    });
    expect(made.status?.qosClass).toBe('Burstable');
  });

  const both = (list: Record<string, string>) => ({ requests: { ...list }, limits: { ...list } });
  test.each([
    ['c1', both({ cpu: '600m' }), 'maximum cpu usage per Container is 500m, but limit is 600m'],
    [
      'c2',
      both({ cpu: '600m', memory: '600Mi' }),
      '[maximum cpu usage per Container is 500m, but limit is 600m, maximum memory usage per Container is 500Mi, but limit is 600Mi]',
    ],
    ['c3', both({ cpu: '10m' }), 'minimum cpu usage per Container is 50m, but request is 10m'],
    [
      'c4',
      { requests: { cpu: '50m' }, limits: { cpu: '450m' } },
      'cpu max limit to request ratio per Container is 4, but provided ratio is 9.000000',
    ],
  ])('refuses %s, new or resized', async (name, resources, why) => {
    const refused = { httpStatus: 403, message: `pods "${name}" is forbidden: ${why}` };
    await expect(make(name, { containers: [container(resources)] }, 'limited')).rejects.toMatchObject(refused);
    await make(name, { containers: [container(both({ cpu: '300m', memory: '300Mi' }))] }, 'limited');
    // Burstable would be refused for its class: such a fault comes first.
    if (name === 'c4') return;
    const patch = strategic({ containers: [{ name: 'c', resources }] });
    await expect(change(name, patch, 'resize', 'limited')).rejects.toMatchObject(refused);
  });

  test('bounds the pod as a whole', async () => {
    const containers = ['a', 'b'].map((name) => container(both({ memory: '450Mi' }), name));
    await expect(make('whole', { containers }, 'limited')).rejects.toThrow(
      'maximum memory usage per Pod is 800Mi, but limit is 900Mi',
    );
  });
});

describe('classes', () => {
  test('a RuntimeClass brings its overhead and placement', async () => {
    const scheduling = { nodeSelector: { kind: 'vm' }, tolerations: [{ key: 'vm', operator: 'Exists' }] };
    const overhead = { podFixed: { cpu: '10m' } };
    await client.create(runtimeClasses, {}, { metadata: { name: 'vm' }, handler: 'vm', overhead, scheduling });
    const made = await make('in-vm', { runtimeClassName: 'vm', nodeSelector: { disk: 'ssd' } });
    expect(made.spec).toMatchObject({ overhead: { cpu: '10m' }, nodeSelector: { disk: 'ssd', kind: 'vm' } });
    expect(made.spec?.tolerations?.map((t) => t.key)).toContain('vm');
    await expect(make('torn', { runtimeClassName: 'vm', nodeSelector: { kind: 'metal' } })).rejects.toThrow(
      'conflict: runtimeClass.scheduling.nodeSelector[kind] = vm; pod.spec.nodeSelector[kind] = metal',
    );
    await expect(make('lost', { runtimeClassName: 'nothing' })).rejects.toThrow(
      'pods "lost" is forbidden: pod rejected: RuntimeClass "nothing" not found',
    );
    await expect(make('greedy', { runtimeClassName: 'vm', overhead: { cpu: '1' } })).rejects.toThrow(
      "pod rejected: Pod's Overhead doesn't match RuntimeClass's defined Overhead",
    );
    await expect(make('own', { overhead: { cpu: '1' } })).rejects.toThrow(
      'pod rejected: Pod Overhead set without corresponding RuntimeClass defined Overhead',
    );
  });

  test('the number of a priority class stays when a writer leaves it out', async () => {
    const made = structuredClone(await make('critical', { priorityClassName: 'system-node-critical' }));
    expect(made.spec?.priority).toBe(2_000_001_000);
    delete made.spec!.priority;
    delete made.spec!.preemptionPolicy;
    const name = { namespace: 'default', name: 'critical' };
    expect((await client.update(pods, name, made)).spec?.priority).toBe(2_000_001_000);
    await expect(make('odd', { priorityClassName: 'nothing' })).rejects.toThrow(
      'no PriorityClass with name nothing was found',
    );
  });
});

test('a gated pod: gates go one by one, and its place is only narrowed', async () => {
  const gates = [{ name: 'example.com/a' }, { name: 'example.com/b' }];
  const made = await make('gated', { schedulingGates: gates, nodeSelector: { disk: 'ssd' } });
  expect(made.status?.conditions).toMatchObject([{ type: 'PodScheduled', status: 'False', reason: 'SchedulingGated' }]);
  const merge = (spec: object): Patch => ({ type: 'merge', body: { spec } });
  const narrowed = await change('gated', merge({ nodeSelector: { zone: 'z1' } }));
  expect(narrowed.spec?.nodeSelector).toEqual({ disk: 'ssd', zone: 'z1' });
  await expect(change('gated', merge({ nodeSelector: { disk: null } }))).rejects.toThrow(
    'spec.nodeSelector: Invalid value: {"zone":"z1"}: only additions are allowed to spec.nodeSelector',
  );
  await expect(change('gated', merge({ schedulingGates: [...gates, { name: 'example.com/c' }] }))).rejects.toThrow(
    "spec.schedulingGates[2].name: Forbidden: only deletion is allowed, but found new scheduling gate 'example.com/c'",
  );
  await change('gated', merge({ schedulingGates: [] }));
  await expect(change('gated', merge({ nodeSelector: { more: 'x' } }))).rejects.toThrow(
    'pod updates may not change fields other than',
  );
});

describe('binding', () => {
  const bind = (name: string, more: object = {}) =>
    client.create(
      pods,
      { namespace: 'default', name },
      { metadata: { name }, target: { name: 'n' }, ...more } as never,
      {
        subresource: 'binding',
      },
    );

  test('gives the node and the labels of its place, and is no new generation', async () => {
    await make('placed');
    await bind('placed', { metadata: { name: 'placed', annotations: { a: 'b' } } });
    const { metadata, spec, status } = await get('placed');
    expect(metadata).toMatchObject({
      generation: 1,
      annotations: { a: 'b' },
      labels: { 'topology.kubernetes.io/zone': 'z1' },
    });
    expect(spec?.nodeName).toBe('n');
    expect(status?.conditions).toMatchObject([{ type: 'PodScheduled', status: 'True' }]);
    await expect(bind('placed')).rejects.toMatchObject({
      httpStatus: 409,
      message: expect.stringContaining('pod placed is already assigned to node "n"'),
    });
  });

  test('refuses other targets, gates, and pods that are others or going', async () => {
    await make('odd', { schedulingGates: [{ name: 'example.com/wait' }] });
    await expect(bind('odd', { target: { kind: 'Rack', name: 'r' } })).rejects.toMatchObject({ httpStatus: 422 });
    await expect(bind('odd')).rejects.toThrow('pod odd has non-empty .spec.schedulingGates');
    await make('other');
    await expect(bind('other', { metadata: { name: 'other', uid: 'x' } })).rejects.toMatchObject({ httpStatus: 409 });
  });
});

describe('eviction', () => {
  const budgets = {
    group: 'policy',
    version: 'v1',
    plural: 'poddisruptionbudgets',
    kind: 'PodDisruptionBudget',
    namespaced: true,
  };
  const evict = (name: string, deleteOptions: object = {}) =>
    client.create(pods, { namespace: 'default', name }, { metadata: { name }, deleteOptions } as never, {
      subresource: 'eviction',
    });
  const running = async (name: string) => {
    await client.create(pods, { namespace: 'default' }, {
      metadata: { name, labels: { app: name } },
      spec: { containers: [container()], nodeName: 'n' },
    } as Pod);
    const status = { phase: 'Running', conditions: [{ type: 'Ready', status: 'True' }] };
    return await change(name, { type: 'merge', body: { status } }, 'status');
  };
  const budget = async (name: string, app: string, status: object) => {
    const body = { metadata: { name }, spec: { minAvailable: 1, selector: { matchLabels: { app } } } } as never;
    await client.create(budgets, { namespace: 'default' }, body);
    const at = { namespace: 'default', name };
    return await client.patch(budgets, at, { type: 'merge', body: { status } }, { subresource: 'status' });
  };

  test('marks the pod and begins its end, of the version that was meant', async () => {
    const { metadata } = await running('evicted');
    const preconditions = { uid: metadata!.uid, resourceVersion: metadata!.resourceVersion };
    await expect(evict('evicted', { preconditions: { ...preconditions, resourceVersion: '1' } })).rejects.toMatchObject(
      {
        httpStatus: 409,
      },
    );
    await evict('evicted', { gracePeriodSeconds: 7, preconditions });
    const going = await get('evicted');
    expect(going.metadata?.deletionGracePeriodSeconds).toBe(7);
    expect(going.status?.conditions).toContainEqual(
      expect.objectContaining({
        type: 'DisruptionTarget',
        status: 'True',
        reason: 'EvictionByEvictionAPI',
        message: 'Eviction API: evicting',
      }),
    );
  });

  test('spends the budget, and waits for it', async () => {
    await running('guarded');
    const healthy = { currentHealthy: 1, desiredHealthy: 1, expectedPods: 1 };
    await budget('b', 'guarded', { ...healthy, disruptionsAllowed: 0, observedGeneration: 0 });
    await expect(evict('guarded')).rejects.toMatchObject({ httpStatus: 429, retryAfterSeconds: 10 });
    const at = { namespace: 'default', name: 'b' };
    const set = (status: object) =>
      client.patch(budgets, at, { type: 'merge', body: { status } }, { subresource: 'status' });
    await set({ observedGeneration: 1 });
    await expect(evict('guarded')).rejects.toMatchObject({
      httpStatus: 429,
      status: {
        details: { causes: [{ message: 'The disruption budget b needs 1 healthy pods and has 1 currently' }] },
      },
    });
    await set({ disruptionsAllowed: 1 });
    await evict('guarded');
    expect(await client.get(budgets, at)).toMatchObject({
      status: { disruptionsAllowed: 0, disruptedPods: { guarded: expect.any(String) } },
    });
  });

  test('two budgets for one pod are a mistake of who made them', async () => {
    await running('twice');
    for (const name of ['t1', 't2']) await budget(name, 'twice', {});
    await expect(evict('twice')).rejects.toMatchObject({
      httpStatus: 500,
      message: expect.stringContaining('This pod has more than one PodDisruptionBudget'),
    });
  });
});

describe('ephemeral containers', () => {
  const look = (more: object = {}) => ({ name: 'look', image: 'busybox:1', ...more });
  const add = (pod: string, ...ephemeralContainers: object[]) =>
    change(pod, strategic({ ephemeralContainers }), 'ephemeralcontainers');

  test('are added, defaulted, and then stay as they are', async () => {
    await make('seen');
    const { metadata, spec } = await add('seen', look({ targetContainerName: 'c' }));
    expect(metadata?.generation).toBe(2);
    expect(spec?.ephemeralContainers).toMatchObject([
      { imagePullPolicy: 'IfNotPresent', terminationMessagePolicy: 'File' },
    ]);
    await expect(add('seen', look({ image: 'other' }))).rejects.toThrow(
      'spec.ephemeralContainers: Forbidden: existing ephemeral containers "look" may not be changed',
    );
    const without = structuredClone(await get('seen'));
    delete without.spec!.ephemeralContainers;
    const name = { namespace: 'default', name: 'seen' };
    await expect(client.update(pods, name, without, { subresource: 'ephemeralcontainers' })).rejects.toThrow(
      'existing ephemeral containers "look" may not be removed',
    );
  });

  test('a pod that has one is written as any other: labels, images, finalizers; neither it nor a template begins with one', async () => {
    await make('debugged');
    await add('debugged', look());
    const metadata = { labels: { seen: 'yes' }, finalizers: ['example.com/f'] };
    await change('debugged', { type: 'merge', body: { metadata } });
    const image = await change('debugged', strategic({ containers: [{ name: 'c', image: 'busybox:2' }] }));
    expect(image.metadata?.generation).toBe(3);
    await change('debugged', { type: 'merge', body: { metadata: { finalizers: null } } });
    expect(await get('debugged')).toMatchObject({ metadata: { labels: { seen: 'yes' } }, spec: image.spec! });
    await expect(change('debugged', strategic({ ephemeralContainers: [look({ name: 'two' })] }))).rejects.toThrow(
      'spec: Forbidden: pod updates may not change fields other than',
    );
    await expect(make('born', { ephemeralContainers: [look()] } as Partial<PodSpec>)).rejects.toThrow(
      'spec.ephemeralContainers: Forbidden: cannot be set on create',
    );
    const template = {
      metadata: { labels: { a: 'b' } },
      spec: { containers: [container()], ephemeralContainers: [look()] },
    };
    const spec = { selector: { matchLabels: { a: 'b' } }, template };
    await expect(
      client.create(replicaSets, { namespace: 'default' }, { metadata: { name: 'r' }, spec }),
    ).rejects.toThrow(
      'spec.template.spec.ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template',
    );
  });

  test.each([
    [{ ports: [{ containerPort: 80 }] }, 'ports: Forbidden: cannot be set for an Ephemeral Container'],
    [{ resources: { requests: { cpu: '1' } } }, 'resources: Forbidden: cannot be set for an Ephemeral Container'],
    [{ targetContainerName: 'nobody' }, 'targetContainerName: Not found: "nobody"'],
    [
      { volumeMounts: [{ name: 'v', mountPath: '/v', subPath: 'a' }] },
      'volumeMounts[0].subPath: Forbidden: cannot be set for an Ephemeral Container',
    ],
    [{ name: 'c' }, 'name: Duplicate value: "c"'],
  ])('refuses %j', async (more, why) => {
    const { metadata } = await client.create(pods, { namespace: 'default' }, {
      metadata: { generateName: 'picky-' },
      spec: { containers: [container()], volumes: [{ name: 'v', emptyDir: {} }] },
    } as Pod);
    const name = metadata!.name!;
    await expect(add(name, look(more))).rejects.toThrow(`spec.ephemeralContainers[0].${why}`);
  });

  test('static pods take none', async () => {
    const annotations = { 'kubernetes.io/config.mirror': 'x' };
    await client.create(pods, { namespace: 'default' }, {
      metadata: { name: 'mirror', annotations },
      spec: { containers: [container()], nodeName: 'n' },
    } as Pod);
    await expect(add('mirror', look())).rejects.toThrow('static pods do not support ephemeral containers');
  });
});
