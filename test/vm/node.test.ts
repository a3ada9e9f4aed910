// A host as nodes have them: systemd, cgroup v2 with systemd as its manager, every capability; a kernel of its own that
// restarts and goes off. Reached over the network alone, like a node in a rack.
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Node } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import { pod } from '../harness/manifests.ts';
import { describeCgroups } from './cgroup-rules.ts';
import { QOS_PODS, type QosPods, WEB } from './pods.ts';
import { describeLeftovers, describePower } from './power-rules.ts';
import { describePressure, EVICTION } from './pressure-rules.ts';
import { describeShutdown, SHUTDOWN_SETTINGS } from './shutdown-rules.ts';
import { describeSwap, prepareSwap, SWAP_SETTINGS } from './swap-rules.ts';
import { VmNode } from './vm-node.ts';

const missing = inject('vmMissing');

describe.skipIf(missing !== '')('a node with systemd and cgroup v2', () => {
  let vm: VmNode;
  let pods: QosPods;
  beforeAll(async () => {
    vm = await VmNode.start({
      name: 'vm-1',
      kubelet: {
        podPidsLimit: 200,
        systemReserved: { cpu: '200m', memory: '128Mi' },
        featureGates: { MemoryQoS: true },
        memoryReservationPolicy: 'TieredReservation',
        ...EVICTION,
      },
    });
    const [guaranteed, burstable, besteffort] = await vm.startPods(Object.values(QOS_PODS));
    pods = { guaranteed: guaranteed!, burstable: burstable!, besteffort: besteffort! };
  });
  afterAll(async () => {
    await vm?.[Symbol.asyncDispose]();
  });

  test('the machine is what the node says it is', async () => {
    const node = await vm.kubectl.json<Node>('get', 'node', vm.name);
    const info = node.status?.nodeInfo;
    expect(info?.kernelVersion).toBe((await vm.script('uname -r')).trim());
    expect(info?.machineID).toBe((await vm.script('cat /etc/machine-id')).trim());
    expect(node.status?.capacity?.cpu).toBe('2');
    expect(await vm.script('stat -fc %T /sys/fs/cgroup')).toBe('cgroup2fs\n');
  });

  test('systemd is told that the agent is ready', async () => {
    // Waits for as long as the agent has not said so: the unit is of Type=notify.
    await vm.script('systemctl start nodelet');
    expect(await vm.script('systemctl is-active nodelet')).toBe('active\n');
  });

  test('connections are tracked for as long as the proxy says, on a kernel that began to with its rules', async () => {
    const read = () => vm.script('cat /proc/sys/net/netfilter/nf_conntrack_tcp_timeout_close_wait');
    await expect.poll(read, { timeout: 300_000, interval: 500 }).toBe('3600\n');
  });

  test('kubectl exec, logs and port-forward reach a pod on the machine', async () => {
    const { kubectl } = vm;
    expect(await vm.run('exec', 'besteffort', '--', 'hostname')).toBe('besteffort\n');
    expect(await vm.run('logs', 'besteffort')).toBe('here I am\n');
    await using forward = kubectl.follow('port-forward', 'pod/besteffort', ':8080');
    const port = /:(\d+) ->/.exec(await forward.untilLine(/Forwarding from 127/))![1];
    expect(await (await fetch(`http://127.0.0.1:${port}/hostname`)).text()).toBe('besteffort\n');
  });

  test('pods there and pods of a node with cgroup v1 reach each other through VXLAN', async () => {
    const there = pod('there', WEB, { nodeName: 'node-1' });
    await vm.kubectl.apply(there);
    const [elsewhere] = (await vm.untilPodsReady(['there'])) as [Pod];
    const get = (from: string, to: Pod) =>
      vm.run('exec', from, '--', 'timeout', '60', 'wget', '-qO-', `http://${to.status?.podIP}:8080/hostname`);
    expect(await get('besteffort', elsewhere)).toBe('there\n');
    expect(await get('there', pods.besteffort)).toBe('besteffort\n');
    await vm.run('delete', 'pod', 'there', '--wait=false');
  });

  describeCgroups(
    () => vm,
    () => pods,
  );
  describePressure(() => vm);
  describePower(
    () => vm,
    async () => {
      await prepareSwap(vm);
      await vm.configure({ ...SWAP_SETTINGS, ...SHUTDOWN_SETTINGS });
    },
  );
  describeSwap(() => vm);
  describeLeftovers(() => vm);
  describeShutdown(() => vm);
});
