// The agent is killed again and again in the middle of its work, and started again at once. Containers must not notice:
// none runs twice, no exit is forgotten, and when all pods are gone nothing of them is left on the node.
//
// NODELET_KILL_POINTS=200 for a long run; NODELET_FAULT_SEED=random (or a number that was seen) for another.
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { Churn } from '../harness/churn.ts';
import { labMissing } from '../harness/cluster.ts';
import { FaultNode, until } from '../harness/fault-node.ts';
import { PodHistory } from '../harness/pod-history.ts';
import { countFrom, Random, seedFrom } from '../harness/random.ts';

const POINTS = countFrom('NODELET_KILL_POINTS', 30);
const SEED = seedFrom('NODELET_FAULT_SEED');
const NAMESPACE = 'churn';
/** A life of the agent: from before it has read anything to some rounds of work, ms. */
const LONGEST_LIFE_MS = 1_500;
const SETTLE_MS = 120_000;
const missing = labMissing();
if (missing !== undefined) console.warn(`kill tests are skipped: ${missing}`);

describe.skipIf(missing !== undefined)('an agent that is killed', () => {
  let node: FaultNode;

  beforeAll(async () => {
    node = await FaultNode.start();
  });
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
  });

  test(
    `at ${POINTS} random points of a churn of pods, it doubles, loses and leaves nothing`,
    async () => {
      console.log(`NODELET_FAULT_SEED=${SEED} NODELET_KILL_POINTS=${POINTS}`);
      const random = new Random(SEED);
      const { client, runtime } = node;
      const churn = new Churn({ client, runtime, namespace: NAMESPACE, random });
      await churn.prepare();
      const history = new PodHistory({ client, runtime, namespace: NAMESPACE });
      await history.start();
      const steps: string[] = [];
      const told = () => `seed ${SEED}, the last steps:\n${steps.slice(-12).join('\n')}`;

      let ready = async () => {};
      for (let point = 1; point <= POINTS; point++) {
        const lifeMs = random.int(0, LONGEST_LIFE_MS);
        for (let i = random.int(1, 3); i > 0; i--) steps.push(await churn.step());
        await systemClock.sleep(lifeMs); // the moment of the kill is what is tried
        await node.killAgent();
        steps.push(`kill ${point} of the agent after ${lifeMs} ms`);
        ready = await node.startAgent();
        await history.checkDoubles();
        expect(history.faults, told()).toEqual([]);
      }
      await ready();

      const settled = await until(
        async () => history.pods.filter((pod) => pod.status?.phase === 'Pending').map((pod) => pod.metadata?.name),
        (pending) => pending.length === 0,
        SETTLE_MS,
      );
      expect(settled, told()).toEqual([]);
      await history.checkDoubles();
      await history.checkExits();
      expect(history.faults, told()).toEqual([]);

      await churn.deleteAll();
      await until(
        async () => history.pods.length,
        (n) => n === 0,
        SETTLE_MS,
      );
      expect(
        history.pods.map((pod) => pod.metadata?.name),
        told(),
      ).toEqual([]);
      // What ended while no agent was there is found by one that starts.
      await node.killAgent();
      await (await node.startAgent())();
      await node.untilClean(SETTLE_MS);
      await history.end();
      expect(history.faults, told()).toEqual([]);
      expect(await node.agentRuns()).toBe(true);
      console.log(`${POINTS} kills, ${churn.made} pods, ${history.startedContainers} containers started`);
    },
    POINTS * 10_000 + 3 * SETTLE_MS,
  );
});
