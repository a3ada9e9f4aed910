// Random pods through API server and agent: each of them runs, ends, or says why it does not. The agent lives on, and so
// does whatever else runs on the node.
//
// NODELET_RANDOM_PODS=200 for a long run; NODELET_FAULT_SEED=random (or a number that was seen) for another.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { events, pods } from '../../api/resources.ts';
import { isBadRequest, isInvalid } from '../../client/errors.ts';
import { Churn } from '../harness/churn.ts';
import { labMissing } from '../harness/cluster.ts';
import { FaultNode, NODE, until } from '../harness/fault-node.ts';
import { pod } from '../harness/manifests.ts';
import { countFrom, Random, seedFrom } from '../harness/random.ts';
import { randomPod, type Taste } from '../harness/random-pod.ts';

/** Of each taste. */
const PODS = countFrom('NODELET_RANDOM_PODS', 8);
const SEED = seedFrom('NODELET_FAULT_SEED');
const NAMESPACE = 'random';
/** Pods on the node at a time. */
const BATCH = 8;
const OUTCOME_MS = 90_000;
const CLEAN_MS = 120_000;
/** What a container waits for before anything was tried. */
const NOT_YET = new Set(['ContainerCreating', 'PodInitializing', undefined]);
const missing = labMissing();
if (missing !== undefined) console.warn(`tests of random pods are skipped: ${missing}`);

/** What became of a pod, in a word; undefined while nothing has. */
function outcomeOf({ status }: Pod, warnings: readonly string[]): string | undefined {
  const phase = status?.phase ?? 'Pending';
  if (phase === 'Failed' && status?.reason !== undefined) return status.reason;
  if (phase !== 'Pending') return phase;
  const all = [...(status?.initContainerStatuses ?? []), ...(status?.containerStatuses ?? [])];
  const waiting = all.map((s) => s.state?.waiting?.reason).find((reason) => !NOT_YET.has(reason));
  if (waiting !== undefined) return waiting;
  const ended = all.find((s) => s.state?.terminated !== undefined && s.state.terminated.exitCode !== 0);
  return ended?.state?.terminated?.reason ?? warnings[0];
}

describe.skipIf(missing !== undefined)('random pods', () => {
  let node: FaultNode;

  beforeAll(async () => {
    node = await FaultNode.start();
  });
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
  });

  const at = { namespace: NAMESPACE };

  /** Name of a living pod → its outcome so far. */
  const outcomes = async (): Promise<Map<string, string | undefined>> => {
    const [{ items }, told] = await Promise.all([node.client.list(pods, at), node.client.list(events, at)]);
    return new Map(
      items.map((p) => {
        const name = p.metadata?.name ?? '';
        const own = told.items.filter((e) => e.type === 'Warning' && e.involvedObject?.uid === p.metadata?.uid);
        return [
          name,
          outcomeOf(
            p,
            own.map((e) => e.reason ?? ''),
          ),
        ];
      }),
    );
  };

  /** Undefined when the API server took it; else why it did not. */
  const create = async (wanted: Pod): Promise<string | undefined> => {
    try {
      await node.client.create(pods, at, { ...wanted, spec: { ...wanted.spec!, nodeName: NODE } });
      return undefined;
    } catch (err) {
      if (isInvalid(err) || isBadRequest(err)) return err.message;
      throw err;
    }
  };

  const removeAll = async (names: Iterable<string>) => {
    for (const name of names) await node.client.delete(pods, { ...at, name });
    const gone = (left: Map<string, unknown>) => left.size === 1; // but for the witness
    expect([...(await until(outcomes, gone, CLEAN_MS)).keys()]).toEqual(['witness']);
  };

  test.each<Taste>(['valid', 'odd', 'hostile'])(
    `${PODS} that are %s`,
    async (taste) => {
      console.log(`NODELET_FAULT_SEED=${SEED} NODELET_RANDOM_PODS=${PODS}`);
      const random = new Random(SEED);
      if (taste === 'valid') {
        await new Churn({ client: node.client, runtime: node.runtime, namespace: NAMESPACE, random }).prepare();
        expect(await create(pod('witness'))).toBeUndefined();
      }
      const agent = node.agentPid;
      const seen: string[] = [];
      for (let first = 0; first < PODS; first += BATCH) {
        const names: string[] = [];
        for (let i = first; i < Math.min(first + BATCH, PODS); i++) {
          const wanted = randomPod(random, { name: `${taste}-${i}`, namespace: NAMESPACE, taste });
          const refusal = await create(wanted);
          if (refusal === undefined) names.push(wanted.metadata!.name!);
          else {
            expect(refusal).not.toBe('');
            seen.push('refused by the API server');
          }
        }
        const all = await until(outcomes, (found) => names.every((n) => found.get(n) !== undefined), OUTCOME_MS);
        const silent = names.filter((name) => all.get(name) === undefined);
        expect(silent, `seed ${SEED}: neither run nor refused\n${await node.agentLog()}`).toEqual([]);
        seen.push(...names.map((name) => all.get(name)!));
        await removeAll(names);
      }
      expect(node.agentPid).toBe(agent);
      expect(await node.agentRuns()).toBe(true);
      const witness = await node.client.get(pods, { ...at, name: 'witness' });
      expect(witness.status).toMatchObject({ phase: 'Running', containerStatuses: [{ restartCount: 0 }] });
      console.log(
        `${taste}: ${[...new Set(seen)].map((s) => `${seen.filter((t) => t === s).length}× ${s}`).join(', ')}`,
      );
    },
    2 * OUTCOME_MS + CLEAN_MS + PODS * 20_000,
  );

  test(
    'leave nothing on the node',
    async () => {
      await node.client.delete(pods, { ...at, name: 'witness' });
      await until(outcomes, (left) => left.size === 0, CLEAN_MS);
      // Calls that were given up leave things that are found within a minute, or soon after a start.
      await node.killAgent();
      await (await node.startAgent())();
      await node.untilClean(CLEAN_MS);
    },
    3 * CLEAN_MS,
  );
});
