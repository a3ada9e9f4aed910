// A runtime that cannot be trusted: calls fail, take their time, are made although their answer gets lost, connections
// break, events come twice. Pods start later for it; nothing runs twice, nothing is forgotten, nothing is left.
//
// NODELET_FAULT_STEPS=200 for a long run; NODELET_FAULT_SEED=random (or a number that was seen) for another.
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { Churn } from '../harness/churn.ts';
import { labMissing } from '../harness/cluster.ts';
import { CriProxy, type FaultRates } from '../harness/cri-proxy.ts';
import { FaultNode, until } from '../harness/fault-node.ts';
import { PodHistory } from '../harness/pod-history.ts';
import { countFrom, Random, seedFrom } from '../harness/random.ts';

const STEPS = countFrom('NODELET_FAULT_STEPS', 25);
const SEED = seedFrom('NODELET_FAULT_SEED');
const NAMESPACE = 'churn';
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
      const random = new Random(SEED);
      const { client, runtime } = node;
      const churn = new Churn({ client, runtime, namespace: NAMESPACE, random });
      await churn.prepare();
      const history = new PodHistory({ client, runtime, namespace: NAMESPACE });
      await history.start();
      const steps: string[] = [];
      const told = () => `seed ${SEED}, the last steps:\n${steps.slice(-12).join('\n')}`;

      proxy.setFaults(RATES);
      for (let step = 0; step < STEPS; step++) {
        steps.push(await churn.step());
        await systemClock.sleep(random.int(0, PAUSE_MS)); // what is tried is that steps come at any moment
        await history.checkDoubles();
        expect(history.faults, told()).toEqual([]);
      }
      proxy.setFaults(undefined);

      const pending = await until(
        async () => history.pods.filter((pod) => pod.status?.phase === 'Pending').map((pod) => pod.metadata?.name),
        (names) => names.length === 0,
        SETTLE_MS,
      );
      expect(pending, told()).toEqual([]);
      await history.checkDoubles();
      await history.checkExits();
      expect(history.faults, told()).toEqual([]);

      await churn.deleteAll();
      await until(
        async () => history.pods.length,
        (count) => count === 0,
        SETTLE_MS,
      );
      expect(
        history.pods.map((pod) => pod.metadata?.name),
        told(),
      ).toEqual([]);
      // What could not be removed is tried again each minute, and soon after a start.
      await node.killAgent();
      await (await node.startAgent())();
      await node.untilClean(SETTLE_MS);
      await history.end();
      expect(history.faults, told()).toEqual([]);
      expect(await node.agentRuns()).toBe(true);
      expect(proxy.injected.error).toBeGreaterThan(0);
      expect(proxy.injected.lost).toBeGreaterThan(0);
      const faults = JSON.stringify(proxy.injected);
      console.log(`${churn.made} pods, ${history.startedContainers} containers started, injected: ${faults}`);
    },
    STEPS * 10_000 + 3 * SETTLE_MS,
  );
});
