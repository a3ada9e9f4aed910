// A host as nodes have them: systemd, cgroup v2 with systemd as its manager, every capability; a kernel of its own that
// restarts and goes off. Reached over the network alone, like a node in a rack.
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest';
import type { Node } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import { pod } from '../harness/manifests.ts';
import { describeCgroups } from './cgroup-rules.ts';
import { describePower } from './power-rules.ts';
import { describePressure, EVICTION } from './pressure-rules.ts';
import { describeShutdown } from './shutdown-rules.ts';
import { VmNode } from './vm-node.ts';

const missing = inject('vmMissing');

describe.skipIf(missing !== '')('a node with systemd and cgroup v2', () => {
  let vm: VmNode;
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
    await expect.poll(read, { timeout: 60_000, interval: 500 }).toBe('3600\n');
  });

  describe('over the network', () => {
    const web = (name: string) => {
      return pod(name, ['sh', '-c', 'trap "exit 0" TERM; echo here I am; httpd -f -p 8080 -h /etc & wait']);
    };
    let here: Pod;
    beforeAll(async () => {
      [here] = (await vm.startPods([web('here')])) as [Pod];
    });
    afterAll(async () => {
      await vm.run('delete', 'pod', '--all', '--wait');
    });

    test('kubectl exec, logs and port-forward reach a pod on the machine', async () => {
      const { kubectl } = vm;
      expect(await vm.run('exec', 'here', '--', 'hostname')).toBe('here\n');
      expect(await vm.run('logs', 'here')).toBe('here I am\n');
      await using forward = kubectl.follow('port-forward', 'pod/here', ':8080');
      const port = /:(\d+) ->/.exec(await forward.untilLine(/Forwarding from 127/))![1];
      expect(await (await fetch(`http://127.0.0.1:${port}/hostname`)).text()).toBe('here\n');
    });

    test('pods there and pods of a node with cgroup v1 reach each other through VXLAN', async () => {
      const { kubectl } = vm;
      const elsewhere = web('there');
      elsewhere.spec!.nodeName = 'node-1';
      await kubectl.apply(elsewhere);
      const [there] = (await vm.untilPodsReady(['there'])) as [Pod];
      const get = (from: string, to: Pod) =>
        vm.run('exec', from, '--', 'timeout', '60', 'wget', '-qO-', `http://${to.status?.podIP}:8080/hostname`);
      expect(await get('here', there)).toBe('there\n');
      expect(await get('there', here)).toBe('here\n');
    });
  });

  describeCgroups(() => vm);
  describePressure(() => vm);
  describePower(() => vm);
  describeShutdown(() => vm);
});
