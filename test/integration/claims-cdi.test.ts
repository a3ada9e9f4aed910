// What a driver of dynamic resources has prepared reaches the container: through the claim manager, the container's
// configuration and the CDI files that the runtime reads.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { type ResourceClaim, resourceClaims } from '../../api/resource-claims.ts';
import { FakeApi } from '../../client/fake-client.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import { createDynamicResources, type DynamicResources } from '../../kubelet/dra/dynamic-resources.ts';
import { DRA_PLUGIN_TYPE } from '../../kubelet/dra/plugin-services.ts';
import { PluginManager } from '../../kubelet/plugins/plugin-manager.ts';
import { containerdMissing } from '../harness/containerd.ts';
import { TestDraPlugin } from '../harness/dra-plugin.ts';
import { RuntimePods } from '../harness/runtime-pods.ts';

const missing = containerdMissing();
if (missing !== undefined) console.warn(`tests of dynamic resources are skipped: ${missing}`);

const DRIVER = 'gpu.example.com';
const eventually = { timeout: 120_000, interval: 20 };

describe.skipIf(missing !== undefined)('containerd 1.7 with CDI', () => {
  const stop = new AbortController();
  let dir = '';
  let api: FakeApi;
  let dra: DynamicResources;
  let plugin: TestDraPlugin;
  let pods: RuntimePods;
  let running: Promise<void>;

  beforeAll(async () => {
    dir = await mkdtemp(path.join(tmpdir(), 'nodelet-dra-'));
    const cdiDir = path.join(dir, 'cdi');
    api = new FakeApi();
    const shared = { clock: systemClock, log: silentLog };
    const deps = {
      rootDir: dir,
      nodeName: 'n',
      client: api,
      retryPod: () => {},
      showsHealth: false,
      registry: new Registry(),
      ...shared,
    };
    dra = createDynamicResources(deps, () => stop.signal);
    const handlers = new Map([[DRA_PLUGIN_TYPE, dra.plugins]]);
    running = new PluginManager(path.join(dir, 'plugins_registry'), handlers, shared).run(stop.signal);
    pods = await RuntimePods.start({ version: '1.7', cdiDir, claims: dra.claims });
    plugin = new TestDraPlugin({ name: DRIVER, rootDir: dir, cdiDir });
    await plugin.start();
    await vi.waitFor(() => expect(plugin.said).toEqual(['registered']), eventually);
  });
  afterAll(async () => {
    await pods?.[Symbol.asyncDispose]();
    await plugin?.[Symbol.asyncDispose]();
    stop.abort();
    await running;
    dra?.[Symbol.dispose]();
    await rm(dir, { recursive: true, force: true });
  });

  function claimFor(name: string, podUid: string, driver = DRIVER): ResourceClaim {
    return {
      metadata: { namespace: 'ns', name },
      status: {
        allocation: { devices: { results: [{ request: 'r', driver, pool: 'pool', device: 'dev' }] } },
        reservedFor: [{ resource: 'pods', name: podUid, uid: podUid }],
      },
    };
  }

  test('a container gets the devices of the claims that it names, and no other container does', async () => {
    const uses = (...claims: object[]) => ({ resources: { claims } as never });
    const show = 'env | grep DRA_ | sort || true';
    const entries = ['one', 'two'].map((name) => ({ name, resourceClaimName: name }));
    const pod = pods.podOf(
      [
        { name: 'both', script: show, ...uses({ name: 'one' }, { name: 'two', request: 'r' }) },
        { name: 'other', script: show, ...uses({ name: 'two', request: 'another' }) },
        { name: 'none', script: show },
      ],
      { resourceClaims: entries as never },
    );
    const uid = pod.metadata!.uid!;
    api.seed(resourceClaims, claimFor('one', uid), claimFor('two', uid));
    await pods.start(pod);
    for (const name of ['both', 'other', 'none']) await pods.ended(pod, name);
    expect(await pods.log(pod, 'both')).toBe(`DRA_one=${DRIVER}\nDRA_two=${DRIVER}`);
    expect([await pods.log(pod, 'other'), await pods.log(pod, 'none')]).toEqual(['', '']);
    expect(plugin.calls).toEqual(['NodePrepareResources one,two']);
    await dra.claims.unprepare(pod, stop.signal);
    expect(await plugin.prepared()).toEqual([]);
  });

  test('a pod whose driver refuses gets no sandbox, and says why', async () => {
    const entry = { name: 'gpu', resourceClaimName: 'refused' };
    const pod = pods.pod({ script: 'true' }, { resourceClaims: [entry] as never });
    api.seed(resourceClaims, claimFor('refused', pod.metadata!.uid!));
    plugin.next('NodePrepareResources', 'fail');
    const text = 'NodePrepareResources: rpc error: code = Internal desc = told to fail';
    await expect(pods.start(pod)).rejects.toThrow(`prepare dynamic resources: ${text}`);
    expect((await pods.statusOf(pod)).sandboxes).toEqual([]);
    expect(pods.events).toContain(
      `Warning FailedPrepareDynamicResources Failed to prepare dynamic resources: prepare dynamic resources: ${text}`,
    );
    await pods.start(pod);
    await pods.ended(pod);
    await dra.claims.unprepare(pod, stop.signal);
    expect(await plugin.prepared()).toEqual([]);
  });

  test('a pod has devices of two drivers, an old one among them; when one refuses, nothing starts', async () => {
    await using other = new TestDraPlugin({
      name: 'net.example.com',
      rootDir: dir,
      cdiDir: path.join(dir, 'cdi'),
      versions: ['v1beta1.DRAPlugin'],
    });
    await other.start();
    await vi.waitFor(() => expect(other.said).toEqual(['registered']), eventually);
    const names = ['here', 'there'];
    const uses = { resources: { claims: names.map((name) => ({ name })) } as never };
    const pod = pods.podOf([{ name: 'c', script: 'env | grep DRA_ | sort', ...uses }], {
      resourceClaims: names.map((name) => ({ name, resourceClaimName: name })) as never,
    });
    const uid = pod.metadata!.uid!;
    api.seed(resourceClaims, claimFor('here', uid), claimFor('there', uid, 'net.example.com'));
    other.next('NodePrepareResources', 'lose');
    await expect(pods.start(pod)).rejects.toThrow('the answer was lost');
    expect((await pods.statusOf(pod)).sandboxes).toEqual([]);
    await pods.start(pod);
    await pods.ended(pod);
    expect(await pods.log(pod)).toBe(`DRA_here=${DRIVER}\nDRA_there=net.example.com`);
    await dra.claims.unprepare(pod, stop.signal);
    expect([await plugin.prepared(), await other.prepared()]).toEqual([[], []]);
    expect(other.calls).toEqual([
      'NodePrepareResources there',
      'NodePrepareResources there',
      'NodeUnprepareResources there',
    ]);
  });
});
