// CSI volumes over real sockets with real mounts, against an API server in memory. Needs root.
import { mkdir, mkdtemp, readdir, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import type { CSIDriver, Node, TokenRequest, VolumeAttachment } from '../../api/kinds.ts';
import type { Pod, PodSpec } from '../../api/pod.ts';
import { csiDrivers, csiNodes, nodes, secrets, volumeAttachments } from '../../api/resources.ts';
import { FakeApi } from '../../client/fake-client.ts';
import { createInformer } from '../../client/informer.ts';
import { systemClock } from '../../core/clock.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { systemExec } from '../../host/exec.ts';
import { mountsUnder, systemMounter } from '../../host/mounts.ts';
import { PluginManager } from '../../kubelet/plugins/plugin-manager.ts';
import { CsiAllocatable } from '../../kubelet/volumes/csi/csi-allocatable.ts';
import { CsiAttachments } from '../../kubelet/volumes/csi/csi-attachments.ts';
import { CSI_PLUGIN_TYPE, CsiDrivers } from '../../kubelet/volumes/csi/csi-drivers.ts';
import { CsiNodeObject } from '../../kubelet/volumes/csi/csi-node.ts';
import { attachmentName, CsiPaths, ephemeralHandle, uniqueVolumeName } from '../../kubelet/volumes/csi/csi-paths.ts';
import { CsiRecords } from '../../kubelet/volumes/csi/csi-records.ts';
import { type CsiSpec, inlineSpec } from '../../kubelet/volumes/csi/csi-spec.ts';
import { CsiVolumes } from '../../kubelet/volumes/csi/csi-volumes.ts';
import { TokenManager } from '../../kubelet/volumes/token-manager.ts';
import { AttachLimitError } from '../../kubelet/volumes/volume-error.ts';
import { type CsiDriverOptions, TestCsiDriver } from '../harness/csi-driver.ts';
import { GrpcFailure } from '../harness/plugin-socket.ts';

const NODE = 'n1';
const DRIVER = 'dir.csi.test';
const mounter = systemMounter(systemExec);
const signal = new AbortController().signal;
const eventually = { timeout: 120_000, interval: 20 };

let root = '';
let api: FakeApi;
const agents: Agent[] = [];
const drivers: TestCsiDriver[] = [];

/** What of the agent serves CSI. `kill` leaves everything as it is, as SIGKILL does. */
class Agent {
  readonly records = new CsiRecords(root, silentLog);
  readonly notified: string[] = [];
  readonly limits: string[] = [];
  inUseChanges = 0;
  readonly attachments: CsiAttachments;
  readonly volumes: CsiVolumes;
  /** By this go the limits of drivers that are asked for again. */
  readonly clock = new FakeClock();
  readonly #stop = new AbortController();
  readonly #running: Promise<unknown>[];

  constructor() {
    const deps = { client: api, clock: systemClock, log: silentLog };
    const ownNode = createInformer(api, nodes, { fieldSelector: `metadata.name=${NODE}` }, deps);
    this.attachments = new CsiAttachments(NODE, {
      ...deps,
      ownNode: ownNode.store,
      records: this.records,
      onInUseChanged: () => void this.inUseChanges++,
      notifyPod: (uid) => this.notified.push(uid),
      onLimitReached: (driver) => this.limits.push(driver),
    });
    const csiDrivers = new CsiDrivers({
      ...deps,
      node: new CsiNodeObject(NODE, deps),
      onRegistered: (name) => {
        allocatable.registered(name);
        void this.volumes.unstageStrays(name, signal).catch(() => undefined);
      },
    });
    const refresh = (name: string, s: AbortSignal) => csiDrivers.refreshLimit(name, s);
    const allocatable = new CsiAllocatable({ ...deps, clock: this.clock, refresh });
    const tokens = new TokenManager({ ...deps, onRefreshDue: () => {} });
    this.volumes = new CsiVolumes(NODE, {
      ...deps,
      events: { event: () => {} },
      mounter,
      tokens,
      records: this.records,
      drivers: csiDrivers,
      attachments: this.attachments,
    });
    const plugins = new PluginManager(
      path.join(root, 'plugins_registry'),
      new Map([[CSI_PLUGIN_TYPE, csiDrivers]]),
      deps,
    );
    const { signal: stopped } = this.#stop;
    this.#running = [ownNode.run(stopped), plugins.run(stopped), allocatable.run(stopped)];
    agents.push(this);
  }

  async kill(): Promise<void> {
    this.#stop.abort();
    await Promise.all(this.#running);
    this.volumes[Symbol.dispose]();
    this.attachments[Symbol.dispose]();
  }
}

async function startDriver(opts: Partial<CsiDriverOptions> = {}): Promise<TestCsiDriver> {
  const driver = new TestCsiDriver({ name: DRIVER, rootDir: root, dataDir: path.join(root, 'data'), ...opts });
  drivers.push(driver);
  return await driver.start();
}

/** Both, once the agent has taken the driver. */
async function startBoth(opts: Partial<CsiDriverOptions> = {}): Promise<{ agent: Agent; driver: TestCsiDriver }> {
  const agent = new Agent();
  const driver = await startDriver(opts);
  await vi.waitFor(() => expect(driver.said.at(-1)).toBe('registered'), eventually);
  return { agent, driver };
}

const podOf = (uid: string, spec: Partial<PodSpec> = {}): Pod => ({
  metadata: { namespace: 'default', name: `pod-${uid}`, uid },
  spec: { containers: [], nodeName: NODE, serviceAccountName: 'sa', ...spec },
});

const persistent = (over: Partial<CsiSpec> = {}): CsiSpec => ({
  specName: 'pv1',
  driver: DRIVER,
  handle: 'handle/1',
  lifecycle: 'Persistent',
  isBlock: false,
  readOnly: false,
  fsType: 'ext4',
  attributes: { a: 'b' },
  accessModes: ['ReadWriteOnce'],
  mountOptions: ['noatime'],
  secrets: { stage: undefined, publish: undefined, expand: undefined },
  ...over,
});

async function allowDriver(spec: CSIDriver['spec'] = {}): Promise<void> {
  await api.create(csiDrivers, {}, { metadata: { name: DRIVER }, spec: { attachRequired: false, ...spec } });
}

/** No pod waits for its driver to unstage. */
const unstaged = (agent: Agent) => vi.waitFor(() => expect(agent.records.strays(DRIVER)).toEqual([]), eventually);

const mountPoints = async () => mountsUnder(await mounter.list(), root).map((m) => m.mountPoint);
const json = async (file: string) => JSON.parse(await readFile(file, 'utf8'));

describe.skipIf(process.getuid?.() !== 0)('CSI volumes', () => {
  beforeEach(async () => {
    root = await mkdtemp(path.join(tmpdir(), 'csi-'));
    await mkdir(path.join(root, 'data'));
    api = new FakeApi();
    await api.create(nodes, {}, { metadata: { name: NODE } } as Node);
  });

  afterEach(async () => {
    for (const agent of agents.splice(0)) await agent.kill();
    for (const driver of drivers.splice(0)) await driver.stop();
    for (const mountPoint of await mountPoints()) await mounter.unmount(mountPoint);
    await rm(root, { recursive: true });
  });

  test('a driver shows in CSINode, annotation and labels while its socket is there', async () => {
    const { driver } = await startBoth({ topology: { 'csi.test/zone': 'z' }, maxVolumes: 7 });
    expect((await api.get(csiNodes, { name: NODE })).spec?.drivers).toEqual([
      { name: DRIVER, nodeID: 'test-node', topologyKeys: ['csi.test/zone'], allocatable: { count: 7 } },
    ]);
    const node = await api.get(nodes, { name: NODE });
    expect(node.metadata?.annotations?.['csi.volume.kubernetes.io/nodeid']).toBe(`{"${DRIVER}":"test-node"}`);
    expect(node.metadata?.labels?.['csi.test/zone']).toBe('z');
    await driver.stop();
    await vi.waitFor(
      async () => expect((await api.get(csiNodes, { name: NODE })).spec?.drivers).toEqual([]),
      eventually,
    );
  });

  test('a limit that changes is shown as soon as the CSIDriver has the driver asked again', async () => {
    await allowDriver();
    const { agent, driver } = await startBoth({ maxVolumes: 7 });
    const setPeriod = (seconds: number) => {
      const body = { spec: { nodeAllocatableUpdatePeriodSeconds: seconds } };
      return api.patch(csiDrivers, { name: DRIVER }, { type: 'merge', body });
    };
    const shown = async () => (await api.get(csiNodes, { name: NODE })).spec?.drivers[0]?.allocatable?.count;
    expect(await shown()).toBe(7);
    driver.maxVolumes = 5;
    await setPeriod(20);
    await vi.waitFor(async () => {
      await agent.clock.advance(20_000);
      expect(await shown()).toBe(5);
    }, eventually);
  });

  test('two pods share one staged volume; the last one unstages it', async () => {
    await allowDriver({ podInfoOnMount: true });
    const { agent, driver } = await startBoth();
    const paths = new CsiPaths(root);
    const spec = persistent();
    const published = await agent.volumes.mount(podOf('u1', { securityContext: { fsGroup: 4321 } }), spec, signal);
    await writeFile(path.join(published.hostPath, 'file'), 'content');
    const second = await agent.volumes.mount(podOf('u2'), spec, signal);
    expect(await readFile(path.join(second.hostPath, 'file'), 'utf8')).toBe('content');
    expect((await stat(published.hostPath)).gid).toBe(4321);
    expect((await stat(published.hostPath)).mode & 0o7777).toBe(0o2775);
    expect(published.hostPath).toBe(paths.publishTarget('u1', 'pv1'));
    expect(await json(path.join(paths.podVolumeDir('u1', 'pv1'), 'vol_data.json'))).toEqual({
      attachmentID: attachmentName('handle/1', DRIVER, NODE),
      driverName: DRIVER,
      nodeName: NODE,
      specVolID: 'pv1',
      volumeHandle: 'handle/1',
      volumeLifecycleMode: 'Persistent',
    });
    expect(await json(path.join(paths.stagingDir(DRIVER, 'handle/1'), 'vol_data.json'))).toEqual({
      driverName: DRIVER,
      volumeHandle: 'handle/1',
    });
    expect((await stat(paths.podVolumeDir('u1', 'pv1'))).mode & 0o7777).toBe(0o750);
    expect(driver.steps).toEqual(['NodeStageVolume', 'NodePublishVolume', 'NodePublishVolume']);
    expect(driver.calls.find((c) => c.method === 'NodePublishVolume')?.request).toEqual({
      volumeId: 'handle/1',
      publishContext: {},
      stagingTargetPath: paths.stagingTarget(DRIVER, 'handle/1'),
      targetPath: published.hostPath,
      volumeCapability: {
        block: undefined,
        mount: { fsType: 'ext4', mountFlags: ['noatime'], volumeMountGroup: '' },
        accessMode: { mode: 'SINGLE_NODE_WRITER' },
      },
      readonly: false,
      secrets: {},
      volumeContext: {
        a: 'b',
        'csi.storage.k8s.io/pod.name': 'pod-u1',
        'csi.storage.k8s.io/pod.namespace': 'default',
        'csi.storage.k8s.io/pod.uid': 'u1',
        'csi.storage.k8s.io/serviceAccount.name': 'sa',
        'csi.storage.k8s.io/ephemeral': 'false',
      },
    });

    driver.calls.length = 0;
    await agent.volumes.unmountPod('u1', signal);
    expect(driver.steps).toEqual(['NodeUnpublishVolume']);
    await agent.volumes.unmountPod('u2', signal);
    await agent.volumes.unmountPod('u2', signal);
    await unstaged(agent);
    expect(driver.steps).toEqual(['NodeUnpublishVolume', 'NodeUnpublishVolume', 'NodeUnstageVolume']);
    expect(await mountPoints()).toEqual([]);
    expect(await readdir(paths.podVolumesDir('u1'))).toEqual([]);
    expect(await readdir(path.join(paths.csiDir, DRIVER))).toEqual([]);
    expect(await readFile(path.join(driver.dataOf('handle/1'), 'file'), 'utf8')).toBe('content');
  });

  test('an inline volume lives and dies with its pod; tokens and secrets reach the driver', async () => {
    await allowDriver({
      volumeLifecycleModes: ['Ephemeral'],
      podInfoOnMount: true,
      tokenRequests: [{ audience: 'aud' }],
    });
    await api.create(secrets, { namespace: 'default' }, { metadata: { name: 's' }, data: { k: 'dmFsdWU=' } });
    api.onCreateSubresource('serviceaccounts', 'token', (_, body) => ({
      ...body,
      status: {
        token: `for ${(body as TokenRequest).spec.audiences.join()}`,
        expirationTimestamp: new Date(Date.now() + 3_600_000).toISOString(),
      },
    }));
    const { agent, driver } = await startBoth();
    const pod = podOf('u1');
    const source = { driver: DRIVER, readOnly: true, nodePublishSecretRef: { name: 's' } };
    const { hostPath } = await agent.volumes.mount(pod, inlineSpec(pod, { name: 'v', csi: source }), signal);
    expect(hostPath).toBe(new CsiPaths(root).publishTarget('u1', 'v'));
    await expect(writeFile(path.join(hostPath, 'x'), '')).rejects.toThrow(/EROFS/);
    expect(driver.steps).toEqual(['NodePublishVolume']);
    const { request } = driver.calls.find((c) => c.method === 'NodePublishVolume')!;
    expect(request).toMatchObject({
      volumeId: ephemeralHandle('u1', 'v'),
      stagingTargetPath: '',
      secrets: { k: 'value' },
    });
    const context = request.volumeContext as Record<string, string>;
    expect(context['csi.storage.k8s.io/ephemeral']).toBe('true');
    expect(JSON.parse(context['csi.storage.k8s.io/serviceAccount.tokens']!)).toEqual({
      aud: { token: 'for aud', expirationTimestamp: expect.stringMatching(/^\d{4}-.*Z$/) },
    });
    await agent.volumes.unmountPod('u1', signal);
    expect(await mountPoints()).toEqual([]);
  });

  test('a driver that does not serve inline volumes, and one that is not there', async () => {
    const agent = new Agent();
    const pod = podOf('u1');
    const spec = inlineSpec(pod, { name: 'v', csi: { driver: DRIVER } });
    await expect(agent.volumes.mount(pod, spec, signal)).rejects.toThrow(
      `volume mode "Ephemeral" not supported by driver ${DRIVER} (only supports ["Persistent"])`,
    );
    await allowDriver();
    await expect(agent.volumes.mount(pod, persistent(), signal)).rejects.toMatchObject({
      step: 'NewMounter initialization',
      message: `driver name ${DRIVER} not found in the list of registered CSI drivers`,
    });
  });

  test('a refusal leaves nothing to take back; a lost answer does', async () => {
    await allowDriver();
    const { agent, driver } = await startBoth();
    const paths = new CsiPaths(root);
    driver.next('NodeStageVolume', { fail: new GrpcFailure('INVALID_ARGUMENT', 'no such thing') });
    await expect(agent.volumes.mount(podOf('u1'), persistent(), signal)).rejects.toMatchObject({
      step: 'MountDevice',
      message: 'rpc error: code = InvalidArgument desc = no such thing',
    });
    expect(await readdir(path.join(paths.csiDir, DRIVER))).toEqual([]);
    await agent.volumes.unmountPod('u1', signal);
    expect(driver.steps).toEqual(['NodeStageVolume']);

    driver.next('NodeStageVolume', { lose: true });
    await expect(agent.volumes.mount(podOf('u2'), persistent(), signal)).rejects.toThrow(/code = Unavailable/);
    driver.next('NodePublishVolume', { lose: true });
    await expect(agent.volumes.mount(podOf('u2'), persistent(), signal)).rejects.toMatchObject({ step: 'SetUp' });
    expect(await mountPoints()).toHaveLength(2);
    driver.calls.length = 0;
    driver.next('NodeUnpublishVolume', { lose: true });
    await expect(agent.volumes.unmountPod('u2', signal)).rejects.toMatchObject({ code: 'VOLUME_UNMOUNT_FAILED' });
    await agent.volumes.unmountPod('u2', signal);
    await unstaged(agent);
    expect(driver.steps.at(-1)).toBe('NodeUnstageVolume');
    expect(await mountPoints()).toEqual([]);
    expect(await readdir(paths.podVolumesDir('u2'))).toEqual([]);
  });

  test('a driver that does not unstage holds up no pod; the next one has the volume staged anew', async () => {
    await allowDriver();
    const { agent, driver } = await startBoth();
    const paths = new CsiPaths(root);
    const unstages = () => driver.steps.filter((step) => step === 'NodeUnstageVolume').length;
    const refusal = { fail: new GrpcFailure('INVALID_ARGUMENT', 'not yet') };
    await agent.volumes.mount(podOf('u1'), persistent(), signal);
    for (let i = 0; i < 2; i++) driver.next('NodeUnstageVolume', refusal);
    await agent.volumes.unmountPod('u1', signal);
    expect(await readdir(paths.podVolumesDir('u1'))).toEqual([]);
    expect(agent.records.strays(DRIVER)).toHaveLength(1);
    await vi.waitFor(() => expect(unstages()).toBe(2), eventually); // tried again by itself
    driver.calls.length = 0;
    await agent.volumes.mount(podOf('u2'), persistent(), signal);
    expect(driver.steps.slice(-2)).toEqual(['NodeStageVolume', 'NodePublishVolume']);
    driver.next('NodeUnstageVolume', refusal);
    await agent.volumes.unmountPod('u2', signal);
    await vi.waitFor(async () => expect(await mountPoints()).toEqual([]), eventually);
    await unstaged(agent);
    expect(agent.inUseChanges).toBe(0); // it is not attached by a controller
  });

  test('a driver that hangs while it unstages holds up no pod, but the next one that wants the volume', async () => {
    await allowDriver();
    const { agent, driver } = await startBoth();
    await agent.volumes.mount(podOf('u1'), persistent(), signal);
    const answer = Promise.withResolvers<void>();
    const reached = Promise.withResolvers<void>();
    driver.next('NodeUnstageVolume', { hang: answer.promise, reached: reached.resolve });
    await agent.volumes.unmountPod('u1', signal);
    await reached.promise;
    const deleted = new AbortController();
    const gone = agent.volumes.mount(podOf('gone'), persistent(), deleted.signal);
    const next = agent.volumes.mount(podOf('u2'), persistent(), signal);
    deleted.abort();
    await expect(gone).rejects.toThrow(/aborted/); // a pod that is deleted waits no more
    answer.resolve();
    await next;
    expect(driver.steps.slice(-3)).toEqual(['NodeUnstageVolume', 'NodeStageVolume', 'NodePublishVolume']);
    await agent.volumes.unmountPod('u2', signal);
    await unstaged(agent);
  });

  test('two volumes of one pod with the same handle: unstaged when both have been taken back', async () => {
    await allowDriver();
    const { agent, driver } = await startBoth();
    for (const specName of ['pv1', 'pv2']) await agent.volumes.mount(podOf('u1'), persistent({ specName }), signal);
    driver.next('NodeUnpublishVolume', { fail: new GrpcFailure('INTERNAL', 'one of them not yet') });
    await expect(agent.volumes.unmountPod('u1', signal)).rejects.toMatchObject({ code: 'VOLUME_UNMOUNT_FAILED' });
    expect(driver.steps).not.toContain('NodeUnstageVolume');
    await agent.volumes.unmountPod('u1', signal);
    await unstaged(agent);
    expect(driver.steps.at(-1)).toBe('NodeUnstageVolume');
    expect(await mountPoints()).toEqual([]);
  });

  test('another agent takes back what one that was killed between stage and publish has left', async () => {
    await allowDriver();
    const { agent, driver } = await startBoth();
    const reached = Promise.withResolvers<void>();
    const never = new Promise<void>(() => {});
    driver.next('NodePublishVolume', { hang: never, reached: reached.resolve });
    const killed = new AbortController();
    const mounting = agent.volumes.mount(podOf('u1'), persistent(), killed.signal);
    const failed = expect(mounting).rejects.toThrow(/code = Canceled/);
    await reached.promise;
    killed.abort();
    await failed;
    await agent.kill();

    const second = new Agent();
    await vi.waitFor(() => expect(driver.said).toEqual(['registered', 'registered']), eventually);
    driver.calls.length = 0;
    await second.volumes.unmountPod('u1', signal);
    await unstaged(second);
    expect(driver.steps).toEqual(['NodeUnpublishVolume', 'NodeUnstageVolume']);
    expect(await mountPoints()).toEqual([]);
  });

  test('a running pod survives both: the second agent stages and publishes again, and finds all in place', async () => {
    await allowDriver();
    const { agent, driver } = await startBoth();
    const { hostPath } = await agent.volumes.mount(podOf('u1'), persistent(), signal);
    await writeFile(path.join(hostPath, 'kept'), 'yes');
    await agent.kill();
    await driver.stop();
    const both = await startBoth();
    await both.agent.volumes.mount(podOf('u1'), persistent(), signal);
    expect(await readFile(path.join(hostPath, 'kept'), 'utf8')).toBe('yes');
    expect(await mountPoints()).toHaveLength(2);
    await both.agent.volumes.unmountPod('u1', signal);
    await unstaged(both.agent);
    expect(await mountPoints()).toEqual([]);
  });

  test('what is staged and used by nobody is unstaged when its driver registers', async () => {
    await allowDriver();
    const { agent, driver } = await startBoth();
    await agent.volumes.mount(podOf('u1'), persistent(), signal);
    await agent.kill();
    const paths = new CsiPaths(root);
    await mounter.unmount(paths.publishTarget('u1', 'pv1'));
    await rm(path.join(root, 'pods'), { recursive: true });
    await driver.stop();
    await startBoth();
    await vi.waitFor(async () => expect(await mountPoints()).toEqual([]), eventually);
    await vi.waitFor(async () => expect(await readdir(path.join(paths.csiDir, DRIVER))).toEqual([]), eventually);
  });

  test('a block volume: a link to the device, gone with the pod', async () => {
    await allowDriver();
    const { agent, driver } = await startBoth();
    const { hostPath } = await agent.volumes.mount(podOf('u1'), persistent({ isBlock: true }), signal);
    const paths = new CsiPaths(root);
    expect(hostPath).toBe(paths.podDeviceLink('u1', 'pv1'));
    expect(await readlink(hostPath)).toBe(paths.blockPublishTarget('u1', 'pv1'));
    expect((await stat(hostPath)).isCharacterDevice()).toBe(true);
    expect(driver.calls.find((c) => c.method === 'NodePublishVolume')?.request).toMatchObject({
      stagingTargetPath: paths.blockStagingTarget('pv1'),
      volumeCapability: { block: {}, mount: undefined },
    });
    await agent.kill();
    const second = new Agent();
    await vi.waitFor(() => expect(driver.said).toHaveLength(2), eventually);
    await second.volumes.unmountPod('u1', signal);
    expect(await readdir(paths.podDevicesDir('u1'))).toEqual([]);
    await vi.waitFor(
      async () => expect(await readdir(path.join(paths.csiDir, 'volumeDevices'))).toEqual(['publish', 'staging']),
      eventually,
    );
    expect(driver.steps.slice(-2)).toEqual(['NodeUnpublishVolume', 'NodeUnstageVolume']);
  });

  test('attaching: in use first, then attached, then what the controller says goes to the driver', async () => {
    const { agent, driver } = await startBoth(); // without a CSIDriver object, drivers are attached
    const name = uniqueVolumeName(DRIVER, 'handle/1');
    const mount = () => agent.volumes.mount(podOf('u1'), persistent(), signal);
    expect(await agent.attachments.volumesInUse()).toEqual([]);
    await expect(mount()).rejects.toMatchObject({ step: 'attach', message: /has not been added to the list/ });
    expect(await agent.attachments.volumesInUse()).toEqual([name]);
    const setStatus = (status: Node['status']) =>
      api.patch(nodes, { name: NODE }, { type: 'merge', body: { status } }, { subresource: 'status' });
    await setStatus({ volumesInUse: [name] });
    await vi.waitFor(() => expect(agent.notified).toEqual(['u1']), eventually);
    await expect(mount()).rejects.toThrow('Volume not attached according to node status');
    await setStatus({ volumesAttached: [{ name, devicePath: '' }] });
    await vi.waitFor(() => expect(agent.notified).toEqual(['u1', 'u1']), eventually);
    await expect(mount()).rejects.toMatchObject({ step: 'WaitForAttach', message: /not found/ });
    const attachment: VolumeAttachment = {
      metadata: { name: attachmentName('handle/1', DRIVER, NODE) },
      spec: { attacher: DRIVER, nodeName: NODE, source: { persistentVolumeName: 'pv1' } },
    };
    const { metadata } = await api.create(volumeAttachments, {}, attachment);
    await expect(mount()).rejects.toThrow('Volume not attached according to its VolumeAttachment');
    const setAttachment = (status: object) => {
      const at = { name: metadata?.name ?? '' };
      return api.patch(volumeAttachments, at, { type: 'merge', body: { status } }, { subresource: 'status' });
    };
    await setAttachment({ attached: false, attachError: { message: 'not now', errorCode: 14 } });
    await expect(mount()).rejects.toMatchObject({ step: 'WaitForAttach', message: 'not now' });
    expect(agent.limits).toEqual([]);
    await setAttachment({ attachError: { message: 'no more', errorCode: 8 } });
    await expect(mount()).rejects.toThrow(AttachLimitError);
    expect(agent.limits).toEqual([DRIVER]);
    await setAttachment({ attached: true, attachError: null, attachmentMetadata: { device: '/dev/x' } });
    await mount();
    for (const method of ['NodeStageVolume', 'NodePublishVolume']) {
      const call = driver.calls.find((c) => c.method === method);
      expect(call?.request.publishContext).toEqual({ device: '/dev/x' });
    }
    agent.attachments.forgetPod('u1');
    expect(await agent.attachments.volumesInUse()).toEqual([name]); // still mounted
    await agent.kill();
    const second = new Agent();
    await vi.waitFor(async () => expect(await second.attachments.volumesInUse()).toEqual([name]), eventually);
    await vi.waitFor(() => expect(driver.said).toHaveLength(2), eventually);
    await second.volumes.unmountPod('u1', signal);
    await vi.waitFor(async () => expect(await second.attachments.volumesInUse()).toEqual([]), eventually);
  });

  test('a volume of a driver that stages nothing is free when it is unmounted, after a restart too', async () => {
    const { agent, driver } = await startBoth({ capabilities: [] }); // without a CSIDriver object, drivers are attached
    const name = uniqueVolumeName(DRIVER, 'handle/1');
    const status = { volumesInUse: [name], volumesAttached: [{ name, devicePath: '' }] };
    await api.patch(nodes, { name: NODE }, { type: 'merge', body: { status } }, { subresource: 'status' });
    const attachment = attachmentName('handle/1', DRIVER, NODE);
    const source = { persistentVolumeName: 'pv1' };
    const spec = { attacher: DRIVER, nodeName: NODE, source };
    await api.create(volumeAttachments, {}, { metadata: { name: attachment }, spec });
    const attached = { type: 'merge', body: { status: { attached: true } } } as const;
    await api.patch(volumeAttachments, { name: attachment }, attached, { subresource: 'status' });
    await vi.waitFor(() => agent.volumes.mount(podOf('u1'), persistent(), signal), eventually);
    await agent.kill();
    const second = new Agent();
    await vi.waitFor(async () => expect(await second.attachments.volumesInUse()).toEqual([name]), eventually);
    await vi.waitFor(() => expect(driver.said).toHaveLength(2), eventually);
    const before = second.inUseChanges;
    await second.volumes.unmountPod('u1', signal);
    expect(second.inUseChanges).toBe(before + 1);
    expect(await second.attachments.volumesInUse()).toEqual([]);
  });
});
