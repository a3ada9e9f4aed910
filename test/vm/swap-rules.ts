// A node with swap, of which burstable pods may use some, and whose agent and other processes have cgroups of their own.
import { expect, test } from 'vitest';
import type { Node } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import { containerScope, MIB, QOS_POD_NAMES } from './pods.ts';
import type { VmNode } from './vm-node.ts';

const CHANGE_MS = 300_000;
const SWAP_MIB = 2048;
const AGENT_CGROUP = '/kubelet.slice';
const HOST_CGROUP = '/host';
const PAGE_BYTES = 4096;
/** Of the burstable pod of pods.ts. */
const REQUEST_MIB = 32;
/** More than the kernel leaves in memory of a container with that request and a limit of 128 MiB: some 118. */
const HELD_MIB = 136;

/** Counts when the agent has started again. */
export const SWAP_SETTINGS = {
  failSwapOn: false,
  memorySwap: { swapBehavior: 'LimitedSwap' },
  cgroupRoot: '/',
  kubeletCgroups: AGENT_CGROUP,
  systemCgroups: HOST_CGROUP,
};

/** A process that takes itself out of every group before the agent starts. */
const STRAY_UNIT = `
[Unit]
Before=nodelet.service
[Service]
ExecStart=/bin/sleep infinity
ExecStartPost=/bin/sh -c "echo $MAINPID > /sys/fs/cgroup/cgroup.procs"
[Install]
WantedBy=multi-user.target
`;

/** Both are there when the machine has restarted. */
export async function prepareSwap(node: VmNode): Promise<void> {
  await node.script(`
    set -e
    fallocate -l ${SWAP_MIB}M /swapfile
    chmod 600 /swapfile
    mkswap /swapfile
    echo '/swapfile none swap sw 0 0' >> /etc/fstab
    echo '${STRAY_UNIT}' > /etc/systemd/system/stray.service
    systemctl enable stray
  `);
}

interface Swap {
  readonly swapAvailableBytes?: number;
  readonly swapUsageBytes?: number;
}

/** As much of /stats/summary as is looked at. */
interface Summary {
  readonly node: { readonly swap: Swap; readonly systemContainers: readonly { readonly name: string }[] };
  readonly pods: readonly {
    readonly podRef: { readonly name: string };
    readonly swap: Swap;
    readonly containers: readonly { readonly swap: Swap }[];
  }[];
}

/** What /proc/meminfo says, bytes. */
async function meminfo(node: VmNode, name: string): Promise<number> {
  const text = await node.script(`grep '^${name}:' /proc/meminfo`);
  return Number(/(\d+) kB/.exec(text)![1]) * 1024;
}

async function swapFile(node: VmNode, of: Pod, file: 'max' | 'current'): Promise<number> {
  return Number(await node.script(`cat '/sys/fs/cgroup/${containerScope(of)}/memory.swap.${file}'`));
}

/** How much swap the container of each pod may use, bytes. */
export async function swapLimits(node: VmNode, pods: readonly Pod[]): Promise<number[]> {
  return await Promise.all(pods.map((one) => swapFile(node, one, 'max')));
}

/** As much of the node's swap as `requestMib` is of its memory, bytes, in whole pages. */
export async function swapShare(node: VmNode, requestMib: number): Promise<number> {
  const share = ((requestMib * MIB) / (await meminfo(node, 'MemTotal'))) * (await meminfo(node, 'SwapTotal'));
  return Math.floor(Math.floor(share) / PAGE_BYTES) * PAGE_BYTES;
}

