// What one proxy mode leaves when the other one starts, or when both are cleaned up: nothing, in either IP family, while
// rules of others stay. On the real kernel.
import { afterAll, expect, test } from 'vitest';
import { cleanupProxy, removeOtherMode } from '../../cmd/agent/proxy-removal.ts';
import type { AgentContext } from '../../cmd/agent/shared.ts';
import { silentLog } from '../../core/log.ts';
import type { Exec } from '../../host/exec.ts';
import { matrixProxier, putShapes } from '../harness/matrix-proxier.ts';
import { TestNamespaces } from '../harness/netns.ts';
import { type Mode, wholeMatrix } from '../harness/service-matrix.ts';

const signal = new AbortController().signal;
const namespaces = new TestNamespaces('mode');
const shapes = wholeMatrix().slice(0, 12);

/** Rules of `mode` in both families, as a run of the proxy leaves them. */
async function leaveRules(exec: Exec, mode: Mode): Promise<void> {
  for (const family of [4, 6] as const) {
    const proxier = matrixProxier(exec, { mode, family });
    putShapes(proxier, shapes);
    await proxier.sync(signal);
  }
}

/** As much of the agent as removing rules takes. */
function agentIn(exec: Exec): AgentContext {
  const ctx: Pick<AgentContext, 'exec' | 'log'> & { config: Pick<AgentContext['config'], 'parts'> } = {
    exec,
    log: silentLog,
    config: { parts: new Set(['kubelet', 'proxy']) },
  };
  return ctx as AgentContext;
}

interface Leftovers {
  readonly iptables: readonly string[];
  readonly nftables: readonly string[];
}

/** Lines about Services in what the kernel holds. */
async function leftovers(exec: Exec): Promise<Leftovers> {
  const saved = await Promise.all(['iptables-save', 'ip6tables-save'].map((program) => exec(program, [])));
  const tables = await exec('nft', ['list', 'tables']);
  return {
    iptables: saved.flatMap((r) => r.stdout.split('\n')).filter((line) => line.includes('KUBE-')),
    nftables: tables.stdout.split('\n').filter((line) => line.includes('kube-proxy')),
  };
}

/** Rules of somebody else, in chains that the proxy uses too. */
async function addForeignRules(exec: Exec): Promise<() => Promise<string>> {
  for (const program of ['iptables', 'ip6tables']) {
    const r = await exec(program, ['-t', 'nat', '-A', 'PREROUTING', '-m', 'comment', '--comment', 'theirs']);
    expect(r.stderr).toBe('');
  }
  expect((await exec('nft', ['add table ip theirs'])).stderr).toBe('');
  return async () => {
    const saved = await Promise.all(['iptables-save', 'ip6tables-save'].map((p) => exec(p, ['-t', 'nat'])));
    const tables = (await exec('nft', ['list', 'tables'])).stdout;
    return saved.map((r) => r.stdout.match(/theirs/g)?.length).join() + String(tables.includes('table ip theirs'));
  };
}

test.each([
  ['iptables', 'nftables'],
  ['nftables', 'iptables'],
] as const)('from %s to %s nothing of the former stays', async (before, after) => {
  const exec = namespaces.exec(await namespaces.create(`to-${after}`));
  const foreign = await addForeignRules(exec);
  await leaveRules(exec, before);
  expect((await leftovers(exec))[before].length).toBeGreaterThan(0);
  await removeOtherMode(agentIn(exec), after, signal);
  expect((await leftovers(exec))[before].filter((line) => !line.includes('KUBE-FIREWALL'))).toEqual([]);
  expect(await foreign()).toBe('1,1true');
});

test('--cleanup leaves nothing of either mode, of a host that ran both, and may be repeated', async () => {
  const exec = namespaces.exec(await namespaces.create('cleanup'));
  const foreign = await addForeignRules(exec);
  for (const mode of ['iptables', 'nftables'] as const) await leaveRules(exec, mode);
  const both = await leftovers(exec);
  expect([both.iptables.length > 0, both.nftables.length]).toEqual([true, 2]);
  await cleanupProxy(agentIn(exec), signal);
  expect(await leftovers(exec)).toEqual({ iptables: [], nftables: [] });
  await cleanupProxy(agentIn(exec), signal);
  expect(await leftovers(exec)).toEqual({ iptables: [], nftables: [] });
  expect(await foreign()).toBe('1,1true');
});

afterAll(() => namespaces[Symbol.asyncDispose]());
