import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Pod, Volume } from '../../api/pod.ts';
import { AgentError } from '../../core/errors.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { type Exec, systemExec } from '../../host/exec.ts';
import type { MountedVolume } from '../volumes/volume-manager.ts';
import { fakeTarget } from './fake-targets.ts';
import { podStorageOf, StorageMeter } from './storage-meter.ts';
import { VolumeMeter } from './volume-meter.ts';
import { volumeMeasure } from './volume-stats.ts';

test.each([
  [{ emptyDir: {} }, 'disk tree'],
  [{ emptyDir: { medium: 'Memory' } }, 'memory file system'],
  [{ emptyDir: { medium: 'HugePages-2Mi' } }, 'memory file system'],
  [{ configMap: { name: 'x' } }, 'disk tree'],
  [{ secret: { secretName: 'x' } }, 'memory tree'],
  [{ projected: {} }, 'memory tree'],
  [{ downwardAPI: {} }, 'memory tree'],
  [{ persistentVolumeClaim: { claimName: 'x' } }, 'claim'],
  [{ ephemeral: {} }, 'claim'],
  [{ csi: { driver: 'd' } }, 'claim'],
  [{ hostPath: { path: '/' } }, 'none'],
  [{ image: {} }, 'none'],
])('%j is measured as %s', (source, measure) => {
  expect(volumeMeasure({ name: 'v', ...source } as Volume)).toBe(measure);
});

let root = '';
let clock: FakeClock;
let ran: string[][];
const exec: Exec = async (program, args, opts) => {
  ran.push([program, ...args]);
  return await systemExec(program, args, opts);
};

beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'storage-'));
  clock = new FakeClock();
  ran = [];
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function volume(name: string, bytes: number): Promise<[string, MountedVolume]> {
  const hostPath = path.join(root, 'pods/u/volumes/x', name);
  await mkdir(hostPath, { recursive: true });
  await writeFile(path.join(hostPath, 'file'), Buffer.alloc(bytes));
  return [name, { name, hostPath, readOnly: false, selinuxRelabel: false }];
}

function meterOf(
  mounts: ReadonlyMap<string, MountedVolume>,
  claimFigures = async (): Promise<object | undefined> => undefined,
) {
  return new VolumeMeter({ exec, volumesOf: () => mounts, claimFigures, clock, log: silentLog });
}

const POD: Pod = {
  metadata: { uid: 'u', name: 'p', namespace: 'default' },
  spec: {
    containers: [],
    volumes: [
      { name: 'data', emptyDir: {} },
      { name: 'token', projected: {} },
      { name: 'db', persistentVolumeClaim: { claimName: 'c' } },
      { name: 'host', hostPath: { path: '/' } },
    ],
  },
};

test('volumes of all kinds are measured together, and again only when they are old', async () => {
  const mounts = new Map([await volume('data', 50_000), await volume('token', 10), await volume('db', 1)]);
  const meter = meterOf(mounts, async () => ({ capacityBytes: 7, usedBytes: 3 }));
  await meter.measure([POD], 60_000);
  const volumes = new Map(meter.known('u')!.volumes.map((v) => [v.name, v]));
  expect([...volumes.keys()]).toEqual(['data', 'token', 'db']);
  expect(volumes.get('data')).toMatchObject({ onDisk: true, claim: undefined, inodesUsed: 2 });
  expect(volumes.get('data')!.usedBytes).toBeGreaterThanOrEqual(50_000);
  expect(volumes.get('data')!.capacityBytes).toBeGreaterThan(1_000_000);
  expect(volumes.get('token')).toMatchObject({ onDisk: false });
  expect(volumes.get('db')).toEqual({
    name: 'db',
    claim: { name: 'c', namespace: 'default' },
    onDisk: false,
    capacityBytes: 7,
    usedBytes: 3,
    ...{ availableBytes: 0, inodes: 0, inodesFree: 0, inodesUsed: 0 }, // nobody told
  });
  expect(ran).toHaveLength(2); // bytes and inodes, whatever the number of volumes
  await clock.advance(59_999);
  await meter.measure([POD], 60_000);
  expect(ran).toHaveLength(2);
  await clock.advance(1);
  await meter.measure([POD], 60_000);
  expect(ran).toHaveLength(4);
  meter.forgetAllBut(new Set());
  expect(meter.known('u')).toBeUndefined();
});

