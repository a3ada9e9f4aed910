// Volumes of claims as a pod gets them: with real mounts and a CSI driver on real sockets, against an API server in
// memory. Needs root; everything happens below one temporary directory.
import { mkdir, mkdtemp, readFile, readlink, rm, stat, statfs, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, type TestContext, test, vi } from 'vitest';
import type { CSIDriver, Node, PersistentVolume, PersistentVolumeClaim } from '../../api/kinds.ts';
import type { Pod, PodSpec } from '../../api/pod.ts';
import { csiDrivers, nodes, persistentVolumeClaims, persistentVolumes } from '../../api/resources.ts';
import { FakeApi } from '../../client/fake-client.ts';
import { createInformer } from '../../client/informer.ts';
import { systemClock } from '../../core/clock.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { execOk, systemExec } from '../../host/exec.ts';
import { mountsUnder, systemMounter } from '../../host/mounts.ts';
import { PluginManager } from '../../kubelet/plugins/plugin-manager.ts';
import { ClaimVolumes } from '../../kubelet/volumes/claims/claim-volumes.ts';
import { CsiAttachments } from '../../kubelet/volumes/csi/csi-attachments.ts';
import { CSI_PLUGIN_TYPE, CsiDrivers } from '../../kubelet/volumes/csi/csi-drivers.ts';
import { CsiNodeObject } from '../../kubelet/volumes/csi/csi-node.ts';
import { CsiRecords } from '../../kubelet/volumes/csi/csi-records.ts';
import { CsiVolumes } from '../../kubelet/volumes/csi/csi-volumes.ts';
import { LocalVolumes } from '../../kubelet/volumes/local-volumes.ts';
import { ObjectCache } from '../../kubelet/volumes/object-cache.ts';
import { TokenManager } from '../../kubelet/volumes/token-manager.ts';
import { type CsiDriverOptions, TestCsiDriver } from '../harness/csi-driver.ts';
import { GrpcFailure } from '../harness/plugin-socket.ts';

const NODE = 'n1';
const DRIVER = 'dir.csi.test';
const NAMESPACE = 'default';
/** The agent looks at volumes that may have grown about as often as a kubelet syncs its pods. */
const LOOK_MS = 75_000;
const mounter = systemMounter(systemExec);
const signal = new AbortController().signal;
const eventually = { timeout: 120_000, interval: 20 };

const NO_GROWTH = 'Expander.NodeExpand failed to expand the volume : rpc error:';

let root = '';
let api: FakeApi;
let clock: FakeClock;
let events: string[] = [];
let notified: string[] = [];
let volumes: LocalVolumes;
let records: CsiRecords;
let stack: AsyncDisposableStack;

/** All of the agent that mounts volumes; what falls due goes by `clock`. */
async function startAgent(): Promise<void> {
  const deps = { client: api, clock: systemClock, log: silentLog };
  records = new CsiRecords(root, silentLog);
  const ownNode = createInformer(api, nodes, { fieldSelector: `metadata.name=${NODE}` }, deps);
  const notifyPod = (uid: string) => notified.push(uid);
  const attachments = stack.use(
    new CsiAttachments(NODE, {
      ...deps,
      ownNode: ownNode.store,
      records,
      onInUseChanged: () => {},
      notifyPod,
      onLimitReached: () => {},
    }),
  );
  const registered = new CsiDrivers({
    ...deps,
    node: new CsiNodeObject(NODE, deps),
    onRegistered: () => volumes.notifyWaitingPods(),
  });
  const tokens = stack.use(new TokenManager({ ...deps, onRefreshDue: () => {} }));
  const recorder = {
    event: (about: { kind?: string }, _: string, reason: string, message: string) =>
      void events.push(`${about.kind} ${reason} ${message}`),
  };
  const csi = new CsiVolumes(NODE, {
    ...deps,
    events: recorder,
    mounter,
    tokens,
    records,
    drivers: registered,
    attachments,
  });
  const claims = stack.use(
    new ClaimVolumes(
      { nodeName: NODE, rootDir: root },
      { ...deps, clock, ownNode: ownNode.store, csi, attachments, records, mounter, events: recorder, notifyPod },
    ),
  );
  const objects = stack.use(new ObjectCache(deps));
  const fieldFacts = () => ({ podIps: [], hostIps: [], nodeAllocatable: {} });
  volumes = stack.use(
    new LocalVolumes(
      { rootDir: root, nodeMemoryBytes: 1 << 30 },
      { ...deps, clock, objects, tokens, claims, mounter, events: recorder, fieldFacts },
    ),
  );
  volumes.onPodVolumesChanged(notifyPod);
  const handlers = new Map([[CSI_PLUGIN_TYPE, registered]]);
  const plugins = new PluginManager(path.join(root, 'plugins_registry'), handlers, deps);
  const stop = new AbortController();
  const running = [ownNode.run(stop.signal), plugins.run(stop.signal)];
  stack.defer(async () => {
    stop.abort();
    await Promise.all(running);
  });
  await ownNode.store.waitForSync(AbortSignal.timeout(120_000));
}

