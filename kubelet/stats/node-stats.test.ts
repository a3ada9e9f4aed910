import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import { figureEndpoints } from '../metrics/endpoints.ts';
import { SliMetrics } from '../metrics/sli-metrics.ts';
import type { EndpointKind } from '../server/routes.ts';
import { FakeCgroups } from './fake-cgroups.ts';
import { fakeTarget } from './fake-targets.ts';
import { NodeStats } from './node-stats.ts';
import { NodeUsage } from './node-usage.ts';
import { CgroupSampler } from './sampler.ts';
import { StorageMeter } from './storage-meter.ts';
import { VolumeMeter } from './volume-meter.ts';

let clock: FakeClock;
let cgroups: FakeCgroups;
let stats: NodeStats;
let usage: NodeUsage;
/** Calls of du that are under way. */
let walks: PromiseWithResolvers<void>[];

const POD = { spec: { containers: [], volumes: [{ name: 'data', emptyDir: {} }] } };

beforeEach(() => {
  clock = new FakeClock();
  cgroups = new FakeCgroups();
  walks = [];
  for (const name of ['/', '/kubepods', '/kubepods/podu', '/kubepods/podu/box', '/kubepods/podu/c']) cgroups.add(name);
  const targets = () => [fakeTarget(['c'], POD)];
  const log = silentLog;
  const exec = async () => {
    const walk = Promise.withResolvers<void>();
    walks.push(walk);
    await walk.promise;
    return { code: 0, signal: undefined, stdout: '4096\t/tmp\0', stderr: '' };
  };
  const mount = { name: 'data', hostPath: '/tmp', readOnly: false, selinuxRelabel: false };
  const volumes = new VolumeMeter({
    exec,
    volumesOf: () => new Map([['data', mount]]),
    claimFigures: async () => undefined,
    clock,
    log,
  });
  const runtime = { listContainerStats: async () => Promise.reject(new Error('no runtime')) };
  const storage = new StorageMeter({ runtime, volumes, rootDir: '/tmp', podLogsDir: '/nowhere', clock });
  const images = { imageFsInfo: async () => ({ image: [], container: [] }) };
  usage = new NodeUsage(
    { rootDir: '/tmp', memoryBytes: 10_000, podsCgroup: '/kubepods' },
    { source: cgroups, images, storage, targets, cgroupParentOf: () => '/kubepods/podu', clock },
  );
  const groups = [
    { name: 'pods', inSummary: true, cgroup: () => '/kubepods' },
    { name: 'burstable', inSummary: false, cgroup: () => '/kubepods' },
  ];
  const sampler = new CgroupSampler({ source: cgroups, targets, groups, clock });
  const options = { nodeName: 'n', memoryBytes: 10_000, volumeAgeMs: 60_000 };
  stats = new NodeStats(options, { sampler, usage, storage, volumes, clock, log });
});

/** Lets all walks end, those that begin after others ended too. */
async function endWalks(): Promise<void> {
  for (let i = 0; i < 4; i++) {
    for (const walk of walks) walk.resolve();
    await clock.advance(0);
  }
}

test('who asks for rates first waits for a second look, who comes after does not', async () => {
  await clock.advance(1_000_000_000);
  const first = stats.reducedSummary();
  await clock.advance(999);
  expect(cgroups.groups.get('/')!.uses).toBe(1);
  cgroups.groups.get('/')!.cpuNs = 1e9;
  await clock.advance(1);
  expect((await first).node.cpu!.usageNanoCores).toBe(1e9);
  expect((await stats.reducedSummary()).node.cpu!.usageNanoCores).toBe(1e9);
  expect(cgroups.groups.get('/')!.uses).toBe(2);
});

test('the node is set against its memory, and only system containers are listed', async () => {
  const answer = stats.reducedSummary();
  await clock.advance(1_000);
  const { node } = await answer;
  expect(node.memory).toMatchObject({ workingSetBytes: 4_000, availableBytes: 6_000 });
  expect(node.systemContainers.map((c) => c.name)).toEqual(['pods']);
});

test('a runtime that does not answer costs what only it knows', async () => {
  const answer = stats.summary();
  await clock.advance(1_000);
  await endWalks();
  const { node, pods } = await answer;
  expect(node.runtime).toEqual({});
  expect(node.fs!.capacityBytes).toBeGreaterThan(0);
  expect(pods[0]!.containers[0]).not.toHaveProperty('rootfs');
  expect(pods[0]!.containers[0]).toHaveProperty('logs');
});