test('a driver that fails costs only its own volume its figures', async () => {
  const meter = meterOf(new Map([await volume('data', 1), await volume('db', 1)]), async () => {
    throw new Error('the driver is gone');
  });
  await meter.measure([POD], 0);
  expect(meter.known('u')!.volumes.map((v) => v.name)).toEqual(['data']);
});

test('a pod with too many files does not hide how big the volumes of others are', async () => {
  const [[, big], [, small]] = [await volume('big', 1), await volume('small', 50_000)];
  const podOf = (uid: string): Pod => ({
    metadata: { uid, name: uid, namespace: 'default' },
    spec: { containers: [], volumes: [{ name: 'data', emptyDir: {} }] },
  });
  const pods = [podOf('big'), podOf('small')];
  let endless = true;
  const meter = new VolumeMeter({
    exec: async (program, args, opts) => {
      if (!endless || !args.includes(big.hostPath)) return await exec(program, args, opts);
      ran.push([program, ...args]);
      throw new AgentError('du did not end', { code: 'EXEC_TIMEOUT', retryable: true });
    },
    volumesOf: (uid) => new Map([['data', uid === 'big' ? big : small]]),
    claimFigures: async () => undefined,
    clock,
    log: silentLog,
  });
  await meter.measure(pods, 10_000);
  expect(meter.known('small')!.volumes[0]!.usedBytes).toBeGreaterThanOrEqual(50_000);
  expect(meter.known('big')).toBeUndefined();
  expect(ran.splice(0)).toHaveLength(4); // both together, each alone
  await clock.advance(10_000);
  await meter.measure(pods, 10_000);
  expect(ran.splice(0).some((args) => args.includes(big.hostPath))).toBe(false); // not so soon again
  await clock.advance(290_000);
  await meter.measure(pods, 10_000);
  expect(ran.splice(0).map((args) => args.includes(big.hostPath))).toEqual([false, false, true]); // the slow one last
  endless = false;
  await clock.advance(300_000);
  await meter.measure(pods, 10_000);
  expect(meter.known('big')!.volumes).toHaveLength(1);
  await meter.measure(pods, 0);
  expect(ran.slice(4)).toHaveLength(2); // together again
});

test('a directory that is gone costs only its own volume its figures', async () => {
  const [[, gone], [, there]] = [await volume('gone', 1), await volume('there', 50_000)];
  await rm(gone.hostPath, { recursive: true });
  const pods = ['gone', 'there'].map((uid): Pod => {
    const spec = { containers: [], volumes: [{ name: 'data', emptyDir: {} }] };
    return { metadata: { uid, name: uid, namespace: 'default' }, spec };
  });
  const meter = new VolumeMeter({
    exec,
    volumesOf: (uid) => new Map([['data', uid === 'gone' ? gone : there]]),
    claimFigures: async () => undefined,
    clock,
    log: silentLog,
  });
  await meter.measure(pods, 0);
  expect(meter.known('gone')!.volumes).toEqual([]);
  expect(meter.known('there')!.volumes[0]!.usedBytes).toBeGreaterThanOrEqual(50_000);
});

test('without du nobody knows anything', async () => {
  const failing: Exec = async () => {
    throw new AgentError('no du', { code: 'EXEC_NOT_FOUND' });
  };
  const [, mount] = await volume('data', 1);
  const volumesOf = () => new Map([['data', mount]]);
  const deps = { exec: failing, volumesOf, claimFigures: async () => undefined, clock, log: silentLog };
  await expect(new VolumeMeter(deps).measure([POD], 0)).rejects.toThrow('no du');
});