async function startDriver(spec: CSIDriver['spec'] = {}, opts: Partial<CsiDriverOptions> = {}) {
  await api.create(csiDrivers, {}, { metadata: { name: DRIVER }, spec: { attachRequired: false, ...spec } });
  const driver = stack.use(
    new TestCsiDriver({ name: DRIVER, rootDir: root, dataDir: path.join(root, 'data'), ...opts }),
  );
  await driver.start();
  await vi.waitFor(() => expect(driver.said.at(-1)).toBe('registered'), eventually);
  stack.defer(() => noStrays());
  return driver;
}

const claimName = { namespace: NAMESPACE, name: 'c' };
const patchClaim = (body: object) => api.patch(persistentVolumeClaims, claimName, { type: 'merge', body });
const patchClaimStatus = (status: object) =>
  api.patch(persistentVolumeClaims, claimName, { type: 'merge', body: { status } }, { subresource: 'status' });
const patchVolume = (spec: object) => api.patch(persistentVolumes, { name: 'pv' }, { type: 'merge', body: { spec } });

/** The claim `c` and its PersistentVolume `pv`, bound. */
async function bind(spec: PersistentVolume['spec'], capacity = '1Gi'): Promise<PersistentVolumeClaim> {
  const claim = await api.create<PersistentVolumeClaim>(persistentVolumeClaims, claimName, {
    metadata: claimName,
    spec: { volumeName: 'pv' },
  });
  await patchClaimStatus({ phase: 'Bound', capacity: { storage: capacity } });
  await api.create(
    persistentVolumes,
    {},
    {
      metadata: { name: 'pv' },
      spec: {
        capacity: { storage: capacity },
        accessModes: ['ReadWriteOnce'],
        claimRef: { ...claimName, uid: claim.metadata!.uid! },
        ...spec,
      },
    },
  );
  return claim;
}

function podOf(uid: string, spec: Partial<PodSpec> = {}): Pod {
  const volume = { name: 'v', persistentVolumeClaim: { claimName: 'c' } };
  return {
    metadata: { namespace: NAMESPACE, name: `pod-${uid}`, uid },
    spec: {
      nodeName: NODE,
      volumes: [volume],
      containers: [{ name: 'c', volumeMounts: [{ name: 'v', mountPath: '/v' }] }],
      ...spec,
    },
  };
}

const mount = async (pod: Pod) => (await volumes.mountPod(pod, signal)).get('v')!;
const mountPoints = async () => mountsUnder(await mounter.list(), root).map((m) => m.mountPoint);
/** No pod waits for the driver to unstage its volume. */
const noStrays = (driver = DRIVER) => vi.waitFor(() => expect(records.strays(driver)).toEqual([]), eventually);
const csiSource = { csi: { driver: DRIVER, volumeHandle: 'h' } };

async function loopDevice(context: TestContext): Promise<{ readonly image: string; readonly device: string }> {
  const image = path.join(root, 'image');
  await execOk(systemExec, 'truncate', ['-s', '16M', image], { timeoutMs: 30_000 });
  const loop = await systemExec('losetup', ['--find', '--show', image]);
  if (loop.code !== 0) context.skip(`no loop device: ${loop.stderr}`);
  const device = loop.stdout.trim();
  stack.defer(async () => void (await execOk(systemExec, 'losetup', ['--detach', device], { timeoutMs: 30_000 })));
  return { image, device };
}