test('a walk of a large volume holds up only the first who asks, and not for long', async () => {
  const pods = [fakeTarget(['c'], POD).pod];
  const first = stats.volumes(pods);
  await clock.advance(10_000);
  expect((await first)('u')).toBeUndefined();
  await endWalks();
  const known = await stats.volumes(pods);
  expect(known('u')!.volumes[0]).toMatchObject({ name: 'data', usedBytes: 4096 });
  await clock.advance(60_000);
  const before = walks.length;
  expect((await stats.volumes(pods))('u')!.volumes).toHaveLength(1); // the old ones, while new ones are measured
  await clock.advance(0);
  expect(walks.length).toBe(before + 1);
  expect(clock.sleeping).toBe(0);
});

test('usage for those who decide by it is read at once', () => {
  expect(usage.nodeMemory()).toMatchObject({ workingSetBytes: 4_000, availableBytes: 6_000, capacityBytes: 10_000 });
  expect(usage.allPodsMemory()).not.toHaveProperty('availableBytes');
  cgroups.groups.get('/kubepods')!.spec = { ...cgroups.groups.get('/')!.spec, memoryLimitBytes: 3_000 };
  expect(usage.allPodsMemory()).toMatchObject({ capacityBytes: 3_000, availableBytes: 0 });
  const pod = { metadata: { uid: 'u' } };
  expect(usage.containerMemory(pod)).toEqual(new Map([['c', 4_000]]));
  cgroups.groups.get('/kubepods/podu/c')!.pids = [1, 2];
  expect(usage.podProcesses(pod)).toBe(2);
  expect(usage.podProcesses({ metadata: { uid: 'x' } })).toBeUndefined();
  cgroups.groups.delete('/kubepods/podu');
  expect(usage.podMemory(pod)).toBeUndefined();
  expect(usage.nodeProcesses().current).toBeGreaterThan(0);
});

test('what was known of a pod goes with it', async () => {
  const targets = [fakeTarget([])];
  const forgotten: string[][] = [];
  const storage = {
    forgetAllBut: (uids: ReadonlySet<string>) => forgotten.push([...uids]),
    podStorage: async (asked: readonly unknown[]) => new Map(asked.map((_, i) => [String(i), {}])),
  };
  const deps = { source: cgroups, images: {}, storage, targets: () => targets, cgroupParentOf: () => '', clock };
  const own = new NodeUsage({ rootDir: '/tmp', memoryBytes: 1, podsCgroup: '' }, deps as never);
  expect((await own.podStorage([{ metadata: { uid: 'u' } }, { metadata: { uid: 'gone' } }], 0)).size).toBe(1);
  expect(forgotten).toEqual([['u']]);
});

test('a runtime that names no file system of images is an error, and is asked again', async () => {
  await expect(usage.imageFs(10_000)).rejects.toMatchObject({ code: 'IMAGE_FS_UNKNOWN' });
  await expect(usage.imageFs(10_000)).rejects.toMatchObject({ code: 'IMAGE_FS_UNKNOWN' });
});

let server: Server | undefined;
afterEach(() => {
  server?.closeAllConnections();
  server?.close();
});

/** A server that answers every request by one of the endpoints. */
async function serve(kind: EndpointKind): Promise<string> {
  const facts = {
    machine: async () => Promise.reject(new Error('not asked for')),
    pauseImage: async () => '',
    directories: async () => [],
  };
  const registry = new Registry();
  const deps = { stats, cadvisor: facts, own: registry, probes: registry, slis: new SliMetrics(), log: silentLog };
  const handler = figureEndpoints(deps)[kind]!;
  server = createServer((request, response) => {
    const query = new URL(request.url!, 'http://x').searchParams;
    const call = { request, response, query, params: {} } as never;
    Promise.resolve(handler(call)).catch((err: unknown) => response.writeHead(500).end((err as Error).message));
  });
  await new Promise<void>((resolve) => server!.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

test('answers are compressed for those who take it, when it is worth it', async () => {
  const url = await serve('resourceMetrics');
  const plain = await fetch(url, { headers: { 'Accept-Encoding': 'identity' } });
  expect(plain.headers.get('content-encoding')).toBeNull();
  expect(plain.headers.get('content-type')).toBe('text/plain; version=0.0.4; charset=utf-8');
  const text = await plain.text();
  const packed = await fetch(url, { headers: { 'Accept-Encoding': 'gzip' } });
  expect(packed.headers.get('content-encoding')).toBe('gzip');
  expect(await packed.text()).toBe(text); // fetch unpacks
});

test('without the root cgroup /metrics/resource says so, and the summary is an error', async () => {
  cgroups.groups.delete('/');
  expect(await (await fetch(await serve('resourceMetrics'))).text()).toMatch(/^resource_scrape_error 1$/m);
  server?.close();
  const answer = await fetch(await serve('statsSummary'));
  expect([answer.status, await answer.text()]).toEqual([500, 'Internal Error: the root cgroup cannot be read']);
});
