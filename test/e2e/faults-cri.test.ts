// A runtime that cannot be trusted: calls fail, take their time, are made although their answer gets lost, connections
// break, events come twice. Pods start later for it; nothing runs twice, nothing is forgotten, nothing is left.
//
// NODELET_FAULT_STEPS=200 for a long run; NODELET_FAULT_SEED=random (or a number that was seen) for another.
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { ChurnTrial } from '../harness/churn-trial.ts';
import { labMissing } from '../harness/cluster.ts';
import { CriProxy, type FaultRates } from '../harness/cri-proxy.ts';
import { FaultNode } from '../harness/fault-node.ts';
import { countFrom, Random, seedFrom } from '../harness/random.ts';

const STEPS = countFrom('NODELET_FAULT_STEPS', 25);
const SEED = seedFrom('NODELET_FAULT_SEED');
const RATES: FaultRates = { error: 8, delay: 8, lost: 8, silent: 1, cut: 1 };
/** Between two steps, ms. */
const PAUSE_MS = 1_000;
const SETTLE_MS = 150_000;
const missing = labMissing();
if (missing !== undefined) console.warn(`tests of runtime faults are skipped: ${missing}`);

describe.skipIf(missing !== undefined)('a runtime that fails', () => {
  let node: FaultNode;
  let proxy: CriProxy;

  beforeAll(async () => {
    node = await FaultNode.start();
    const socket = path.join(node.paths.dir, 'proxy.sock');
    proxy = await CriProxy.start(socket, node.paths.containerdSocket, new Random(SEED));
    await node.changeAgentConfig((text) =>
      text
        .replace(/^(containerRuntimeEndpoint: ).*$/m, `$1unix://${socket}`)
        .replace(/^(failSwapOn: .*)$/m, '$1\nruntimeRequestTimeout: 8s'),
    );
    await node.killAgent();
    await (await node.startAgent())();
  });
  afterAll(async () => {
    await proxy?.[Symbol.asyncDispose]();
    await node?.[Symbol.asyncDispose]();
  });

  test(
    `over ${STEPS} steps of a churn of pods, nothing is doubled, lost or left`,
    async () => {
      console.log(`NODELET_FAULT_SEED=${SEED} NODELET_FAULT_STEPS=${STEPS}`);
      const trial = await ChurnTrial.start(node, { seed: SEED, settleMs: SETTLE_MS });
      proxy.setFaults(RATES);
      for (let step = 0; step < STEPS; step++) {
        await trial.step();
        await systemClock.sleep(trial.random.int(0, PAUSE_MS)); // what is tried is that steps come at any moment
        await trial.expectNoDoubles();
      }
      proxy.setFaults(undefined);
      await trial.expectCleanEnd();
      expect(proxy.injected.error).toBeGreaterThan(0);
      expect(proxy.injected.lost).toBeGreaterThan(0);
      console.log(`${trial.summary}, injected: ${JSON.stringify(proxy.injected)}`);
    },
    STEPS * 10_000 + 3 * SETTLE_MS,
  );
});
