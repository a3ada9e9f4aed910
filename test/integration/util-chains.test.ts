// The kubelet's chains in iptables on the real kernel, with both programs: what stands there, beside a proxy that shares a
// part of it, and that they come back.
import { afterAll, expect, test, vi } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import type { Exec } from '../../host/exec.ts';
import { isIptablesUsable } from '../../host/iptables-restore.ts';
import { ensureUtilChains, keepUtilChains, removeUtilChains } from '../../kubelet/node/util-chains.ts';
import type { IptablesVariant } from '../../proxy/iptables/iptables.ts';
import { matrixProxier, putShapes } from '../harness/matrix-proxier.ts';
import { TestNamespaces } from '../harness/netns.ts';
import { wholeMatrix } from '../harness/service-matrix.ts';

const namespaces = new TestNamespaces('util');
const signal = new AbortController().signal;
afterAll(() => namespaces[Symbol.asyncDispose]());

async function node(name: string, variant: IptablesVariant): Promise<Exec | undefined> {
  const exec = namespaces.exec(await namespaces.create(`${name}-${variant}`));
  const ofVariant: Exec = (program, args, opts) => exec(program.replace(/^(ip6?tables)/, `$1-${variant}`), args, opts);
  for (const family of [4, 6] as const) {
    if (await isIptablesUsable(ofVariant, family, signal)) continue;
    console.warn(`skipped: iptables-${variant} does not work here`);
    return undefined;
  }
  return ofVariant;
}

/** Lines about the kubelet's chains, by table. */
async function chains(exec: Exec, program = 'iptables-save'): Promise<string[]> {
  const { stdout } = await exec(program, []);
  let table = '';
  return stdout.split('\n').flatMap((line) => {
    if (line.startsWith('*')) table = line.slice(1);
    return /KUBE-(KUBELET-CANARY|IPTABLES-HINT|FIREWALL)/.test(line) ? [`${table} ${line.replace(/ \[.*/, '')}`] : [];
  });
}

const CANARIES = [
  'mangle :KUBE-IPTABLES-HINT -',
  ...['mangle', 'nat', 'filter'].map((t) => `${t} :KUBE-KUBELET-CANARY -`),
];
const GUARD = [
  'filter :KUBE-FIREWALL -',
  'filter -A INPUT -j KUBE-FIREWALL',
  'filter -A OUTPUT -j KUBE-FIREWALL',
  'filter -A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 -m comment --comment "block incoming localnet connections" -m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP',
];

test.each<[IptablesVariant]>([['nft'], ['legacy']])(
  'iptables-%s: hint, canaries and guard, made once',
  async (variant) => {
    const exec = await node('once', variant);
    if (exec === undefined) return;
    for (let i = 0; i < 2; i++) for (const family of [4, 6] as const) await ensureUtilChains(exec, { family, signal });
    expect((await chains(exec)).sort()).toEqual([...CANARIES, ...GUARD].sort());
    expect((await chains(exec, 'ip6tables-save')).sort()).toEqual(CANARIES.toSorted());
    await exec('iptables', ['-w', '-D', 'OUTPUT', '-j', 'KUBE-FIREWALL']);
    await ensureUtilChains(exec, { family: 4, signal });
    expect((await chains(exec)).sort()).toEqual([...CANARIES, ...GUARD].sort());
    for (let i = 0; i < 2; i++) await removeUtilChains(exec, signal);
    expect((await chains(exec)).sort()).toEqual(GUARD.toSorted());
    expect(await chains(exec, 'ip6tables-save')).toEqual([]);
  },
);

test('the guard is shared with the proxy, whoever comes first', async () => {
  for (const first of ['kubelet', 'proxy'] as const) {
    const exec = (await node(`shared-${first}`, 'nft'))!;
    const proxier = matrixProxier(exec, { mode: 'iptables', family: 4 });
    putShapes(proxier, wholeMatrix().slice(0, 2));
    if (first === 'proxy') await proxier.sync(signal);
    await ensureUtilChains(exec, { family: 4, signal });
    await proxier.sync(signal);
    expect((await chains(exec)).sort()).toEqual([...CANARIES, ...GUARD].sort());
    await ensureUtilChains(exec, { family: 4, signal });
    expect((await chains(exec)).sort()).toEqual([...CANARIES, ...GUARD].sort());
    expect(await proxier.detectFlush(signal)).toBe(false);
  }
});

test('chains that somebody flushed come back', async () => {
  const exec = (await node('flushed', 'nft'))!;
  const stop = new AbortController();
  // A minute is as long as the test likes.
  const clock = { ...systemClock, sleep: (ms: number, s?: AbortSignal) => systemClock.sleep(Math.min(ms, 50), s) };
  const ended = keepUtilChains({ exec, clock, log: silentLog }, stop.signal);
  const areAllThere = async () => {
    expect((await chains(exec)).sort()).toEqual([...CANARIES, ...GUARD].sort());
    expect((await chains(exec, 'ip6tables-save')).sort()).toEqual(CANARIES.toSorted());
  };
  await vi.waitFor(areAllThere, { timeout: 60_000 });
  for (const table of ['mangle', 'nat', 'filter']) {
    for (const args of [['-F'], ['-X']]) expect((await exec('iptables', ['-w', '-t', table, ...args])).stderr).toBe('');
    await vi.waitFor(areAllThere, { timeout: 60_000 });
  }
  stop.abort();
  await ended;
});

test('a node without iptables has none, and nothing is said about it', async () => {
  const ran: string[] = [];
  const exec: Exec = async (program) => {
    ran.push(program);
    throw new Error('no such program');
  };
  const stop = new AbortController();
  const clock = { ...systemClock, sleep: async () => void (ran.length > 0 && stop.abort()) };
  await keepUtilChains({ exec, clock, log: silentLog }, stop.signal);
  expect(ran).toEqual(['iptables', 'ip6tables']);
});
