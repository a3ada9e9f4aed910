// Pods with volumes of a CSI driver, as a user of a cluster has them: with a driver in a process of its own, which is
// killed in the middle, as is the agent.
import { mkdir, readFile, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { CSIDriver, PersistentVolume, PersistentVolumeClaim } from '../../api/kinds.ts';
import { csiDrivers, persistentVolumeClaims, persistentVolumes } from '../../api/resources.ts';
import type { Summary } from '../../kubelet/stats/summary-types.ts';
import { labMissing } from '../harness/cluster.ts';
import type { CsiDriverOptions } from '../harness/csi-driver.ts';
import { TestCsiDriver } from '../harness/csi-driver.ts';
import { CsiDriverProcess } from '../harness/csi-driver-process.ts';
import { FaultNode, NODE } from '../harness/fault-node.ts';
import type { Kubectl } from '../harness/kubectl.ts';
import { SLEEP } from '../harness/manifests.ts';

const missing = labMissing();
if (missing !== undefined) console.warn(`CSI tests are skipped: ${missing}`);

const DRIVER = 'dir.csi.test';
const CLEAN_MS = 120_000;
const RUN_MS = 120_000;
/** Each test waits for several things in turn, each with a deadline of its own. */
const TEST_MS = 300_000;

describe.skipIf(missing !== undefined)('CSI', { timeout: TEST_MS }, () => {
  let node: FaultNode;
  let kubectl: Kubectl;
  let driver: CsiDriverProcess;
  let options: CsiDriverOptions;

  const startDriver = async () => {
    driver = await CsiDriverProcess.start(node.initPid, options);
  };
  /** Where the driver keeps the volume. */
  const dataOf = (handle: string) => new TestCsiDriver(options).dataOf(handle);

  /** A claim and its volume, bound as a controller would. */
  async function bind(name: string): Promise<string> {
    const { client } = node;
    const claim = await client.create<PersistentVolumeClaim>(
      persistentVolumeClaims,
      { namespace: 'default' },
      {
        metadata: { name },
        spec: {
          accessModes: ['ReadWriteOnce'],
          resources: { requests: { storage: '1Gi' } },
          storageClassName: '',
          volumeName: `pv-${name}`,
        },
      },
    );
    const handle = `vol-${name}`;
    await client.create<PersistentVolume>(
      persistentVolumes,
      {},
      {
        metadata: { name: `pv-${name}` },
        spec: {
          accessModes: ['ReadWriteOnce'],
          capacity: { storage: '1Gi' },
          claimRef: {
            apiVersion: 'v1',
            kind: 'PersistentVolumeClaim',
            namespace: 'default',
            name,
            uid: claim.metadata!.uid!,
          },
          csi: { driver: DRIVER, volumeHandle: handle },
        },
      },
    );
    const status = { phase: 'Bound', accessModes: ['ReadWriteOnce'], capacity: { storage: '1Gi' } };
    await client.patch(
      persistentVolumeClaims,
      { namespace: 'default', name },
      { type: 'merge', body: { status } },
      { subresource: 'status' },
    );
    return handle;
  }

  const podWith = (name: string, volume: object, command: readonly string[] = SLEEP) => ({
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name },
    spec: {
      terminationGracePeriodSeconds: 0,
      volumes: [{ name: 'v', ...volume }],
      containers: [{ name: 'main', image: 'busybox:1.36', command, volumeMounts: [{ name: 'v', mountPath: '/v' }] }],
    },
  });
  const claimed = (claimName: string) => ({ persistentVolumeClaim: { claimName } });
  const untilRunning = (name: string) => kubectl.until(`pod/${name}`, '{.status.phase}', /^Running$/, RUN_MS);

  beforeAll(async () => {
    node = await FaultNode.start();
    kubectl = await node.cluster.kubectl();
    options = {
      name: DRIVER,
      rootDir: node.paths.kubeletRoot,
      dataDir: path.join(node.cluster.dir, 'csi-data'),
      capabilities: ['STAGE_UNSTAGE_VOLUME', 'GET_VOLUME_STATS'],
    };
    await mkdir(options.dataDir);
    const spec: CSIDriver['spec'] = {
      attachRequired: false,
      podInfoOnMount: true,
      volumeLifecycleModes: ['Persistent', 'Ephemeral'],
    };
    await node.client.create(csiDrivers, {}, { metadata: { name: DRIVER }, spec });
    await startDriver();
  });
  afterAll(async () => {
    await driver?.kill();
    await node?.[Symbol.asyncDispose]();
  });

  test('a driver that registers shows in the CSINode', async () => {
    expect(await kubectl.run('get', 'csinode', NODE, '-o', 'jsonpath={.spec.drivers[*].name}')).toBe(DRIVER);
    expect(await kubectl.run('get', 'node', NODE, '-o', 'jsonpath={.metadata.annotations}')).toContain(
      'csi.volume.kubernetes.io/nodeid',
    );
  });

  test('two pods share a claim; an inline volume goes with its pod', async () => {
    const handle = await bind('shared');
    await mkdir(dataOf(handle));
    await writeFile(path.join(dataOf(handle), 'in'), 'from the driver');
    await kubectl.apply(podWith('one', claimed('shared')));
    await kubectl.apply(podWith('two', claimed('shared')));
    await kubectl.apply(podWith('inline', { csi: { driver: DRIVER } }));
    for (const name of ['one', 'two', 'inline']) await untilRunning(name);
    expect(await kubectl.run('exec', 'one', '--', 'cat', '/v/in')).toBe('from the driver');
    await kubectl.run('exec', 'two', '--', 'sh', '-c', 'echo -n from the pod > /v/out');
    expect(await readFile(path.join(dataOf(handle), 'out'), 'utf8')).toBe('from the pod');
    await kubectl.run('exec', 'inline', '--', 'sh', '-c', 'echo x > /v/x');
    await kubectl.run('delete', 'pod', 'one', 'two', 'inline', '--wait');
    await driver.untilCalled('NodeUnstageVolume');
    await node.untilClean(CLEAN_MS);
    expect(driver.steps.filter((s) => s === 'NodeStageVolume')).toHaveLength(1);
    expect(driver.steps.filter((s) => s === 'NodeUnstageVolume')).toHaveLength(1);
    expect(await readFile(path.join(dataOf(handle), 'out'), 'utf8')).toBe('from the pod');
  });

  test('how full a claim is, the driver tells: in the metrics and in the summary', async () => {
    await bind('figures');
    await kubectl.apply(podWith('figures', claimed('figures')));
    await untilRunning('figures');
    const raw = (endpoint: string) => kubectl.run('get', '--raw', `/api/v1/nodes/${NODE}/proxy/${endpoint}`);
    const labels = '{namespace="default",persistentvolumeclaim="figures"}';
    const metrics = await raw('metrics');
    expect(metrics).toContain(`kubelet_volume_stats_capacity_bytes${labels} 100\n`);
    expect(metrics).toContain(`kubelet_volume_stats_inodes_free${labels} 6\n`);
    expect(metrics).toMatch(
      /^csi_operations_seconds_count\{driver_name="dir.csi.test",method_name="\/csi.v1.Node\/NodePublishVolume",grpc_status_code="OK",migrated="false"\} [1-9]/m,
    );
    const { pods } = JSON.parse(await raw('stats/summary')) as Summary;
    const volume = pods.find((p) => p.podRef.name === 'figures')!.volume!.find((v) => v.name === 'v');
    expect(volume).toMatchObject({ usedBytes: 40, inodesUsed: 4, pvcRef: { name: 'figures', namespace: 'default' } });
    await kubectl.run('delete', 'pod', 'figures', '--wait');
    await node.untilClean(CLEAN_MS);
  });

  test('a pod whose claim is not there says so, and starts when it is', async () => {
    await kubectl.apply(podWith('early', claimed('late')));
    const events = () =>
      kubectl.run('get', 'events', '-o', 'jsonpath={range .items[*]}{.reason} {.message}{"\\n"}{end}');
    await expect
      .poll(events, { timeout: 60_000 })
      .toMatch(
        /FailedMount Unable to attach or mount volumes: unmounted volumes=\[v\], unattached volumes=\[\], failed to process volumes=\[v\]: error processing PVC default\/late: failed to fetch PVC from API server: /,
      );
    await bind('late');
    await untilRunning('early');
    await kubectl.run('delete', 'pod', 'early', '--wait');
    await node.untilClean(CLEAN_MS);
  });

  test('the agent is killed between stage and publish: the next one finishes', async () => {
    await bind('between');
    await driver.hangNext('NodePublishVolume');
    const before = driver.steps.filter((s) => s === 'NodePublishVolume').length;
    await kubectl.apply(podWith('between', claimed('between')));
    await driver.untilCalled('NodePublishVolume', before + 1);
    await node.killAgent();
    await (await node.startAgent())();
    await untilRunning('between');
    await kubectl.run('delete', 'pod', 'between', '--wait');
    await node.untilClean(CLEAN_MS);
  });

  test('the driver is killed in the middle of publishing: the pod starts when it is back', async () => {
    await bind('broken');
    await driver.hangNext('NodePublishVolume');
    const before = driver.steps.filter((s) => s === 'NodePublishVolume').length;
    await kubectl.apply(podWith('broken', claimed('broken')));
    await driver.untilCalled('NodePublishVolume', before + 1);
    await driver.kill();
    await startDriver();
    await untilRunning('broken');
    await kubectl.run('delete', 'pod', 'broken', '--wait');
    await node.untilClean(CLEAN_MS);
  });

  test('a pod that is deleted by force while its driver is away leaves nothing once it is back', async () => {
    await bind('forced');
    await kubectl.apply(podWith('forced', claimed('forced')));
    await untilRunning('forced');
    await driver.kill();
    await kubectl.run('delete', 'pod', 'forced', '--grace-period=0', '--force');
    await node.killAgent();
    await (await node.startAgent())();
    await startDriver();
    await node.untilClean(CLEAN_MS);
    await driver.untilCalled('NodeUnstageVolume');
  });
});
