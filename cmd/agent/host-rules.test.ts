import { expect, test } from 'vitest';
import { isAgentError } from '../../core/errors.ts';
import { type HostFacts, type HostRules, refuseUnfitHost } from './host-rules.ts';

const LENIENT: HostRules = {
  failCgroupV1: false,
  failSwapOn: false,
  singleProcessOomKill: undefined,
  limitedSwap: false,
};
const v1: HostFacts = { cgroupVersion: 1, swapBytes: 0 };
const v2: HostFacts = { cgroupVersion: 2, swapBytes: 0 };

test.each<[string, HostFacts, Partial<HostRules>, string | undefined]>([
  ['cgroup v1', v1, { failCgroupV1: true }, 'CGROUP_V1'],
  ['cgroup v1, where that is allowed', v1, {}, undefined],
  ['cgroup v2', v2, { failCgroupV1: true }, undefined],
  ['swap', { ...v2, swapBytes: 1 }, { failSwapOn: true }, 'SWAP_ON'],
  ['swap, where that is allowed', { ...v2, swapBytes: 1 }, {}, undefined],
  ['OOM kills of whole containers on cgroup v1', v1, { singleProcessOomKill: false }, 'CONFIG_INVALID'],
  ['limited swap on cgroup v1', v1, { limitedSwap: true }, 'CONFIG_INVALID'],
  ['limited swap on cgroup v2', v2, { limitedSwap: true }, undefined],
  ['OOM kills of one process on cgroup v1', v1, { singleProcessOomKill: true }, undefined],
  ['OOM kills of whole containers on cgroup v2', v2, { singleProcessOomKill: false }, undefined],
  ['OOM kills of one process on cgroup v2', v2, { singleProcessOomKill: true }, undefined],
])('a host with %s', (_, host, rules, code) => {
  const start = () => refuseUnfitHost(host, { ...LENIENT, ...rules });
  if (code === undefined) expect(start).not.toThrow();
  else expect(start).toThrow(expect.toSatisfy((err) => isAgentError(err, code)));
});
