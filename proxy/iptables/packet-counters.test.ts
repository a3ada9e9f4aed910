import { expect, test } from 'vitest';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import type { Exec } from '../../host/exec.ts';
import { INVALID_DROPPED, LOCALHOST_NODE_PORTS } from './counter-match.ts';
import { PacketCounters } from './packet-counters.ts';

const signal = new AbortController().signal;
const METRIC = 'kubeproxy_iptables_ct_state_invalid_dropped_packets_total';

/** A host whose kernel counts: the programs nfacct and iptables, as far as counters go. */
class CountingHost {
  readonly counters = new Map<string, number>();
  readonly runs: string[] = [];
  /** What a program cannot do here. */
  refuses: string | undefined;

  readonly exec: Exec = async (program, args) => {
    const run = [program, ...args].join(' ');
    this.runs.push(run);
    if (this.refuses !== undefined && run.startsWith(this.refuses)) return answer(1, '', 'refused');
    if (program === 'iptables') return answer(0, '');
    if (args[0] === 'add') {
      if (this.counters.has(args[1]!)) return answer(1, '', 'Device or resource busy');
      this.counters.set(args[1]!, 0);
      return answer(0, '');
    }
    return answer(
      0,
      [...this.counters]
        .map(([name, n]) => `{ pkts = ${String(n).padStart(20, '0')}, bytes = ${'0'.repeat(20)} } = ${name};\n`)
        .join(''),
    );
  };
}

function answer(code: number, stdout: string, stderr = '') {
  return { code, signal: undefined, stdout, stderr };
}

function setUp() {
  const host = new CountingHost();
  const registry = new Registry();
  return { host, registry, counters: new PacketCounters({ exec: host.exec, registry, log: silentLog }) };
}

test('counters are made once, keep what they have counted, and are told as metrics', async () => {
  const { host, registry, counters } = setUp();
  host.counters.set(INVALID_DROPPED, 3); // of an earlier run
  expect(await counters.ensure(signal)).toEqual(new Set([INVALID_DROPPED, LOCALHOST_NODE_PORTS]));
  expect(await registry.metrics()).toContain(`${METRIC} 3\n`);
  host.counters.set(INVALID_DROPPED, 5);
  expect(await registry.metrics()).toContain(`${METRIC} 5\n`);
  await counters.ensure(signal);
  expect(host.runs.filter((r) => r.startsWith('nfacct add'))).toEqual([`nfacct add ${LOCALHOST_NODE_PORTS}`]);
  host.refuses = 'nfacct list';
  expect(await registry.metrics()).toContain(`${METRIC} 5\n`);
});

test('both IP families ask for them at once, and both may feed them', async () => {
  const { counters } = setUp();
  const answers = await Promise.all([counters.ensure(signal), counters.ensure(signal)]);
  for (const names of answers) expect(names).toEqual(new Set([INVALID_DROPPED, LOCALHOST_NODE_PORTS]));
});

test.each([
  ['the kernel has none', 'nfacct list'],
  ['none can be made', 'nfacct add'],
  ['iptables cannot match them', 'iptables'],
])('where %s, no rule feeds one and there is no metric', async (_why, refuses) => {
  const { host, registry, counters } = setUp();
  host.refuses = refuses;
  expect(await counters.ensure(signal)).toEqual(new Set());
  expect(await registry.metrics()).not.toContain('kubeproxy_iptables');
});

test('after a rule with a counter was refused, rules are written without', async () => {
  const { counters } = setUp();
  expect((await counters.ensure(signal)).size).toBe(2);
  counters.refuse();
  expect(await counters.ensure(signal)).toEqual(new Set());
});
