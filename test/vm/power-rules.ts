// Restarts of the agent and of the whole machine: what must go on goes on, what was running comes back, and nothing of
// the time before is left lying about.
import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { systemClock } from '../../core/clock.ts';
import { QOS_POD_NAMES } from './pods.ts';
import type { VmNode } from './vm-node.ts';

const ASK_AGAIN_MS = 500;
const SETTLE_MS = 900_000;

/** Prints one line for each thing that pods have or had on the machine. */
const LIST_TRACES = `
  find /sys/fs/cgroup/kubepods.slice -name 'kubepods*-pod*.slice' -printf 'cgroup %f\\n' 2>/dev/null
  systemctl list-units --all --plain --no-legend 'kubepods*pod*-pod*' 'cri-containerd-*' | sed 's/^/unit /'
  ls -A /var/lib/kubelet/pods | sed 's/^/directory /'
  awk '$2 ~ "^/var/lib/kubelet/pods" { print "mount", $2 }' /proc/mounts
  awk '$2 ~ "^/run/netns/" { print "netns", $2 }' /proc/mounts
  ip -o link show type veth | awk '{ print "veth", $2 }'
  find /var/lib/cni/networks -name '*.*.*.*' -printf 'lease %f\\n' 2>/dev/null
  ctr -n k8s.io containers list -q | sed 's/^/container /'
  ls -A /var/log/pods | sed 's/^/logs /'
  ls -A /var/log/containers 2>/dev/null | sed 's/^/log link /'
`;

/** Waits until the lines, in order, are `good`. */
async function untilTraces(node: VmNode, good: (lines: readonly string[]) => boolean): Promise<string[]> {
  const endMs = Date.now() + SETTLE_MS;
  for (;;) {
    const lines = (await node.script(LIST_TRACES)).split('\n').filter(Boolean).sort();
    if (good(lines)) return lines;
    if (Date.now() > endMs) throw new Error(`on the machine there are:\n${lines.join('\n')}\n${await node.agentLog()}`);
    await systemClock.sleep(ASK_AGAIN_MS);
  }
}

/**
 * To be called within a describe block, while the pods of pods.ts run.
 * @param beforeRestart is called just before the machine restarts
 */
export function describePower(node: () => VmNode, beforeRestart: () => Promise<void>): void {
  const statusOf = ({ status }: Pod) => status!.containerStatuses![0]!;
  let before: readonly Pod[];

  test('pods do not notice that systemd restarts the agent', async () => {
    before = await node().untilPodsReady(QOS_POD_NAMES);
    await node().restartAgent();
    const after = await node().untilPodsReady(QOS_POD_NAMES);
    expect(after.map(statusOf)).toEqual(before.map(statusOf));
    expect(after.map((p) => p.status?.podIP)).toEqual(before.map((p) => p.status?.podIP));
  });

  test('pods come back when the machine has restarted, each with one sandbox, one address and one container', async () => {
    await beforeRestart();
    await node().machine.reboot();
    await node().untilAgentReports();
    const each = QOS_POD_NAMES.length;
    for (const name of QOS_POD_NAMES) {
      await node().kubectl.until(`pod/${name}`, '{.status.containerStatuses[0].restartCount}', /^1$/, SETTLE_MS);
    }
    const after = await node().untilPodsReady(QOS_POD_NAMES);
    expect(after.map((p) => statusOf(p).containerID)).not.toEqual(before.map((p) => statusOf(p).containerID));
    expect(after.map((p) => p.metadata?.uid)).toEqual(before.map((p) => p.metadata?.uid));
    const addresses = after.map((p) => `lease ${p.status?.podIP}`).sort();
    const lines = await untilTraces(node(), (now) => {
      const leases = now.filter((line) => line.startsWith('lease '));
      const count = (kind: string) => now.filter((line) => line.startsWith(`${kind} `)).length;
      return leases.join() === addresses.join() && count('netns') === each && count('veth') === each;
    });
    expect(lines.filter((line) => line.startsWith('directory '))).toHaveLength(each);
    await node().run('exec', 'burstable', '--', 'ping', '-c1', '-W30', after[0]!.status!.podIP!);
  });
}

/** To be called within a describe block, after `describePower` and what else wants the pods of pods.ts. */
export function describeLeftovers(node: () => VmNode): void {
  test('nothing is left of pods that are deleted, neither slices nor anything else', async () => {
    await node().run('delete', 'pod', ...QOS_POD_NAMES, '--wait');
    await untilTraces(node(), (lines) => lines.length === 0);
  });
}
