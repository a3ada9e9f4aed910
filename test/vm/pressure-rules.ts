// A node whose memory or processes run short, with the kernel's figures of cgroup v2.
import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { pod } from '../harness/manifests.ts';
import { QOS_POD_NAMES, withResources } from './pods.ts';
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

/**
 * So much is left by the pod that takes memory, and less each second: the agent sees a shortage, the kernel none. The agent
 * does not count what the kernel has for itself, some 100 MiB, as used.
 */
const LEFT_MIB = { first: 300, last: 150, step: 10 };

function hog(): Pod {
  // Again and again: others may give memory back meanwhile, as pods do that have just been deleted.
  const script = `
    all=0; left=${LEFT_MIB.first}
    while :; do
      free=$(awk '/^MemFree|^Inactive.file/ { sum += $2 } END { print int(sum / 1024) }' /proc/meminfo)
      [ $free -le $left ] || { all=$((all + free - left)); fallocate -l $((all))m /memory/all; }
      [ $left -le ${LEFT_MIB.last} ] || left=$((left - ${LEFT_MIB.step}))
      sleep 1
    done`;
  const made = pod('hog', ['sh', '-c', script], { volumes: [{ name: 'memory', emptyDir: { medium: 'Memory' } }] });
  made.spec!.containers[0]!.volumeMounts = [{ name: 'memory', mountPath: '/memory' }];
  return made;
}

/** To be called within a describe block, while the pods of pods.ts run. */
export function describePressure(node: () => VmNode): void {
  const statuses = async () => (await node().untilPodsReady(QOS_POD_NAMES)).map((p) => p.status?.containerStatuses);

  async function untilEvicted(one: Pod): Promise<Pod> {
    const { kubectl } = node();
    const name = one.metadata!.name!;
    await kubectl.apply({ ...one, spec: { ...one.spec!, nodeName: node().name } });
    await kubectl.until(`pod/${name}`, '{.status.reason}', /^Evicted$/, CHANGE_MS);
    const evicted = await kubectl.json<Pod>('get', 'pod', name);
    expect(evicted.status?.phase).toBe('Failed');
    await node().run('delete', 'pod', name, '--wait');
    return evicted;
  }

  test('when memory runs short the pod that took it is evicted, and others stay', async () => {
    const before = await statuses();
    const { status } = await untilEvicted(hog());
    expect(status?.message).toMatch(/^The node was low on resource: memory\. Threshold quantity: 400Mi/);
    expect(await statuses()).toEqual(before);
  });

  test('when processes run short the pod that has most of them is evicted, and others stay', async () => {
    const before = await statuses();
    const limit = '/proc/sys/kernel/pid_max';
    const count = "$(sed 's,.*/,,; s, .*,,' /proc/loadavg)";
    const lower = `cat ${limit}; echo $((${count} + ${PIDS_KEPT} + ${PIDS_LEFT})) > ${limit}`;
    const usual = (await node().script(lower)).trim();
    try {
      const script = `i=0; while [ $i -lt ${CROWD} ]; do sleep 3600 & i=$((i+1)); done; wait`;
      // It asks for memory: others are refused for some seconds after memory has been short.
      const crowd = withResources('crowd', { requests: { memory: '8Mi' } }, ['sh', '-c', script]);
      const { status } = await untilEvicted(crowd);
      expect(status?.message).toMatch(
        /^The node was low on resource: pids\. Threshold quantity: 1200, available: \d+k?\. $/,
      );
      const last = `journalctl -u nodelet -o cat | grep '"before":\\[' | tail -n 1`;
      await node().script(`until ${last} | grep -q '"conditions":\\[\\]'; do sleep 1; done`, CHANGE_MS);
      expect(await statuses()).toEqual(before);
    } finally {
      await node().script(`echo ${usual} > ${limit}`);
    }
  });
}