test('servers of volumes are asked at once: one that does not answer holds up nobody longer than itself', async () => {
  const answers = new Map<string, PromiseWithResolvers<object>>();
  const meter = new VolumeMeter({
    exec,
    volumesOf: (uid) => new Map([['db', { name: 'db', hostPath: uid, readOnly: false, selinuxRelabel: false }]]),
    claimFigures: ({ hostPath }) => {
      const answer = Promise.withResolvers<object>();
      answers.set(hostPath, answer);
      return answer.promise;
    },
    clock,
    log: silentLog,
  });
  const pods = ['a', 'b'].map((uid): Pod => ({ ...POD, metadata: { uid, name: uid, namespace: 'default' } }));
  const measured = meter.measure(pods, 0);
  await clock.advance(0);
  expect([...answers.keys()]).toEqual(['a', 'b']);
  answers.get('b')!.resolve({ usedBytes: 7 });
  await clock.advance(0);
  expect(meter.known('b')!.volumes).toMatchObject([{ usedBytes: 7 }]);
  answers.get('a')!.reject(new Error('no answer'));
  await measured;
  expect(meter.known('a')!.volumes).toEqual([]);
});

function storageOf(listContainerStats: () => Promise<never[]>): StorageMeter {
  const deps = { runtime: { listContainerStats }, volumes: meterOf(new Map()), rootDir: root, podLogsDir: root, clock };
  return new StorageMeter(deps);
}

const layer = (id: string, used: number | undefined) => ({
  attributes: { id, labels: {}, annotations: {} },
  writableLayer: {
    timestamp: 0n,
    ...(used === undefined ? {} : { usedBytes: { value: used }, inodesUsed: { value: 2 } }),
  },
});

test('a pod uses layers, logs, other files of its own and volumes on disk', async () => {
  const dir = path.join(root, 'default_p_u');
  await mkdir(path.join(dir, 'c'), { recursive: true });
  await writeFile(path.join(dir, 'c/0.log'), Buffer.alloc(5_000));
  const meter = storageOf(async () => [layer('c', 100), layer('young', undefined)] as never[]);
  const storage = (await meter.podStorage([fakeTarget(['c', 'young'])], 0)).get('u')!;
  expect(storage.rootfs).toEqual(new Map([['c', { usedBytes: 100, inodesUsed: 2 }]]));
  expect(storage.logs.get('c')!.usedBytes).toBeGreaterThanOrEqual(5_000);
  expect(storage.logs.get('young')).toEqual({ usedBytes: 0, inodesUsed: 0 });
  expect(storage.total).toEqual({ usedBytes: 100 + storage.logs.get('c')!.usedBytes, inodesUsed: 3 });
  expect(storage.atMs).toBe(clock.now());
});

test('the runtime is asked once in a while, and again at once after it failed', async () => {
  let calls = 0;
  const meter = storageOf(async () => {
    calls += 1;
    if (calls === 1) throw new Error('no runtime');
    return [];
  });
  await expect(meter.layers(10_000)).rejects.toThrow('no runtime');
  await Promise.all([meter.layers(10_000), meter.layers(10_000)]);
  expect(calls).toBe(2);
  await clock.advance(10_000);
  await meter.layers(10_000);
  expect(calls).toBe(3);
});

test('claims and volumes in memory do not count as ephemeral storage', () => {
  const use = { usedBytes: 10, inodesUsed: 1 };
  const storage = podStorageOf(fakeTarget([]), {
    layers: { atMs: 3, containers: new Map() },
    logs: { atMs: 2, monotonicMs: 0, containers: new Map(), others: use },
    volumes: {
      atMs: 1,
      volumes: [
        { name: 'data', claim: undefined, onDisk: true, ...use },
        { name: 'mem', claim: undefined, onDisk: false, ...use },
        { name: 'db', claim: { name: 'c', namespace: 'd' }, onDisk: false, ...use },
        { name: 'unknown', claim: undefined, onDisk: true },
      ],
    },
  })!;
  expect(storage.total).toEqual({ usedBytes: 20, inodesUsed: 2 });
  expect([...storage.volumes.keys()]).toEqual(['data', 'mem']);
  expect(storage.inMemory).toEqual(new Set(['mem']));
  expect(storage.atMs).toBe(1);
});

test('nothing is said of a pod whose logs or volumes were never looked at', () => {
  const known = { layers: { atMs: 0, containers: new Map() }, logs: undefined, volumes: { atMs: 0, volumes: [] } };
  expect(podStorageOf(fakeTarget([]), known)).toBeUndefined();
});
