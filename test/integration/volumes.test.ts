// Volumes with real mounts and modes. Needs root; everything happens below one temporary directory.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  chmod,
  mkdir,
  mkdtemp,
  readdir,
  readFile,
  readlink,
  rm,
  stat,
  statfs,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { ConfigMap, ObjectReference, Secret, TokenRequest } from '../../api/kinds.ts';
import type { Pod, PodSpec } from '../../api/pod.ts';
import { configMaps, secrets } from '../../api/resources.ts';
import { FakeApi } from '../../client/fake-client.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { CgroupFs, detectCgroups } from '../../host/cgroup.ts';
import { systemExec } from '../../host/exec.ts';
import { mountsUnder, systemMounter } from '../../host/mounts.ts';
import { PodCgroups } from '../../kubelet/resources/pod-cgroup.ts';
import { LocalVolumes } from '../../kubelet/volumes/local-volumes.ts';
import { ObjectCache } from '../../kubelet/volumes/object-cache.ts';
import { TokenManager } from '../../kubelet/volumes/token-manager.ts';

const mounter = systemMounter(systemExec);
const signal = AbortSignal.timeout(300_000);
const UID = '11111111-2222-3333-4444-555555555555';

interface Agent extends Disposable {
  readonly volumes: LocalVolumes;
  readonly objects: ObjectCache;
  readonly events: string[];
  /** Told to who counts them. */
  readonly operations: string[];
}

let root = '';
let api: FakeApi;
let agents: Agent[] = [];

function startAgent(): Agent {
  const events: string[] = [];
  const operations: string[] = [];
  const deps = { client: api, clock: systemClock, log: silentLog };
  const objects = new ObjectCache(deps);
  const tokens = new TokenManager({ ...deps, onRefreshDue: (uid) => volumes.notifyPod(uid) });
  const volumes = new LocalVolumes(
    { rootDir: root, nodeMemoryBytes: 1 << 30 },
    {
      ...deps,
      objects,
      tokens,
      mounter,
      observer: {
        volumeOperation: (plugin, operation, _, ok) => operations.push(`${operation} ${plugin}${ok ? '' : ' failed'}`),
      },
      fieldFacts: () => ({ podIps: [], hostIps: [], nodeAllocatable: { cpu: '2' } }),
      events: { event: (_: ObjectReference, __, reason, message) => events.push(`${reason} ${message}`) },
    },
  );
  const agent: Agent = {
    volumes,
    objects,
    events,
    operations,
    [Symbol.dispose]() {
      volumes[Symbol.dispose]();
      tokens[Symbol.dispose]();
      objects[Symbol.dispose]();
    },
  };
  agents.push(agent);
  return agent;
}

function podOf(spec: Partial<PodSpec>): Pod {
  const volumes = spec.volumes ?? [];
  const volumeMounts = volumes.map((v) => ({ name: v.name, mountPath: `/mnt/${v.name}` }));
  return {
    metadata: { namespace: 'default', name: 'p', uid: UID, labels: { app: 'w"eb', a: '1' } },
    spec: { containers: [{ name: 'c', volumeMounts }], ...spec },
  };
}

const modeOf = async (file: string) => ((await stat(file)).mode & 0o7777).toString(8);
const textOf = (file: string) => readFile(file, 'utf8');

function configMap(name: string, data: Record<string, string>): ConfigMap {
  return { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'default', name }, data };
}

