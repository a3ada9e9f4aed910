// An API server that cannot be trusted, or something else at its address: pods run on whatever it answers, and once it is
// itself again everything is as it should be within moments.
import { readFile, writeFile } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { leases, nodes, pods } from '../../api/resources.ts';
import { isNotFound } from '../../client/errors.ts';
import { loadKubeconfig, type PemSource } from '../../client/kubeconfig.ts';
import { systemClock } from '../../core/clock.ts';
import { type ApiFault, ApiProxy } from '../harness/api-proxy.ts';
import { labMissing } from '../harness/cluster.ts';
import { FaultNode, NODE, until } from '../harness/fault-node.ts';
import { LabPods } from '../harness/lab-pods.ts';

const NAMESPACE = 'answers';
const FAULT_MS = 1_500;
const WAIT_MS = 120_000;
const FAULTS: readonly ApiFault[] = ['page', 'empty', 'half', 'expired', 'doubled', 'strange', 'silent'];
const missing = labMissing();
if (missing !== undefined) console.warn(`tests of API faults are skipped: ${missing}`);

describe.skipIf(missing !== undefined)('an API server that answers wrongly', () => {
  let node: FaultNode;
  let proxy: ApiProxy;
  let labPods: LabPods;
  let steady: Pod;

  beforeAll(async () => {
    node = await FaultNode.start();
    const { server, ca, clientCert, clientKey } = await loadKubeconfig(node.paths.kubeconfig);
    proxy = await ApiProxy.start(server, { ca: await pem(ca), cert: await pem(clientCert), key: await pem(clientKey) });
    const kubeconfig = await readFile(node.paths.kubeconfig, 'utf8');
    await writeFile(node.paths.kubeconfig, proxy.leadHere(kubeconfig));
    await node.killAgent();
    await (await node.startAgent())();
    labPods = await LabPods.create(node, NAMESPACE);
    steady = await labPods.start('steady', {});
  });
  afterAll(async () => {
    await proxy?.[Symbol.asyncDispose]();
    await node?.[Symbol.asyncDispose]();
  });

  const podOf = (name: string) => node.client.get(pods, { namespace: NAMESPACE, name });
  const isGone = async (name: string) => {
    try {
      await podOf(name);
      return false;
    } catch (err) {
      if (isNotFound(err)) return true;
      throw err;
    }
  };

  const renewedMs = async () => {
    const lease = await node.client.get(leases, { namespace: 'kube-node-lease', name: NODE });
    return Date.parse(lease.spec?.renewTime ?? '');
  };

  test('nothing that runs is touched, and what was wished for meanwhile comes about', async () => {
    for (const fault of FAULTS) await labPods.apply(`old-${fault}`, {});
    for (const fault of FAULTS) await labPods.ready(`old-${fault}`);
    for (const fault of FAULTS) {
      const before = proxy.faults;
      proxy.setFault(fault);
      await labPods.apply(`new-${fault}`, {});
      await labPods.delete(pods, `old-${fault}`);
      await systemClock.sleep(FAULT_MS); // its length is what is tried
      const answered = await until(
        async () => proxy.faults - before,
        (calls) => calls > 0,
        WAIT_MS,
      );
      expect(answered, fault).toBeGreaterThan(0);
    }
    proxy.setFault(undefined);
    const endedMs = Date.now();

    for (const fault of FAULTS) {
      await labPods.ready(`new-${fault}`);
      expect(await until(() => isGone(`old-${fault}`), Boolean, WAIT_MS), fault).toBe(true);
    }
    expect(await until(renewedMs, (ms) => ms > endedMs, WAIT_MS)).toBeGreaterThan(endedMs);
    const { status } = await node.client.get(nodes, { name: NODE });
    expect(status?.conditions?.find((c) => c.type === 'Ready')?.status).toBe('True');
    expect(proxy.sharedWatches).toBeGreaterThan(0);
    expect((await podOf('steady')).status?.containerStatuses).toEqual(steady.status?.containerStatuses);
    await labPods.deletePods();
    await node.untilClean(WAIT_MS);
  });
});

async function pem(source: PemSource | undefined): Promise<string> {
  if (source === undefined) throw new Error('the kubeconfig of the node has no certificate');
  return 'data' in source ? source.data : await readFile(source.file, 'utf8');
}
