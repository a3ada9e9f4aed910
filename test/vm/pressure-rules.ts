// A node whose memory or processes run short, with the kernel's figures of cgroup v2.
import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { pod } from '../harness/manifests.ts';
import type { VmNode } from './vm-node.ts';

const CHANGE_MS = 400_000;

const PIDS_KEPT = 1_200;
/** For a while the machine may have so many processes more than it has, besides those that are kept free. */
const PIDS_LEFT = 100;
/** Of a pod: more than are left then, and fewer than `podPidsLimit`. */
const CROWD = 170;

/** For the KubeletConfiguration: much is kept free, so that the agent sees a shortage long before the kernel does. */
export const EVICTION = {
  evictionHard: { 'memory.available': '400Mi', 'pid.available': String(PIDS_KEPT) },
  evictionPressureTransitionPeriod: '5s',
};

/** Fills memory in small steps, far beyond what the machine has. */
function hog(): Pod {
  const script =
    'i=0; while :; do i=$((i+1)); dd if=/dev/zero of=/memory/$i bs=1M count=32 2>/dev/null; sleep 0.2; done';
  const made = pod('hog', ['sh', '-c', script], { volumes: [{ name: 'memory', emptyDir: { medium: 'Memory' } }] });
  made.spec!.containers[0]!.volumeMounts = [{ name: 'memory', mountPath: '/memory' }];
  return made;
}

/** To be called within a describe block. */
export function describePressure(node: () => VmNode): void {
  test('when memory runs short the pod that took it is evicted, and another one stays', async () => {
    const { kubectl, name } = node();
    const modest = pod('modest');
    modest.spec!.containers[0]!.resources = { requests: { memory: '64Mi' } };
    const [before] = await node().startPods([modest]);
    await kubectl.apply({ ...hog(), spec: { ...hog().spec!, nodeName: name } });
    await kubectl.until('pod/hog', '{.status.reason}', /^Evicted$/, CHANGE_MS);
    const { status } = await kubectl.json<Pod>('get', 'pod', 'hog');
    expect(status?.phase).toBe('Failed');
    expect(status?.message).toMatch(/^The node was low on resource: memory\. Threshold quantity: 400Mi/);
    // Until then the node takes no pods without requests.
    const relieved = '"conditions":\\[\\],"before":\\["MemoryPressure"\\]';
    await node().script(`until journalctl -u nodelet -o cat | grep -q '${relieved}'; do sleep 1; done`, CHANGE_MS);
    const after = await kubectl.json<Pod>('get', 'pod', 'modest');
    expect(after.status?.containerStatuses).toEqual(before!.status?.containerStatuses);
    await node().run('delete', 'pod', 'hog', 'modest', '--wait');
  });

  test('when processes run short the pod that has most of them is evicted, and another one stays', async () => {
    const { kubectl, name } = node();
    const [before] = await node().startPods([pod('alone')]);
    const limit = '/proc/sys/kernel/pid_max';
    const count = "$(sed 's,.*/,,; s, .*,,' /proc/loadavg)";
    const lower = `cat ${limit}; echo $((${count} + ${PIDS_KEPT} + ${PIDS_LEFT})) > ${limit}`;
    const usual = (await node().script(lower)).trim();
    try {
      const script = `i=0; while [ $i -lt ${CROWD} ]; do sleep 3600 & i=$((i+1)); done; wait`;
      const crowd = pod('crowd', ['sh', '-c', script]);
      await kubectl.apply({ ...crowd, spec: { ...crowd.spec!, nodeName: name } });
      await kubectl.until('pod/crowd', '{.status.reason}', /^Evicted$/, CHANGE_MS);
      const { status } = await kubectl.json<Pod>('get', 'pod', 'crowd');
      expect(status?.message).toMatch(
        /^The node was low on resource: pids\. Threshold quantity: 1200, available: \d+k?\. $/,
      );
      const relieved = '"conditions":\\[\\],"before":\\["PIDPressure"\\]';
      await node().script(`until journalctl -u nodelet -o cat | grep -q '${relieved}'; do sleep 1; done`, CHANGE_MS);
      const after = await kubectl.json<Pod>('get', 'pod', 'alone');
      expect(after.status?.containerStatuses).toEqual(before!.status?.containerStatuses);
    } finally {
      await node().script(`echo ${usual} > ${limit}`);
    }
    await node().run('delete', 'pod', 'crowd', 'alone', '--wait');
  });
}
