// Pods with ResourceClaims, as a user of a cluster has them: with a driver in a process of its own, which is killed in the
// middle, as is the agent. What a scheduler and its controllers would write is written here by hand.
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type ResourceClaim, type ResourceSlice, resourceClaims, resourceSlices } from '../../api/resource-claims.ts';
import { pods } from '../../api/resources.ts';
import type { ListPodResourcesResponse } from '../../cri/gen/messages.ts';
import { methodOf, RpcChannel } from '../../cri/rpc.ts';
import { labMissing } from '../harness/cluster.ts';
import { type DraPluginOptions, TestDraPlugin } from '../harness/dra-plugin.ts';
import { FaultNode, NODE, until } from '../harness/fault-node.ts';
import type { Kubectl } from '../harness/kubectl.ts';
import { SLEEP } from '../harness/manifests.ts';
import { nodeDenials } from '../harness/node-denials.ts';
import { PluginProcess } from '../harness/plugin-process.ts';

const missing = labMissing();
if (missing !== undefined) console.warn(`tests of dynamic resources are skipped: ${missing}`);

const DRIVER = 'gpu.example.com';
const MAIN = path.resolve(import.meta.dirname, '../harness/dra-plugin-main.ts');
const CLEAN_MS = 120_000;
const RUN_MS = 120_000;
/** Each test waits for several things in turn, each with a deadline of its own. */
const TEST_MS = 300_000;

