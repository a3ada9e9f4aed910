// The power button of a node: pods end group by group, the important ones last, and the machine waits for them.
import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { pod } from '../harness/manifests.ts';
import type { VmNode } from './vm-node.ts';

const TOLD_MS = 300_000;
const ENDED_DIR = '/var/lib/ended';
/** How long each pod takes to end, s. */
const LAST_WORDS_SECONDS = 3;
/** Pods by their priority, in the order in which they are to end. */
const PRIORITIES: Readonly<Record<string, number>> = { plain: 0, useful: 1_000, precious: 100_000 };

/** A group for each of the pods. */
const GROUPS = Object.values(PRIORITIES).map((priority) => ({ priority, shutdownGracePeriodSeconds: 30 }));

/** Writes when it was told to end and when it did, on the machine's disk. */
function mortal(name: string): Pod {
  const now = `date +%s >> ${ENDED_DIR}/${name}`;
  const script = `trap '${now}; sleep ${LAST_WORDS_SECONDS}; ${now}; exit 0' TERM; while :; do sleep 1; done`;
  const made = pod(name, ['sh', '-c', script], {
    terminationGracePeriodSeconds: 60,
    ...(PRIORITIES[name] === 0 ? {} : { priorityClassName: name }),
    volumes: [{ name: 'ended', hostPath: { path: ENDED_DIR, type: 'DirectoryOrCreate' } }],
  });
  made.spec!.containers[0]!.volumeMounts = [{ name: 'ended', mountPath: ENDED_DIR }];
  return made;
}

/** To be called last within a describe block: the machine is off afterwards. */
export function describeShutdown(node: () => VmNode): void {
  const names = Object.keys(PRIORITIES);

  test('when the power button is pressed pods end in the order of their priorities, and then the machine is off', async () => {
    const { kubectl, machine } = node();
    for (const name of names.slice(1)) {
      const metadata = { name };
      await kubectl.apply({
        apiVersion: 'scheduling.k8s.io/v1',
        kind: 'PriorityClass',
        metadata,
        value: PRIORITIES[name],
      });
    }
    await node().configure({ shutdownGracePeriodByPodPriority: GROUPS });
    await node().restartAgent();
    await node().startPods(names.map(mortal));
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
