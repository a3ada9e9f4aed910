import { expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import type { AgentConfig } from '../config/agent-config.ts';
import { healthPortAlone, servedBy } from './server-part.ts';

test.each([
  [10_248, ['healthz']],
  [0, []],
])('with enableServer: false, health port %d', (healthzPort, tasks) => {
  const server = { healthzAddress: '127.0.0.1', healthzPort };
  const config = { server } as unknown as AgentConfig;
  expect(Object.keys(healthPortAlone({ config, clock: systemClock, log: silentLog }))).toEqual(tasks);
});

test('an endpoint whose gate is off is not there, others are', () => {
  const answer = (): void => {};
  const handlers = { checkpoint: answer, statusz: answer, flagz: answer, configz: answer };
  const gates = new Map([
    ['ContainerCheckpoint', false],
    ['ComponentStatusz', true],
    ['ComponentFlagz', false],
  ]);
  expect(servedBy(gates, handlers)).toEqual({ statusz: answer, configz: answer });
});