/** To be called within a describe block, while the pods of pods.ts run on a machine that restarted with `prepareSwap`. */
export function describeSwap(node: () => VmNode): void {
  const raw = (path: string) => node().run('get', '--raw', `/api/v1/nodes/${node().name}/proxy/${path}`);
  const soon = { timeout: CHANGE_MS, interval: 500 };

  test('the agent is in the cgroup that is configured for it, and whoever was in none is in that of the host', async () => {
    const group = (unit: string) => `cat /proc/$(systemctl show -P MainPID ${unit})/cgroup`;
    const groups = () => node().script(`${group('nodelet')}; ${group('stray')}`);
    await expect.poll(groups, soon).toBe(`0::${AGENT_CGROUP}\n0::${HOST_CGROUP}\n`);
    // The first process and those of the kernel stay, and systemd still knows the agent for its own.
    expect(await node().script('cat /proc/1/cgroup /proc/2/cgroup')).toBe('0::/init.scope\n0::/\n');
    expect(await node().script('systemctl is-active nodelet')).toBe('active\n');
  });

  test('the node tells of its swap, and that volumes in memory may end there', async () => {
    const { status } = await node().kubectl.json<Node>('get', 'node', node().name);
    const total = await meminfo(node(), 'SwapTotal');
    expect(total).toBe(SWAP_MIB * MIB - PAGE_BYTES);
    expect(status?.nodeInfo).toMatchObject({ swap: { capacity: total } });
    // tmpfs of this kernel knows no noswap.
    const about = `involvedObject.name=${node().name},reason=PossibleMemoryBackedVolumesOnDisk`;
    const told = () => node().run('get', 'events', `--field-selector=${about}`); // behind all that the start had to tell
    await expect.poll(told, soon).toContain('might be swapped to disk');
  });

  test('an agent that is not told to run with swap refuses to', async () => {
    const strict = 'apiVersion: kubelet.config.k8s.io/v1beta1\\nkind: KubeletConfiguration\\nfailSwapOn: true\\n';
    const said = await node().script(`
      mkdir -p /tmp/strict
      printf '${strict}' > /tmp/strict/10-swap.conf
      ! timeout 240 /usr/bin/nodelet kubelet $(sed -n 's/^NODELET_ARGS=//p' /etc/default/nodelet) --config-dir=/tmp/strict
    `);
    expect(said).toContain('running with swap on is not supported');
  });

  test('burstable containers may use as much of the swap as they ask for of the memory, and no others', async () => {
    const pods = await node().untilPodsReady(QOS_POD_NAMES);
    expect(pods.map((p) => p.status?.qosClass)).toEqual(['Guaranteed', 'Burstable', 'BestEffort']);
    expect(await swapLimits(node(), pods)).toEqual([0, await swapShare(node(), REQUEST_MIB), 0]);
  });

  test('a container that needs more than its limit goes on in swap, and figures tell how much of it', async () => {
    const [swapping] = (await node().untilPodsReady(['burstable'])) as [Pod];
    // Reads all into one buffer, and then waits for somebody to take it.
    const hold = `dd if=/dev/zero bs=${HELD_MIB}M count=1 2>/dev/null | sleep 1000000 >/dev/null 2>&1 &`;
    await node().run('exec', 'burstable', '--', 'sh', '-c', hold);
    const wanted = 8 * MIB;
    await expect.poll(() => swapFile(node(), swapping, 'current'), soon).toBeGreaterThan(wanted);
    const look = async () => {
      const { node: ofNode, pods } = JSON.parse(await raw('stats/summary')) as Summary;
      const ofPod = pods.find(({ podRef }) => podRef.name === 'burstable')!;
      return { ofNode, ofPod, ofContainer: ofPod.containers[0]! };
    };
    // An answer may be some seconds old.
    await expect.poll(async () => (await look()).ofContainer.swap.swapUsageBytes, soon).toBeGreaterThan(wanted);
    const { ofNode, ofPod, ofContainer } = await look();
    const limit = await swapFile(node(), swapping, 'max');
    expect(ofContainer.swap.swapUsageBytes! + ofContainer.swap.swapAvailableBytes!).toBe(limit);
    expect(ofPod.swap.swapUsageBytes).toBeGreaterThan(wanted);
    expect(ofNode.swap.swapUsageBytes).toBeGreaterThan(wanted);
    expect(ofNode.systemContainers.map(({ name }) => name).sort()).toEqual(['kubelet', 'misc', 'pods', 'runtime']);
    const metrics = await raw('metrics/resource');
    const labels = 'container="main",namespace="default",pod="burstable"';
    const value = (name: string) => Number(new RegExp(`^${name}\\{${labels}\\} (\\S+)`, 'm').exec(metrics)?.[1]);
    expect(value('container_swap_usage_bytes')).toBeGreaterThan(wanted);
    expect(value('container_swap_limit_bytes')).toBe(limit);
    const [now] = (await node().untilPodsReady(['burstable'])) as [Pod];
    expect(now.status?.containerStatuses).toEqual(swapping.status?.containerStatuses);
  });
}