describe.skipIf(process.getuid?.() !== 0)('volumes on a real host', () => {
  beforeEach(async () => {
    root = await mkdtemp(path.join(tmpdir(), 'volumes-'));
    api = new FakeApi();
    agents = [];
    api.onCreateSubresource('serviceaccounts', 'token', (_, body) => ({
      ...body,
      status: {
        token: `token for ${(body as TokenRequest).spec.boundObjectRef?.name}`,
        expirationTimestamp: new Date(Date.now() + 3_600_000).toISOString(),
      },
    }));
  });

  afterEach(async () => {
    for (const agent of agents) agent[Symbol.dispose]();
    for (const mount of mountsUnder(await mounter.list(), root)) await mounter.unmount(mount.mountPoint);
    expect(mountsUnder(await mounter.list(), root)).toEqual([]);
    await rm(root, { recursive: true });
  });

  test('an ordinary pod: emptyDirs, configMap, secret and projected token, mounted, adopted and removed', async () => {
    await api.create(configMaps, { namespace: 'default' }, configMap('cm', { key: 'one' }));
    const secret: Secret = { metadata: { namespace: 'default', name: 's' }, data: { pw: 'c2VjcmV0' } };
    await api.create(secrets, { namespace: 'default' }, secret);
    const pod = podOf({
      securityContext: { fsGroup: 1234 },
      volumes: [
        { name: 'disk', emptyDir: {} },
        { name: 'ram', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
        { name: 'cm', configMap: { name: 'cm', items: [{ key: 'key', path: 'sub/file', mode: 0o400 }] } },
        { name: 's', secret: { secretName: 's', defaultMode: 0o600 } },
        {
          name: 'token',
          projected: {
            sources: [
              { serviceAccountToken: { path: 'token' } },
              { downwardAPI: { items: [{ path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } }] } },
            ],
          },
        },
      ],
    });
    const first = startAgent();
    const mounted = await first.volumes.mountPod(pod, signal);
    const dirOf = (name: string) => mounted.get(name)!.hostPath;
    expect([...mounted.keys()].sort()).toEqual(['cm', 'disk', 'ram', 's', 'token']);
    expect(first.operations.filter((o) => o.endsWith('empty-dir'))).toHaveLength(2);
    await first.volumes.mountPod(pod, signal); // nothing is left to do but to look through the content
    expect(first.operations.filter((o) => o.endsWith('empty-dir'))).toHaveLength(2);
    expect(first.operations.filter((o) => o.endsWith('projected'))).toHaveLength(2);
    expect(await modeOf(dirOf('disk'))).toBe('2777');
    expect(await modeOf(dirOf('ram'))).toBe('3777');
    expect(await modeOf(dirOf('cm'))).toBe('2777');
    expect(await modeOf(dirOf('s'))).toBe('3777');
    expect(await textOf(path.join(dirOf('cm'), 'sub/file'))).toBe('one');
    expect(await modeOf(path.join(dirOf('cm'), 'sub/file'))).toBe('440');
    expect((await stat(path.join(dirOf('s'), 'pw'))).gid).toBe(1234);
    expect(await textOf(path.join(dirOf('token'), 'token'))).toBe('token for p');
    expect(await modeOf(path.join(dirOf('token'), 'token'))).toBe('640');
    expect(await textOf(path.join(dirOf('token'), 'labels'))).toBe('a="1"\napp="w\\"eb"');
    const mounts = mountsUnder(await mounter.list(), root);
    expect(mounts.map((m) => [m.mountPoint, m.fsType]).sort()).toEqual([
      [dirOf('ram'), 'tmpfs'],
      [path.join(root, 'volatile'), 'tmpfs'],
    ]);
    await expect(writeFile(path.join(dirOf('ram'), 'big'), Buffer.alloc(2 << 20))).rejects.toThrow(/ENOSPC/);

    // The agent was killed and started again: what is there is adopted, nothing is mounted or written twice.
    await writeFile(path.join(dirOf('disk'), 'kept'), 'yes');
    const published = await readlink(path.join(dirOf('s'), '..data'));
    const second = startAgent();
    await second.volumes.mountPod(pod, signal);
    expect(mountsUnder(await mounter.list(), root)).toHaveLength(2);
    expect(await textOf(path.join(dirOf('disk'), 'kept'))).toBe('yes');
    expect(await readlink(path.join(dirOf('s'), '..data'))).toBe(published);

    // A link out of the volume is removed, not followed; so is a mount that somebody put inside.
    const outside = path.join(root, 'outside');
    await mkdir(outside);
    await writeFile(path.join(outside, 'precious'), 'x');
    await symlink(outside, path.join(dirOf('disk'), 'link'));
    await mkdir(path.join(dirOf('disk'), 'inner'));
    await mounter.mountTmpfs(path.join(dirOf('disk'), 'inner'), ['size=64k']);
    await second.volumes.removePodDir(UID, signal);
    await second.volumes.removePodDir(UID, signal);
    expect(await textOf(path.join(outside, 'precious'))).toBe('x');
    expect(await second.volumes.listPodDirs()).toEqual([]);
    expect(mountsUnder(await mounter.list(), root).map((m) => m.mountPoint)).toEqual([path.join(root, 'volatile')]);
    expect(first.events).toEqual([]);
  });

  test('a configMap that is missing is told in an Event and mounted as soon as it appears; changes follow', async () => {
    const agent = startAgent();
    const pod = podOf({ volumes: [{ name: 'v', configMap: { name: 'late' } }] });
    let changed = Promise.withResolvers<string>();
    agent.volumes.onPodVolumesChanged((uid) => changed.resolve(uid));
    await expect(agent.volumes.mountPod(pod, signal)).rejects.toMatchObject({ code: 'VOLUME_MOUNT_FAILED' });
    expect(agent.events).toEqual(['FailedMount MountVolume.SetUp failed for volume "v" : configmap "late" not found']);
    await api.create(configMaps, { namespace: 'default' }, configMap('late', { a: '1', b: '2' }));
    expect(await changed.promise).toBe(UID);
    const dir = (await agent.volumes.mountPod(pod, signal)).get('v')!.hostPath;
    expect(await textOf(path.join(dir, 'a'))).toBe('1');

    changed = Promise.withResolvers<string>();
    await api.patch(
      configMaps,
      { namespace: 'default', name: 'late' },
      { type: 'merge', body: { data: { a: 'new', b: null } } },
    );
    await changed.promise;
    await agent.volumes.mountPod(pod, signal);
    expect(await textOf(path.join(dir, 'a'))).toBe('new');
    await expect(stat(path.join(dir, 'b'))).rejects.toThrow(/ENOENT/);
    expect(agent.operations).toEqual([
      'volume_mount kubernetes.io/configmap failed',
      'volume_mount kubernetes.io/configmap',
      'volume_mount kubernetes.io/configmap',
    ]);
    agent.volumes.forgetPod(UID);
    await expect(agent.objects.getConfigMap('default', 'late')).rejects.toThrow(/not registered/);
  });

  test('a configMap that goes while a pod uses it: told in an Event, and its containers may start anew all the same', async () => {
    const agent = startAgent();
    const name = { namespace: 'default', name: 'goes' };
    await api.create(configMaps, { namespace: 'default' }, configMap('goes', { a: '1' }));
    const pod = podOf({ volumes: [{ name: 'v', configMap: { name: 'goes' } }] });
    const first = await agent.volumes.mountPod(pod, signal);
    let changed = Promise.withResolvers<string>();
    agent.volumes.onPodVolumesChanged((uid) => changed.resolve(uid));
    await api.delete(configMaps, name);
    await changed.promise;
    changed = Promise.withResolvers<string>();
    expect(await agent.volumes.mountPod(pod, signal)).toEqual(first);
    expect(await textOf(path.join(first.get('v')!.hostPath, 'a'))).toBe('1');
    expect(agent.events).toEqual(['FailedMount MountVolume.SetUp failed for volume "v" : configmap "goes" not found']);
    expect(await changed.promise).toBe(UID); // tried again when that is due, or the object is back
    await api.create(configMaps, { namespace: 'default' }, configMap('goes', { a: '2' }));
    await vi.waitFor(async () => {
      await agent.volumes.mountPod(pod, signal);
      expect(await textOf(path.join(first.get('v')!.hostPath, 'a'))).toBe('2');
    }, 60_000);
  });

  test('another agent finishes what one left at any step of mounting', async () => {
    const secret: Secret = { metadata: { namespace: 'default', name: 's' }, data: { pw: 'c2VjcmV0' } };
    await api.create(secrets, { namespace: 'default' }, secret);
    const pod = podOf({
      volumes: [
        { name: 'ram', emptyDir: { medium: 'Memory', sizeLimit: '1Mi' } },
        { name: 's', secret: { secretName: 's' } },
      ],
    });
    const podDir = path.join(root, 'pods', UID);
    const ram = path.join(podDir, 'volumes/kubernetes.io~empty-dir/ram');
    const mark = path.join(podDir, 'plugins/kubernetes.io~empty-dir/ram/ready');
    // Killed after mkdir; after the mount; after the mark, with the mount lost to a reboot.
    const leftovers: (() => Promise<unknown>)[] = [
      () => mkdir(ram, { recursive: true }),
      () => mkdir(ram, { recursive: true }).then(() => mounter.mountTmpfs(ram, ['size=1m'])),
      () => mkdir(path.dirname(mark), { recursive: true }).then(() => writeFile(mark, '')),
    ];
    for (const leave of leftovers) {
      await leave();
      const agent = startAgent();
      const mounted = await agent.volumes.mountPod(pod, signal);
      const onRam = (await mounter.list()).filter((m) => m.mountPoint === ram);
      expect(onRam.map((m) => m.fsType)).toEqual(['tmpfs']);
      expect(await modeOf(ram)).toBe('1777');
      expect(await textOf(path.join(mounted.get('s')!.hostPath, 'pw'))).toBe('secret');
      await agent.volumes.removePodDir(UID, signal);
      expect(await agent.volumes.listPodDirs()).toEqual([]);
    }
    await expect(startAgent().volumes.removePodDir('../..', signal)).rejects.toMatchObject({
      code: 'VOLUME_PATH_INVALID',
    });
  });

  const secretPod = () => podOf({ volumes: [{ name: 's', secret: { secretName: 's' } }] });
  const putSecret = (pw: string) => ({ metadata: { namespace: 'default', name: 's' }, data: { pw } }) as Secret;
  const [SECRET, CHANGED] = ['c2VjcmV0', 'Y2hhbmdlZA==']; // "secret", "changed"

  test('a secret that a kubelet mounted is brought up to date where its running containers see it', async () => {
    await api.create(secrets, { namespace: 'default' }, putSecret(SECRET));
    const kubelets = path.join(root, 'pods', UID, 'volumes/kubernetes.io~secret/s');
    await mkdir(kubelets, { recursive: true });
    await mounter.mountTmpfs(kubelets, ['size=64k']);
    const agent = startAgent();
    expect((await agent.volumes.mountPod(secretPod(), signal)).get('s')?.hostPath).toBe(kubelets);
    expect(await textOf(path.join(kubelets, 'pw'))).toBe('secret');

    await agent.volumes.removePodDir(UID, signal);
    expect(mountsUnder(await mounter.list(), path.join(root, 'pods'))).toEqual([]);
    const again = await agent.volumes.mountPod(secretPod(), signal); // e.g. a static pod's, with its uid
    expect(again.get('s')?.hostPath).toContain('/volatile/');
  });

  test('a kubelet that comes after us finds the secrets of running containers mounted where it writes them', async () => {
    await api.create(secrets, { namespace: 'default' }, putSecret(SECRET));
    const kubelets = path.join(root, 'pods', UID, 'volumes/kubernetes.io~secret/s');
    const first = startAgent();
    const seen = (await first.volumes.mountPod(secretPod(), signal)).get('s')!.hostPath;
    for (let stop = 0; stop < 2; stop++) await first.volumes.handOver();
    expect((await mounter.list()).filter((m) => m.mountPoint === kubelets).map((m) => m.fsType)).toEqual(['tmpfs']);
    await writeFile(path.join(kubelets, 'by-kubelet'), 'yes');
    expect(await textOf(path.join(seen, 'by-kubelet'))).toBe('yes');
    expect(await first.volumes.listPodDirs()).toEqual([UID]);

    // And an agent of ours goes on where it was.
    const second = startAgent();
    await api.delete(secrets, { namespace: 'default', name: 's' });
    await api.create(secrets, { namespace: 'default' }, putSecret(CHANGED));
    expect((await second.volumes.mountPod(secretPod(), signal)).get('s')?.hostPath).toBe(seen);
    expect(await textOf(path.join(seen, 'pw'))).toBe('changed');
    await second.volumes.removePodDir(UID, signal);
    expect(await second.volumes.listPodDirs()).toEqual([]);
  });

  test('huge pages: a mount of the size that the pod requests, refused without a request', async (context) => {
    const sizes = await readdir('/sys/kernel/mm/hugepages').catch(() => []);
    if (sizes.length === 0) context.skip('the kernel has no huge pages');
    const agent = startAgent();
    const kib = Math.min(...sizes.map((name) => Number(/\d+/.exec(name)?.[0])));
    const size = `${kib}Ki`;
    const mounts = (medium: string, limits: Record<string, string>) => {
      const volumes = [{ name: 'h', emptyDir: { medium } }];
      const volumeMounts = [{ name: 'h', mountPath: '/h' }];
      const containers = [{ name: 'c', volumeMounts, resources: { limits } }];
      return agent.volumes.mountPod(podOf({ volumes, containers, securityContext: { fsGroup: 77 } }), signal);
    };
    await expect(mounts('HugePages', { memory: '1Mi' })).rejects.toThrow(
      'medium HugePages: hugePages storage requested, but there is no resource request for huge pages',
    );
    for (const medium of ['HugePages', `HugePages-${size}`]) {
      const dir = (await mounts(medium, { [`hugepages-${size}`]: size })).get('h')!.hostPath;
      await mounts(medium, { [`hugepages-${size}`]: size });
      const found = (await mounter.list()).filter((m) => m.mountPoint === dir);
      const { bsize } = await statfs(dir);
      expect(found.map((m) => [m.fsType, bsize])).toEqual([['hugetlbfs', kib * 1024]]);
      expect(`${await modeOf(dir)} ${(await stat(dir)).gid}`).toBe('2775 77');
      await agent.volumes.removePodDir(UID, signal);
      expect(mountsUnder(await mounter.list(), root)).toEqual([]);
    }
  });

  test('hostPath types', async () => {
    const agent = startAgent();
    const file = path.join(root, 'file');
    await writeFile(file, '');
    await chmod(file, 0o644);
    const made = path.join(root, 'made/deep');
    const mountOf = (p: string, type: string) =>
      agent.volumes.mountPod(podOf({ volumes: [{ name: 'h', hostPath: { path: p, type } }] }), signal);
    expect((await mountOf(made, 'DirectoryOrCreate')).get('h')?.hostPath).toBe(made);
    expect(await modeOf(made)).toBe('755');
    await rm(made, { recursive: true });
    await mountOf(made, 'DirectoryOrCreate'); // the pod runs: its paths are not looked at again
    expect(await readdir(path.dirname(made))).toEqual([]);
    await agent.volumes.unmountPod(UID, signal);
    await expect(mountOf(file, 'Directory')).rejects.toThrow(`hostPath type check failed: ${file} is not a directory`);
    await expect(mountOf('/tmp/../etc', '')).rejects.toThrow(/invalid HostPath/);
  });

  test('pod cgroups are made and removed in the hierarchies of this host', async (context) => {
    const hierarchies = await detectCgroups();
    const fs = new CgroupFs(hierarchies);
    const top = `/volumes-test-${process.pid}`;
    const opts = {
      cgroupsPerQos: true,
      driver: 'cgroupfs',
      root: top,
      cpuCfsQuota: true,
      cpuPeriodUs: 100_000,
      podPidsLimit: 100,
    } as const;
    const cgroups = new PodCgroups(opts, { fs, log: silentLog });
    const pod = podOf({});
    try {
      await cgroups.ensureTree();
      if (cgroups.cgroupParentOf(pod) === '') context.skip('cgroups are read-only here');
      await cgroups.ensurePodCgroup(pod);
      await cgroups.ensurePodCgroup(pod);
      expect(await cgroups.listPodUids()).toEqual([UID]);
      const pidsMount = hierarchies.mounts.get(hierarchies.version === 2 ? 'unified' : 'pids')!;
      expect(await textOf(path.join(pidsMount, cgroups.cgroupParentOf(pod), 'pids.max'))).toBe('100\n');
      // What a runtime lost sight of goes with its pod.
      const left = spawn('sleep', ['3600'], { stdio: 'ignore' });
      const ended = once(left, 'exit');
      await mkdir(path.join(pidsMount, cgroups.cgroupParentOf(pod), 'container'));
      await writeFile(path.join(pidsMount, cgroups.cgroupParentOf(pod), 'container/cgroup.procs'), String(left.pid));
      await cgroups.removePodCgroup(UID);
      expect((await ended)[1]).toBe('SIGKILL');
      expect(await cgroups.listPodUids()).toEqual([]);
    } finally {
      await fs.remove(top);
    }
  });
});
