// The power button of a node: pods end group by group, the important ones last, and the machine waits for them.
import { expect, test } from 'vitest';
import type { Pod, ResourceRequirements } from '../../api/pod.ts';
import { withResources } from './pods.ts';
import { swapLimits, swapShare } from './swap-rules.ts';
import type { VmNode } from './vm-node.ts';

const TOLD_MS = 300_000;
const ENDED_DIR = '/var/lib/ended';
/** How long each pod takes to end, s. */
const LAST_WORDS_SECONDS = 3;
/** Pods in the order in which they are to end. What they ask for tells by how much they may use swap. */
const MORTALS: readonly {
  readonly name: string;
  readonly priority: number;
  readonly className?: string;
  readonly resources: ResourceRequirements;
}[] = [
  { name: 'plain', priority: 0, resources: { requests: { memory: '32Mi' } } },
  {
    name: 'useful',
    priority: 1_000,
    className: 'useful',
    resources: { requests: { memory: '64Mi' }, limits: { memory: '64Mi' } },
  },
  {
    name: 'precious',
    priority: 2_000_001_000,
    className: 'system-node-critical',
    resources: { requests: { memory: '32Mi' } },
  },
];

/** For the KubeletConfiguration: a group for each of the pods. */
export const SHUTDOWN_SETTINGS = {
  shutdownGracePeriodByPodPriority: MORTALS.map(({ priority }) => ({ priority, shutdownGracePeriodSeconds: 30 })),
};

/** Writes when it was told to end and when it did, on the machine's disk. */
function mortal({ name, className, resources }: (typeof MORTALS)[number]): Pod {
  const now = `date +%s >> ${ENDED_DIR}/${name}`;
  const script = `trap '${now}; sleep ${LAST_WORDS_SECONDS}; ${now}; exit 0' TERM; while :; do sleep 1; done`;
  const made = withResources(name, resources, ['sh', '-c', script]);
  made.spec!.containers[0]!.volumeMounts = [{ name: 'ended', mountPath: ENDED_DIR }];
  return {
    ...made,
    spec: {
      ...made.spec!,
      terminationGracePeriodSeconds: 60,
      ...(className === undefined ? {} : { priorityClassName: className }),
      volumes: [{ name: 'ended', hostPath: { path: ENDED_DIR, type: 'DirectoryOrCreate' } }],
    },
  };
}

/**
 * To be called last within a describe block, after the machine has restarted with `prepareSwap` and with these settings and
 * those of swap. The machine is off afterwards.
 */
export function describeShutdown(node: () => VmNode): void {
  const names = MORTALS.map(({ name }) => name);

  test('neither containers that ask for all that they may have nor critical pods may use swap', async () => {
    const metadata = { name: 'useful' };
    const useful = { apiVersion: 'scheduling.k8s.io/v1', kind: 'PriorityClass', metadata, value: 1_000 };
    await node().kubectl.apply(useful);
    const pods = await node().startPods(MORTALS.map(mortal));
    expect(pods.map((p) => p.status?.qosClass)).toEqual(['Burstable', 'Burstable', 'Burstable']);
    expect(await swapLimits(node(), pods)).toEqual([await swapShare(node(), 32), 0, 0]);
  });

  test('when the power button is pressed pods end in the order of their priorities, and then the machine is off', async () => {
    const { kubectl, machine } = node();
    await machine.pressPowerButton();
    const ready = '{.status.conditions[?(@.type=="Ready")].message}';
    await kubectl.until(`node/${node().name}`, ready, /^node is shutting down$/, TOLD_MS);
    await machine.untilOff();
    const spans = await Promise.all(names.map(async (name) => lines(await machine.readDisk(`${ENDED_DIR}/${name}`))));
    for (const [i, span] of spans.entries()) {
      expect(span, `${names[i]} has not ended by itself`).toHaveLength(2);
      if (i > 0) expect(span[0], `${names[i]} was told too early`).toBeGreaterThanOrEqual(spans[i - 1]![1]!);
    }
  });

  test('the API tells of such pods that the node went off', async () => {
    for (const name of names) {
      const { status } = await node().kubectl.json<Pod>('get', 'pod', name);
      const message = 'Pod was terminated in response to imminent node shutdown.';
      expect(status).toMatchObject({ phase: 'Failed', reason: 'Terminated', message });
      const target = status?.conditions?.find((c) => c.type === 'DisruptionTarget');
      expect(target).toMatchObject({ status: 'True', reason: 'TerminationByKubelet', message });
    }
    await node().run('delete', 'pod', ...names, '--force', '--wait=false');
  });
}

const lines = (text: string): number[] => text.trimEnd().split('\n').map(Number);