/** CAP_SYS_RESOURCE, which containers of CI systems often lack. */
async function mayGrowFileSystems(): Promise<boolean> {
  const capabilities = /^CapEff:\s*(\w+)/m.exec(await readFile('/proc/self/status', 'utf8'))![1];
  return (BigInt(`0x${capabilities}`) >> 24n) % 2n === 1n;
}

describe.skipIf(process.getuid?.() !== 0)('volumes of claims', () => {
  beforeEach(async () => {
    root = await mkdtemp(path.join(tmpdir(), 'claims-'));
    await mkdir(path.join(root, 'data'));
    api = new FakeApi();
    clock = new FakeClock();
    events = [];
    notified = [];
    stack = new AsyncDisposableStack();
    await api.create(nodes, {}, { metadata: { name: NODE, labels: { zone: 'a' } } } as Node);
    await startAgent();
  });

  afterEach(async () => {
    await stack.disposeAsync();
    for (const mountPoint of await mountPoints()) await mounter.unmount(mountPoint);
    await rm(root, { recursive: true });
  });

  test('what is wrong with a claim is told, step by step until it can be used', async () => {
    const pod = podOf('u');
    const told = async (text: string) => {
      const inAll = `unmounted volumes=[v], unattached volumes=[], failed to process volumes=[v]: error processing PVC default/c: ${text}`;
      await expect(volumes.mountPod(pod, signal)).rejects.toThrow(inAll);
      expect(events.splice(0).join()).toContain(`Pod FailedMount Unable to attach or mount volumes: ${inAll}`);
    };
    await told('failed to fetch PVC from API server: ');
    const made = await api.create<PersistentVolumeClaim>(persistentVolumeClaims, claimName, {
      metadata: claimName,
      spec: {},
    });
    await told('PVC is not bound');
    await patchClaimStatus({ phase: 'Bound' });
    await told('PVC has empty pvc.Spec.VolumeName');
    await patchClaim({ spec: { volumeName: 'pv' } });
    await told('failed to fetch PV pv from API server: ');
    await api.create(persistentVolumes, {}, { metadata: { name: 'pv' }, spec: { hostPath: { path: root } } });
    await told('found PV object pv but it has a nil pv.Spec.ClaimRef');
    await patchVolume({ claimRef: { ...claimName, uid: 'other' } });
    await told('found PV object pv but its pv.Spec.ClaimRef.UID other does not point to claim.UID ');
    await patchVolume({ claimRef: { uid: made.metadata?.uid } });
    expect(await mount(pod)).toMatchObject({ hostPath: root, readOnly: false });
    expect(events).toEqual([]);
  });

  test('a claim for a pod alone must be the pod’s own', async () => {
    const pod = podOf('u', { volumes: [{ name: 'v', ephemeral: { volumeClaimTemplate: { spec: {} } } }] });
    const name = { namespace: NAMESPACE, name: 'pod-u-v' };
    await api.create(persistentVolumeClaims, name, { metadata: name, spec: { volumeName: 'pv' } });
    await expect(mount(pod)).rejects.toThrow(
      'error processing PVC default/pod-u-v: PVC default/pod-u-v was not created for pod default/pod-u (pod is not owner)',
    );
  });

  test('a hostPath volume is checked as in a pod, and tried again with back-off', async () => {
    const file = path.join(root, 'file');
    await bind({ hostPath: { path: file, type: 'File' } });
    const annotations = { 'pv.beta.kubernetes.io/gid': '1234' };
    await api.patch(persistentVolumes, { name: 'pv' }, { type: 'merge', body: { metadata: { annotations } } });
    const failed = `Pod FailedMount MountVolume.SetUp failed for volume "pv" : hostPath type check failed: ${file} is not a file`;
    for (let i = 0; i < 3; i++) await expect(mount(podOf('u'))).rejects.toThrow('is not a file');
    expect(events).toEqual([failed]); // the others came too early
    await clock.advance(500);
    expect(notified).toEqual(['u']);
    await expect(mount(podOf('u'))).rejects.toThrow('is not a file');
    expect(events).toEqual([failed, failed]);
    await writeFile(file, '');
    await clock.advance(1000);
    expect(notified).toEqual(['u', 'u']);
    expect(await mount(podOf('u'))).toMatchObject({ hostPath: file, gid: 1234 });
    expect(clock.sleeping).toBe(0);
  });

  test('NFS: what pod and PersistentVolume say is what mount is asked for', async () => {
    // There is no server: with a helper of NFS or without, mount says no at once.
    await bind({ nfs: { server: '127.0.0.1', path: '/x' }, mountOptions: ['retry=0'] });
    const claimed = podOf('u', { volumes: [{ name: 'v', persistentVolumeClaim: { claimName: 'c', readOnly: true } }] });
    await expect(mount(claimed)).rejects.toMatchObject({ code: 'VOLUME_MOUNT_FAILED' });
    const dir = path.join(root, 'pods/u/volumes/kubernetes.io~nfs/pv');
    expect(events.at(-1)).toContain('Pod FailedMount MountVolume.SetUp failed for volume "pv" : ');
    expect(events.at(-1)).toContain(`mount -n -t nfs -o retry=0,ro -- 127.0.0.1:/x ${dir}`);
    const inline = podOf('u2', { volumes: [{ name: 'v', nfs: { server: 'host', path: 'x' } }] });
    await expect(mount(inline)).rejects.toMatchObject({ code: 'VOLUME_MOUNT_FAILED' });
    expect(events.at(-1)).toBe('Pod FailedMount MountVolume.SetUp failed for volume "v" : "host:x" is no NFS export');
    for (const uid of ['u', 'u2']) await volumes.unmountPod(uid, signal);
  });

  test('a local volume: bound into the pod, given to its group, kept when the pod goes', async () => {
    const disk = path.join(root, 'disk');
    const required = (zone: string) => ({
      nodeSelectorTerms: [{ matchExpressions: [{ key: 'zone', operator: 'In', values: [zone] }] }],
    });
    await bind({ local: { path: disk }, nodeAffinity: { required: required('b') } });
    const pod = podOf('u', { securityContext: { fsGroup: 4321 } });
    await expect(mount(pod)).rejects.toThrow('no matching NodeSelectorTerms');
    expect(events.at(-1)).toBe(
      'Pod FailedMount MountVolume.NodeAffinity check failed for volume "pv" : no matching NodeSelectorTerms',
    );
    await patchVolume({ nodeAffinity: { required: required('a') } });
    await clock.advance(200_000);
    await expect(mount(pod)).rejects.toThrow(`path "${disk}" does not exist`);
    await mkdir(disk, { mode: 0o700 });
    await clock.advance(200_000);
    const { hostPath } = await mount(pod);
    expect(hostPath).toBe(path.join(root, 'pods/u/volumes/kubernetes.io~local-volume/pv'));
    expect([(await stat(disk)).gid, (await stat(disk)).mode & 0o7777]).toEqual([4321, 0o2770]);
    await writeFile(path.join(hostPath, 'kept'), 'yes');
    await volumes.removePodDir('u', signal);
    expect(await mountPoints()).toEqual([]);
    expect(await readFile(path.join(disk, 'kept'), 'utf8')).toBe('yes');
    expect(await volumes.listPodDirs()).toEqual([]);
  });

  test('a local volume behind a link is shared; the group of its files is that of the first pod', async () => {
    await mkdir(path.join(root, 'disk'));
    await symlink(path.join(root, 'disk'), path.join(root, 'link'));
    await bind({ local: { path: path.join(root, 'link') } });
    const one = await mount(podOf('one', { securityContext: { fsGroup: 1111 } }));
    await writeFile(path.join(one.hostPath, 'file'), 'shared');
    const two = await mount(podOf('two', { securityContext: { fsGroup: 2222 } }));
    expect(await readFile(path.join(two.hostPath, 'file'), 'utf8')).toBe('shared');
    expect((await stat(two.hostPath)).gid).toBe(1111);
    const text = 'The requested fsGroup is 2222, but the volume pv has GID 1111. The volume may not be shareable.';
    expect(events).toEqual([`Pod AlreadyMountedVolume ${text}`]);
    for (const uid of ['one', 'two']) await volumes.removePodDir(uid, signal);
    expect(await mountPoints()).toEqual([]);
  });

  test('a local volume that the pod only reads cannot be written by way of the pod, not even by the agent', async () => {
    const disk = path.join(root, 'disk');
    await mkdir(disk);
    await bind({ local: { path: disk } });
    const persistentVolumeClaim = { claimName: 'c', readOnly: true };
    const pod = podOf('u', { volumes: [{ name: 'v', persistentVolumeClaim }], securityContext: { fsGroup: 4321 } });
    const { hostPath, readOnly } = await mount(pod);
    expect(readOnly).toBe(true);
    await expect(mkdir(path.join(hostPath, 'sub'))).rejects.toThrow(/EROFS/);
    await mkdir(path.join(disk, 'by-the-host'));
    expect((await stat(disk)).gid).toBe(0);
    await volumes.unmountPod('u', signal);
  });

  test('a local device gets a file system once, is mounted for all its pods and unmounted with the last', async (context) => {
    const { device } = await loopDevice(context);
    await bind({ local: { path: device } });
    const global = path.join(root, 'plugins/kubernetes.io/local-volume/mounts/pv');
    const [one, two] = await Promise.all([mount(podOf('one')), mount(podOf('two'))]);
    await writeFile(path.join(one.hostPath, 'file'), 'kept');
    expect(await readFile(path.join(two.hostPath, 'file'), 'utf8')).toBe('kept');
    const mounts = mountsUnder(await mounter.list(), root);
    expect(mounts.map((m) => [m.fsType, m.source])).toEqual(Array(3).fill(['ext4', device]));
    await volumes.removePodDir('one', signal);
    expect(await mountPoints()).toEqual(expect.arrayContaining([global, two.hostPath]));
    await volumes.removePodDir('two', signal);
    expect(await mountPoints()).toEqual([]);
    const again = await mount(podOf('three'));
    expect(await readFile(path.join(again.hostPath, 'file'), 'utf8')).toBe('kept');
    await volumes.removePodDir('three', signal);
    expect(await mountPoints()).toEqual([]);
  });

  test('a local device that has grown: its file system follows while a pod uses it', async (context) => {
    const { image, device } = await loopDevice(context);
    await bind({ local: { path: device } });
    const { hostPath } = await mount(podOf('u'));
    const { blocks: before } = await statfs(hostPath);
    await execOk(systemExec, 'truncate', ['-s', '32M', image], { timeoutMs: 30_000 });
    await execOk(systemExec, 'losetup', ['--set-capacity', device], { timeoutMs: 30_000 });
    await patchVolume({ capacity: { storage: '2Gi' } });
    await clock.advance(LOOK_MS);
    expect(notified).toEqual(['u']);
    await mount(podOf('u'));
    const { blocks: after } = await statfs(hostPath);
    const { capacity } = (await api.get(persistentVolumeClaims, claimName)).status!;
    if (await mayGrowFileSystems()) {
      expect(after).toBeGreaterThan(1.5 * before);
      expect(capacity).toEqual({ storage: '2Gi' });
      const succeeded = `MountVolume.NodeExpandVolume succeeded for volume "pv" ${NODE}`;
      expect(events).toContain(`Pod FileSystemResizeSuccessful ${succeeded}`);
    } else {
      expect(after).toBe(before); // the kernel lets nobody without CAP_SYS_RESOURCE, and the claim goes on as it was
      expect(capacity).toEqual({ storage: '1Gi' });
      expect(events).toEqual([expect.stringMatching(/^Pod VolumeResizeFailed .*resize2fs: Permission denied/s)]);
    }
    await volumes.removePodDir('u', signal);
    expect(await mountPoints()).toEqual([]);
  });

  test('of a local volume that is a directory nothing grows but what its claim tells', async () => {
    const disk = path.join(root, 'data/disk');
    await mkdir(disk);
    await bind({ local: { path: disk } });
    await patchVolume({ capacity: { storage: '2Gi' } });
    await mount(podOf('u'));
    expect((await api.get(persistentVolumeClaims, claimName)).status?.capacity).toEqual({ storage: '2Gi' });
    await volumes.unmountPod('u', signal);
    expect(clock.sleeping).toBe(0);
    await volumes.removePodDir('u', signal);
  });

  test('a local block volume is a link to its device, not a mount', async () => {
    const device = path.join(root, 'device');
    await execOk(systemExec, 'mknod', [device, 'b', '7', '77'], { timeoutMs: 30_000 });
    await bind({ local: { path: device }, volumeMode: 'Block' });
    await expect(mount(podOf('u'))).rejects.toThrow('volume v has volumeMode Block, but is specified in volumeMounts');
    const containers = [{ name: 'c', volumeDevices: [{ name: 'v', devicePath: '/dev/v' }] }];
    events = [];
    const { hostPath, isBlock } = await mount(podOf('u', { containers }));
    expect(isBlock).toBe(true);
    expect(await readlink(hostPath)).toBe(device);
    await mount(podOf('u', { containers })); // tells nobody anew
    const dir = path.join(root, 'pods/u/volumeDevices/kubernetes.io~local-volume');
    expect(events).toEqual([
      `Pod SuccessfulMountVolume MapVolume.MapPodDevice succeeded for volume "pv" volumeMapPath "${dir}"`,
    ]);
    await volumes.removePodDir('u', signal);
    expect((await stat(device)).isBlockDevice()).toBe(true);
  });

  test('ReadWriteOncePod: a second pod waits until the first has gone', async () => {
    await startDriver();
    await bind({ ...csiSource, accessModes: ['ReadWriteOncePod'] });
    await mount(podOf('one'));
    await stack.disposeAsync();
    stack = new AsyncDisposableStack();
    await api.delete(csiDrivers, { name: DRIVER });
    await startAgent();
    await startDriver();
    await mount(podOf('one')); // an agent that came later finds it in use by just this pod
    const text = 'volume uses the ReadWriteOncePod access mode and is already in use by another pod';
    await expect(mount(podOf('two'))).rejects.toThrow(text);
    expect(events).toEqual([`Pod FailedMount MountVolume.SetUp failed for volume "pv" : ${text}`]);
    await volumes.unmountPod('one', signal);
    await clock.advance(500);
    expect(notified).toEqual(['two']);
    await mount(podOf('two'));
    await volumes.unmountPod('two', signal);
  });

  test('a driver that refuses is asked again only when that is due, or at once when it registers anew', async () => {
    const driver = await startDriver();
    await bind(csiSource);
    const refuse = () => driver.next('NodeStageVolume', { fail: new GrpcFailure('INTERNAL', 'out of order') });
    refuse();
    for (let i = 0; i < 3; i++) await expect(mount(podOf('u'))).rejects.toThrow('out of order');
    expect(driver.steps).toEqual(['NodeStageVolume']);
    expect(events).toEqual([
      'Pod FailedMount MountVolume.MountDevice failed for volume "pv" : rpc error: code = Internal desc = out of order',
    ]);
    refuse();
    await clock.advance(500);
    await expect(mount(podOf('u'))).rejects.toThrow('out of order');
    expect(driver.steps).toHaveLength(2);
    notified = [];
    await driver.stop();
    await driver.start();
    await vi.waitFor(() => expect(notified).toContain('u'), eventually);
    await mount(podOf('u'));
    await volumes.unmountPod('u', signal);
  });

  test('what cannot be taken back while its driver is away is looked at as soon as the driver is back', async () => {
    const driver = await startDriver();
    await bind(csiSource);
    await mount(podOf('u'));
    await driver.stop();
    await expect(volumes.removePodDir('u', signal)).rejects.toMatchObject({ code: 'VOLUME_UNMOUNT_FAILED' });
    notified = [];
    await driver.start();
    await vi.waitFor(() => expect(notified).toContain('u'), eventually);
    await volumes.removePodDir('u', signal);
    await noStrays();
    expect(await mountPoints()).toEqual([]);
  });

  test('a volume of a cloud is served by its CSI driver', async () => {
    const name = 'ebs.csi.aws.com';
    await api.create(csiDrivers, {}, { metadata: { name }, spec: { attachRequired: false } });
    const driver = await startDriver({}, { name });
    await bind({ awsElasticBlockStore: { volumeID: 'aws://zone/vol-1', fsType: 'ext4' } });
    await mount(podOf('u'));
    expect(driver.steps).toEqual(['NodeStageVolume', 'NodePublishVolume']);
    const { request } = driver.calls.find((c) => c.method === 'NodeStageVolume')!;
    expect(request).toMatchObject({ volumeId: 'vol-1', volumeContext: { partition: '0' } });
    await volumes.removePodDir('u', signal);
    await noStrays(name);
    expect(await mountPoints()).toEqual([]);
  });

  test('a volume that has grown: the driver grows its file system, at the mount and later', async () => {
    const driver = await startDriver({}, { capabilities: ['STAGE_UNSTAGE_VOLUME', 'EXPAND_VOLUME'] });
    await bind(csiSource);
    await patchVolume({ capacity: { storage: '2Gi' } });
    await mount(podOf('u'));
    const succeeded = `MountVolume.NodeExpandVolume succeeded for volume "pv" ${NODE}`;
    const both = [
      `Pod FileSystemResizeSuccessful ${succeeded}`,
      `PersistentVolumeClaim FileSystemResizeSuccessful ${succeeded}`,
    ];
    expect(events.splice(0)).toEqual(both);
    const request = () => driver.calls.findLast((c) => c.method === 'NodeExpandVolume')?.request;
    expect(request()).toMatchObject({
      volumeId: 'h',
      volumePath: path.join(root, 'pods/u/volumes/kubernetes.io~csi/pv/mount'),
      capacityRange: { requiredBytes: 2 * 1024 ** 3 },
    });
    expect((await api.get(persistentVolumeClaims, claimName)).status?.capacity).toEqual({ storage: '2Gi' });

    driver.calls.length = 0;
    await mount(podOf('u'));
    expect(driver.calls).toEqual([]);
    await patchVolume({ capacity: { storage: '3Gi' } });
    driver.next('NodeExpandVolume', { fail: new GrpcFailure('INTERNAL', 'no') });
    await clock.advance(LOOK_MS);
    expect(notified.splice(0)).toEqual(['u']);
    await mount(podOf('u')); // stays in use
    const refused = `NodeExpandVolume.NodeExpandVolume failed for volume "pv" : ${NO_GROWTH} code = Internal desc = no`;
    expect(events.splice(0)).toEqual([`Pod VolumeResizeFailed ${refused}`]);
    await clock.advance(LOOK_MS);
    await mount(podOf('u'));
    expect(events.splice(0)).toEqual(both);
    expect(request()).toMatchObject({ capacityRange: { requiredBytes: 3 * 1024 ** 3 } });
    await volumes.unmountPod('u', signal);
    expect(clock.sleeping).toBe(0);
  });

  test('growth that the resizer follows: in progress, refused, given up, asked for anew', async () => {
    const driver = await startDriver({}, { capabilities: ['STAGE_UNSTAGE_VOLUME', 'EXPAND_VOLUME'] });
    await bind(csiSource);
    const told = async () => {
      const { allocatedResourceStatuses, capacity, conditions } = (await api.get(persistentVolumeClaims, claimName))
        .status as { allocatedResourceStatuses?: object; capacity?: object; conditions?: { type: string }[] };
      return { ...allocatedResourceStatuses, capacity, conditions: conditions?.map((c) => c.type) ?? [] };
    };
    const expanded = () => driver.steps.filter((step) => step === 'NodeExpandVolume').length;
    const grow = async (size: string) => {
      await patchVolume({ capacity: { storage: size } });
      await patchClaim({ spec: { resources: { requests: { storage: size } } } });
      const allocatedResourceStatuses = { storage: 'NodeResizePending' };
      await patchClaimStatus({ allocatedResources: { storage: size }, allocatedResourceStatuses });
    };
    await grow('9Gi');
    driver.next('NodeExpandVolume', { fail: new GrpcFailure('PERMISSION_DENIED', 'no') });
    await expect(mount(podOf('u'))).rejects.toThrow(`${NO_GROWTH} code = PermissionDenied desc = no`);
    expect(events.splice(0)).toEqual([
      `Pod FailedMount MountVolume.Setup failed while expanding volume for volume "pv" : ${NO_GROWTH} code = PermissionDenied desc = no`,
    ]);
    const refused = { capacity: { storage: '1Gi' }, conditions: ['NodeResizeError'] };
    expect(await told()).toEqual({ storage: 'NodeResizeInProgress', ...refused });

    await patchClaim({ spec: { resources: { requests: { storage: '5Gi' } } } }); // taken back: the resizer must hear of it
    driver.next('NodeExpandVolume', { fail: new GrpcFailure('PERMISSION_DENIED', 'no') });
    await clock.advance(500);
    await expect(mount(podOf('u'))).rejects.toThrow('PermissionDenied');
    expect(await told()).toEqual({ storage: 'NodeResizeInfeasible', ...refused });
    expect(expanded()).toBe(2);
    await clock.advance(1_000);
    await mount(podOf('u')); // what is not feasible keeps no pod waiting
    expect(expanded()).toBe(2);

    await grow('5Gi');
    driver.next('NodeExpandVolume', { fail: new GrpcFailure('FAILED_PRECONDITION', 'in use') });
    await clock.advance(LOOK_MS);
    await mount(podOf('u'));
    await clock.advance(LOOK_MS);
    await mount(podOf('u'));
    expect(expanded()).toBe(3); // not again while it is in use
    await volumes.unmountPod('u', signal);
    await mount(podOf('u2'));
    expect(expanded()).toBe(4);
    expect(await told()).toEqual({ capacity: { storage: '5Gi' }, conditions: [] });
    await volumes.unmountPod('u2', signal);
    expect(clock.sleeping).toBe(0);
  });

  test('a driver that asks for it publishes again from time to time', async () => {
    const driver = await startDriver({ requiresRepublish: true });
    await bind(csiSource);
    await mount(podOf('u'));
    driver.calls.length = 0;
    await clock.advance(LOOK_MS);
    expect(notified).toEqual(['u']);
    await mount(podOf('u'));
    expect(driver.steps).toEqual(['NodePublishVolume']);
    await volumes.unmountPod('u', signal);
    expect(clock.sleeping).toBe(0);
  });

  test('a driver that will not publish again leaves the pod what it has', async () => {
    const driver = await startDriver({ requiresRepublish: true });
    await bind(csiSource);
    const { hostPath } = await mount(podOf('u'));
    driver.calls.length = 0;
    driver.next('NodePublishVolume', { fail: new GrpcFailure('INTERNAL', 'no') });
    expect((await mount(podOf('u'))).hostPath).toBe(hostPath);
    const refused = 'MountVolume.SetUp failed for volume "pv" : rpc error: code = Internal desc = no';
    expect(events).toEqual([`Pod FailedMount ${refused}`]);
    await mount(podOf('u'));
    expect(driver.steps).toEqual(['NodePublishVolume']); // not before it is due
    await clock.advance(500);
    expect(notified).toEqual(['u']);
    await mount(podOf('u'));
    expect(driver.steps).toEqual(['NodePublishVolume', 'NodePublishVolume']);
    await volumes.unmountPod('u', signal);
    expect(clock.sleeping).toBe(0);
  });

  test.each([
    ['None', 'ext4', [], false],
    ['File', undefined, [], true],
    ['ReadWriteOnceWithFSType', 'ext4', [], true],
    ['ReadWriteOnceWithFSType', undefined, [], false],
    ['File', 'ext4', ['VOLUME_MOUNT_GROUP' as const], false],
  ])('fsGroup: policy %s, type %s, a driver that can do %j', async (fsGroupPolicy, fsType, more, isGiven) => {
    const driver = await startDriver({ fsGroupPolicy }, { capabilities: ['STAGE_UNSTAGE_VOLUME', ...more] });
    await bind({ csi: { ...csiSource.csi, ...(fsType === undefined ? {} : { fsType }) } });
    const { hostPath } = await mount(podOf('u', { securityContext: { fsGroup: 4321 } }));
    expect((await stat(hostPath)).gid === 4321).toBe(isGiven);
    const { request } = driver.calls.find((c) => c.method === 'NodePublishVolume')!;
    const volumeMountGroup = more.length > 0 ? '4321' : '';
    expect(request.volumeCapability).toMatchObject({ mount: { volumeMountGroup } });
    await volumes.unmountPod('u', signal);
  });
});
