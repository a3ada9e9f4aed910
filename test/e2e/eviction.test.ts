// Pods that the node ends because something runs short, with real shortages: pods together beyond the memory that they
// may use, a small disk without room or inodes, volumes and containers beyond limits of their own.
import { totalmem } from 'node:os';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { parseAllDocuments, stringify } from 'yaml';
import type { Node } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import { nodes } from '../../api/resources.ts';
import { labMissing } from '../harness/cluster.ts';
import { FaultNode, NODE, until } from '../harness/fault-node.ts';
import { LabPods, STAY } from '../harness/lab-pods.ts';

const missing = labMissing();
if (missing !== undefined) console.warn(`eviction tests are skipped: ${missing}`);

const MIB = 2 ** 20;
const DEADLINE_MS = 120_000;
const OFF = { 'memory.available': '0%', 'nodefs.available': '0%', 'imagefs.available': '0%' };

/** Holds on to `mib` of memory once it was given a file `go`. */
const hoard = (mib: number) => `
  until [ -e /tmp/go ]; do sleep 0.1; done
  (head -c ${mib}m /dev/zero; sleep 3600) | tail -c ${mib}m >/dev/null`;

describe.skipIf(missing !== undefined)('a node that runs short of something', () => {
  let node: FaultNode;
  let lab: LabPods;
  /** The lab's own configuration of the agent. */
  let unchanged: string | undefined;
  beforeAll(async () => {
    node = await FaultNode.start();
    lab = await LabPods.create(node, 'eviction');
  });
  afterEach(async () => {
    await lab?.deletePods();
    await node?.untilClean(DEADLINE_MS);
  });
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
  });

  /** Starts the agent anew with these fields of the KubeletConfiguration; `between` runs while there is none. */
  async function restartWith(fields: object, between: () => Promise<unknown> = async () => {}): Promise<void> {
    await node.killAgent();
    await node.changeAgentConfig((text) => {
      unchanged ??= text;
      const [kubelet, ...others] = parseAllDocuments(unchanged).map((doc) => doc.toJS() as object);
      return [{ ...kubelet, evictionPressureTransitionPeriod: '1s', ...fields }, ...others]
        .map((doc) => stringify(doc))
        .join('---\n');
    });
    await between();
    await (await node.startAgent())();
  }

  const evicted = (name: string) => lab.until(name, (pod) => pod.status?.phase === 'Failed');

  function condition({ status }: Node, type: string): string {
    const found = status?.conditions?.find((c) => c.type === type);
    return `${found?.status} ${found?.reason}`;
  }

  async function untilCondition(type: string, wanted: string): Promise<void> {
    const last = await until(
      () => node.client.get(nodes, { name: NODE }),
      (n) => condition(n, type) === wanted,
      DEADLINE_MS,
    );
    expect(condition(last, type)).toBe(wanted);
  }

  const isUp = (pod: Pod) => pod.status?.phase === 'Running' && pod.status.containerStatuses?.[0]?.restartCount === 0;

  test('of memory: the pod goes that has most beyond its request', async () => {
    // All pods together get 500 MiB, of which 200 are to stay free: how much the host has left plays no part.
    const systemReserved = { memory: String(totalmem() - 500 * MIB) };
    await restartWith({ systemReserved, evictionHard: { ...OFF, 'memory.available': '200Mi' } });
    const asking = (memory: string) => ({ resources: { requests: { memory } } });
    const small = await lab.start('small', {});
    const within = await lab.start('within', { script: hoard(60), ...asking('120Mi') });
    const hog = await lab.start('hog', { script: hoard(300), ...asking('20Mi') });
    await lab.exec(within, 'touch /tmp/go');
    await lab.exec(hog, 'touch /tmp/go');
    const gone = await evicted('hog');
    expect(gone.status).toMatchObject({ reason: 'Evicted', containerStatuses: [{ state: { terminated: {} } }] });
    const message = gone.status?.message ?? '';
    expect(message).toMatch(
      /^The node was low on resource: memory\. Threshold quantity: 200Mi, available: \d+[KM]i\. Container main was using \d+[KM]i, request is 20Mi, has larger consumption of memory\. $/,
    );
    expect(gone.status?.conditions).toContainEqual(
      expect.objectContaining({ type: 'DisruptionTarget', status: 'True', reason: 'TerminationByKubelet', message }),
    );
    await lab.untilEvent('hog', 'Evicted', message);
    for (const pod of [small, within]) expect(isUp(await lab.ready(pod.metadata!.name!))).toBe(true);
    await untilCondition('MemoryPressure', 'False KubeletHasSufficientMemory');
  });

  test('of memory for long: the Node says so, and a pod that asks for none is refused', async () => {
    // Always met, and nothing is evicted for as long as the test takes.
    const evictionSoft = { 'memory.available': '99%' };
    await restartWith({ evictionHard: OFF, evictionSoft, evictionSoftGracePeriod: { 'memory.available': '1h' } });
    await untilCondition('MemoryPressure', 'True KubeletHasInsufficientMemory');
    const here = { nodeName: NODE }; // the scheduler would not send them
    await lab.apply('careless', {}, here);
    await lab.apply('asking', { resources: { requests: { memory: '1Mi' } } }, here);
    expect((await evicted('careless')).status).toMatchObject({
      reason: 'Evicted',
      message: 'Pod was rejected: The node had condition: [MemoryPressure]. ',
    });
    await lab.ready('asking');
    const { spec } = await node.client.get(nodes, { name: NODE });
    expect(spec?.taints).toContainEqual(
      expect.objectContaining({ key: 'node.kubernetes.io/memory-pressure', effect: 'NoSchedule' }),
    );
  });

  test('of disk: the pod goes that has most of it, of bytes or of inodes', async () => {
    const small = ['mount', '-t', 'tmpfs', '-o', 'size=128m,nr_inodes=20000', 'tmpfs', node.paths.kubeletRoot] as const;
    await restartWith({ evictionHard: { ...OFF, 'nodefs.available': '64Mi', 'nodefs.inodesFree': '5000' } }, () =>
      node.cluster.inNode(NODE, ...small),
    );
    const volumes = [{ name: 'data', emptyDir: {} }];
    const volumeMounts = [{ name: 'data', mountPath: '/data' }];
    const filling = (script: string) => ({ script: `${script}; ${STAY}`, volumeMounts });
    await lab.start('modest', filling('head -c 10m /dev/zero > /data/file'), { volumes });
    await lab.apply('greedy', filling('head -c 70m /dev/zero > /data/file'), { volumes });
    expect((await evicted('greedy')).status?.message).toMatch(
      /^The node was low on resource: ephemeral-storage\. Threshold quantity: 64Mi, available: \d+[KM]i\. /,
    );
    await untilCondition('DiskPressure', 'False KubeletHasNoDiskPressure');
    await lab.apply('many', filling('cd /data; i=0; while [ $i -lt 18000 ]; do : > $i; i=$((i+1)); done'), { volumes });
    expect((await evicted('many')).status?.message).toMatch(
      /^The node was low on resource: inodes\. Threshold quantity: 5k, available: \d+k?\. /,
    );
    expect(isUp(await lab.ready('modest'))).toBe(true);
  });

  test('who is beyond a limit of storage goes, whatever the node has left', async () => {
    await restartWith({ evictionHard: OFF });
    const volumes = [{ name: 'data', emptyDir: { sizeLimit: '5Mi' } }];
    const write = (file: string) => ({ script: `head -c 10m /dev/zero > ${file}; ${STAY}` });
    await lab.apply(
      'volume',
      { ...write('/data/f'), volumeMounts: [{ name: 'data', mountPath: '/data' }] },
      { volumes },
    );
    await lab.apply('layer', { ...write('/f'), resources: { limits: { 'ephemeral-storage': '5Mi' } } });
    const [volume, layer] = await Promise.all([evicted('volume'), evicted('layer')]);
    expect([volume, layer].map((p) => [p.status?.reason, p.status?.message])).toEqual([
      ['Evicted', 'Usage of EmptyDir volume "data" exceeds the limit "5Mi". '],
      ['Evicted', 'Pod ephemeral local storage usage exceeds the total limit of containers 5Mi. '],
    ]);
    expect(volume.status?.conditions?.some((c) => c.type === 'DisruptionTarget')).toBe(false);
  });
});
