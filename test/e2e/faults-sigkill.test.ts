// The agent is killed again and again in the middle of its work, and started again at once. Containers must not notice:
// none runs twice, no exit is forgotten, and when all pods are gone nothing of them is left on the node.
//
// NODELET_KILL_POINTS=200 for a long run; NODELET_FAULT_SEED=random (or a number that was seen) for another.
import { afterAll, beforeAll, describe, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { ChurnTrial } from '../harness/churn-trial.ts';
import { labMissing } from '../harness/cluster.ts';
import { FaultNode } from '../harness/fault-node.ts';
import { countFrom, seedFrom } from '../harness/random.ts';

const POINTS = countFrom('NODELET_KILL_POINTS', 30);
const SEED = seedFrom('NODELET_FAULT_SEED');
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
      const trial = await ChurnTrial.start(node, { seed: SEED, settleMs: SETTLE_MS });
      let ready = async () => {};
      for (let point = 1; point <= POINTS; point++) {
        const lifeMs = trial.random.int(0, LONGEST_LIFE_MS);
        for (let i = trial.random.int(1, 3); i > 0; i--) await trial.step();
        await systemClock.sleep(lifeMs); // the moment of the kill is what is tried
        await node.killAgent();
        trial.note(`kill ${point} of the agent after ${lifeMs} ms`);
        ready = await node.startAgent();
        await trial.expectNoDoubles();
      }
      await ready();
      await trial.expectCleanEnd();
      console.log(`${POINTS} kills, ${trial.summary}`);
    },
    POINTS * 10_000 + 3 * SETTLE_MS,
  );
});