describe.skipIf(missing !== undefined)('dynamic resources', { timeout: TEST_MS }, () => {
  let node: FaultNode;
  let kubectl: Kubectl;
  let driver: PluginProcess;
  let options: DraPluginOptions;

  const startDriver = async () => {
    driver = await PluginProcess.start(MAIN, node.initPid, options);
  };
  const prepared = () => new TestDraPlugin(options).prepared();
  const callsOf = (method: string, claim: string) => driver.calls.filter((c) => c === `${method} ${claim}`);

  async function makeClaim(name: string): Promise<void> {
    const requests = [{ name: 'r', exactly: { deviceClassName: 'gpu' } }];
    const claim = { metadata: { name }, spec: { devices: { requests } } };
    await node.client.create<ResourceClaim>(resourceClaims, { namespace: 'default' }, claim);
  }

  /** Gives the claim a device, for these pods. */
  async function allocate(name: string, ...podNames: readonly string[]): Promise<void> {
    const users = await Promise.all(podNames.map((pod) => node.client.get(pods, { namespace: 'default', name: pod })));
    const status: ResourceClaim['status'] = {
      allocation: { devices: { results: [{ request: 'r', driver: DRIVER, pool: NODE, device: 'gpu-0' }] } },
      reservedFor: users.map(({ metadata = {} }) => ({ resource: 'pods', name: metadata.name!, uid: metadata.uid! })),
    };
    const at = { namespace: 'default', name };
    await node.client.patch(resourceClaims, at, { type: 'merge', body: { status } }, { subresource: 'status' });
  }

  /** `more`: where the pod goes, or what keeps it from going anywhere. */
  const applyPod = (name: string, claimName: string, more: object, command: readonly string[] = SLEEP) =>
    kubectl.apply({
      apiVersion: 'v1',
      kind: 'Pod',
      metadata: { name },
      spec: {
        terminationGracePeriodSeconds: 1, // 0 would have the API server delete pods without asking the node
        restartPolicy: 'Never',
        resourceClaims: [{ name: 'gpu', resourceClaimName: claimName }],
        containers: [
          { name: 'main', image: 'busybox:1.36', command, resources: { claims: [{ name: 'gpu', request: 'r' }] } },
        ],
        ...more,
      },
    });

  /** Pods of that claim, which go to the node once the claim has been given to them. */
  async function startPods(claimName: string, names: readonly string[], command?: readonly string[]): Promise<void> {
    await makeClaim(claimName);
    const gate = { schedulingGates: [{ name: 'test.example.com/allocated' }] };
    for (const name of names) await applyPod(name, claimName, gate, command);
    await allocate(claimName, ...names);
    const body = { spec: { schedulingGates: null } };
    for (const name of names) await node.client.patch(pods, { namespace: 'default', name }, { type: 'merge', body });
  }

  /** Devices of claims, as monitoring agents on the node ask for them. */
  async function reported(podName: string): Promise<unknown[]> {
    const channel = new RpcChannel(path.join(node.paths.kubeletRoot, 'pod-resources', 'kubelet.sock'));
    try {
      const list = methodOf('v1.PodResourcesLister', 'List', 'ListPodResourcesRequest', 'ListPodResourcesResponse');
      const { podResources } = await channel.call<ListPodResourcesResponse>(list, {}, 60_000);
      return podResources.find((p) => p.name === podName)?.containers.flatMap((c) => c.dynamicResources) ?? [];
    } finally {
      channel.close();
    }
  }

  const untilPhase = (name: string, phase: RegExp) => kubectl.until(`pod/${name}`, '{.status.phase}', phase, RUN_MS);
  const events = () => kubectl.run('get', 'events', '-o', 'jsonpath={range .items[*]}{.reason} {.message}{"\\n"}{end}');
  const remove = async (...names: readonly string[]) => {
    await kubectl.run('delete', 'pod', ...names, '--wait');
    expect(await prepared()).toEqual([]); // before its object was gone
    await node.untilClean(CLEAN_MS);
  };

  beforeAll(async () => {
    node = await FaultNode.start();
    kubectl = await node.cluster.kubectl();
    options = { name: DRIVER, rootDir: node.paths.kubeletRoot, cdiDir: path.join(node.cluster.dir, 'cdi') };
    await startDriver();
  });
  afterAll(async () => {
    await driver?.kill();
    await node?.[Symbol.asyncDispose]();
  });

  test('a pod waits for its claim, says why, and starts once it may have it', async () => {
    await makeClaim('late');
    await applyPod('early', 'late', { nodeName: NODE });
    await expect
      .poll(events, { timeout: 60_000 })
      .toMatch(
        /FailedPrepareDynamicResources Failed to prepare dynamic resources: prepare dynamic resources: pod early \(\S+\) is not allowed to use ResourceClaim late \(\S+\)/,
      );
    await allocate('late', 'early');
    await untilPhase('early', /^Running$/);
    const text = await kubectl.run('get', 'resourceclaim', 'late');
    expect(text).toMatch(/NAME\s+STATE\s+AGE\s+late\s+allocated,reserved\s+\d/);
    expect(await reported('early')).toMatchObject([
      {
        claimName: 'late',
        claimNamespace: 'default',
        claimResources: [{ driverName: DRIVER, poolName: 'pool', deviceName: 'dev' }], // as the driver calls it
      },
    ]);
    const metrics = await kubectl.run('get', '--raw', `/api/v1/nodes/${NODE}/proxy/metrics`);
    expect(metrics).toMatch(
      /^dra_operations_duration_seconds_count\{operation_name="PrepareResources",is_error="true"\} [1-9]/m,
    );
    expect(metrics).toMatch(
      /^dra_operations_duration_seconds_count\{operation_name="PrepareResources",is_error="false"\} 1$/m,
    );
    expect(metrics).toContain(
      `dra_grpc_operations_duration_seconds_count{driver_name="${DRIVER}",method_name="/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources",grpc_status_code="OK"} 1\n`,
    );
    expect(metrics).toContain(`dra_resource_claims_in_use{driver_name="${DRIVER}"} 1\n`);
    await remove('early');
  });

  test('two pods share a claim, which is let go with the second', async () => {
    await startPods('shared', ['one', 'two']);
    for (const name of ['one', 'two']) await untilPhase(name, /^Running$/);
    await kubectl.run('delete', 'pod', 'one', '--wait');
    expect(await prepared()).toHaveLength(1);
    await remove('two');
    expect(callsOf('NodePrepareResources', 'shared')).toHaveLength(1);
    expect(callsOf('NodeUnprepareResources', 'shared')).toHaveLength(1);
  });

  test('the agent is killed while the driver prepares: the next one starts the pod', async () => {
    await driver.order('hang NodePrepareResources');
    await startPods('between', ['between']);
    await driver.untilCalled('NodePrepareResources between');
    await node.killAgent();
    await (await node.startAgent())();
    await untilPhase('between', /^Running$/);
    expect(callsOf('NodePrepareResources', 'between').length).toBeGreaterThan(1);
    await remove('between');
  });

  test('a pod that has ended is not said to be over before its claim was let go, whoever was killed meanwhile', async () => {
    await driver.order('hang NodeUnprepareResources');
    await startPods('ending', ['ending'], ['true']);
    await driver.untilCalled('NodeUnprepareResources ending');
    expect(await kubectl.run('get', 'pod', 'ending', '-o', 'jsonpath={.status.phase}')).toMatch(/^(Pending|Running)$/);
    await driver.kill();
    await node.killAgent();
    await startNext();
    await untilPhase('ending', /^Succeeded$/);
    expect(await prepared()).toEqual([]);
    await remove('ending');
  });

  /** The agent first: what a driver is there for must wait for it. */
  async function startNext(): Promise<void> {
    await (await node.startAgent())();
    await startDriver();
  }

  test('deleted by force while its driver is away, a pod leaves nothing once that is back; slices of others go at the start', async () => {
    await startPods('forced', ['forced']);
    await untilPhase('forced', /^Running$/);
    await driver.kill();
    await kubectl.run('delete', 'pod', 'forced', '--grace-period=0', '--force');
    await node.killAgent();
    for (const name of [NODE, 'elsewhere']) await node.client.create(resourceSlices, {}, sliceOf(name));
    await startNext();
    await driver.untilCalled('NodeUnprepareResources forced');
    expect(await until(prepared, (uids) => uids.length === 0, CLEAN_MS)).toEqual([]);
    const slices = async () => (await node.client.list(resourceSlices)).items.map((s) => s.metadata?.name);
    expect(await until(slices, (left) => left.length === 1, CLEAN_MS)).toEqual(['elsewhere']);
    await node.untilClean(CLEAN_MS);
    const denied = await nodeDenials(node.cluster.dir);
    expect(denied.filter((line) => /resource(claims|slices)/.test(line))).toEqual([]);
  });

  const sliceOf = (nodeName: string): ResourceSlice => {
    const pool = { name: nodeName, resourceSliceCount: 1 };
    return {
      metadata: { name: nodeName },
      spec: { driver: 'gone.example.com', nodeName, pool } as ResourceSlice['spec'] & object,
    };
  };
});
