// The iptables mode on the real kernel, both programs and both IP families: however a state was reached, through however
// many syncs, failed ones among them, the kernel holds the same rules as when it is written at once.
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import type { Exec } from '../../host/exec.ts';
import { cleanupIptables, type IptablesVariant } from '../../proxy/iptables/iptables.ts';
import { matrixProxier, putShapes } from '../harness/matrix-proxier.ts';
import { TestNamespaces } from '../harness/netns.ts';
import { type Family, wholeMatrix } from '../harness/service-matrix.ts';

const namespaces = new TestNamespaces('ipt');
const signal = new AbortController().signal;
const shapes = wholeMatrix();

afterAll(async () => {
  await namespaces[Symbol.asyncDispose]();
});

/** Runs the programs of `variant` in a new namespace. A restore that `fault` is asked about gets half of its document. */
async function node(name: string, variant: IptablesVariant, fault: () => boolean = () => false): Promise<Exec> {
  const exec = namespaces.exec(await namespaces.create(name));
  return (program, args, opts) => {
    const real = program.replace(/^(ip6?tables)/, `$1-${variant}`);
    if (!program.endsWith('-restore') || !fault()) return exec(real, args, opts);
    const half = String(opts?.input ?? '').slice(0, String(opts?.input ?? '').length / 2);
    return exec(real, args, { ...opts, input: `${half}\n` });
  };
}

/** Table → chain → rules as the kernel tells them; sorted where their order cannot matter. */
async function stateOf(exec: Exec, family: Family): Promise<Record<string, readonly string[]>> {
  const r = await exec(family === 6 ? 'ip6tables-save' : 'iptables-save', []);
  expect(r.code).toBe(0);
  const state: Record<string, string[]> = {};
  let table = '';
  for (const line of r.stdout.split('\n')) {
    if (line.startsWith('*')) table = line.slice(1);
    else if (line.startsWith(':')) state[`${table} ${line.slice(1, line.indexOf(' '))}`] = [];
    else if (line.startsWith('-A ')) state[`${table} ${line.split(' ')[1]}`]!.push(line);
  }
  for (const [chain, rules] of Object.entries(state)) {
    if (/ KUBE-(SERVICES|EXTERNAL-SERVICES|NODEPORTS|PROXY-FIREWALL)$/.test(chain)) {
      const last = rules.filter((rule) => rule.includes('must be the last rule'));
      expect(rules.slice(rules.length - last.length)).toEqual(last);
      rules.sort();
    }
  }
  return state;
}

/** Why `exec` has no rules to show; undefined when it has. */
async function whyMissing(exec: Exec, family: Family): Promise<string | undefined> {
  const r = await exec(family === 6 ? 'ip6tables-save' : 'iptables-save', ['-t', 'nat']).catch((err: unknown) => ({
    code: 1,
    stderr: String(err),
  }));
  return r.code === 0 ? undefined : r.stderr;
}

test.each<[IptablesVariant, Family]>([
  ['nft', 4],
  ['nft', 6],
  ['legacy', 4],
  ['legacy', 6],
])(
  'iptables-%s, IPv%i: the way to a state leaves no trace in it',
  async (variant, family) => {
    let willFail = false;
    const exec = await node(`steps-${variant}-${family}`, variant, () => {
      const fails = willFail;
      willFail = false;
      return fails;
    });
    const missing = await whyMissing(exec, family);
    if (missing !== undefined) {
      console.warn(`skipped: iptables-${variant} does not work here: ${missing.trim()}`);
      return;
    }
    const proxier = matrixProxier(exec, { mode: 'iptables', family, variant });
    const steps = fc.sample(
      fc.array(fc.record({ at: fc.nat(shapes.length - 1), isThere: fc.boolean() }), { minLength: 4, maxLength: 30 }),
      { numRuns: 8, seed: 4 },
    );
    const end = new Map<number, boolean>();
    const kinds: string[] = [];
    for (const [i, step] of steps.entries()) {
      for (const { at, isThere } of step) {
        putShapes(proxier, [shapes[at]!], isThere);
        end.set(at, isThere);
      }
      willFail = i === 3 || i === 6;
      if (willFail) await expect(proxier.sync(signal)).rejects.toMatchObject({ code: 'RULES_REJECTED' });
      else kinds.push(await proxier.sync(signal));
    }
    expect(kinds).toEqual(['full', 'partial', 'partial', 'full', 'partial', 'full']);
    const fresh = await node(`once-${variant}-${family}`, variant);
    const direct = matrixProxier(fresh, { mode: 'iptables', family, variant });
    for (const [at, isThere] of end) putShapes(direct, [shapes[at]!], isThere);
    await direct.sync(signal);
    const [stepped, atOnce] = [await stateOf(exec, family), await stateOf(fresh, family)];
    expect(Object.keys(atOnce).filter((chain) => chain.includes('KUBE-SEP-')).length).toBeGreaterThan(5);
    expect(stepped).toEqual(atOnce);

    // Somebody empties a table: seen at the next look, and all is as before.
    await exec(family === 6 ? 'ip6tables' : 'iptables', ['-w', '-t', 'nat', '-F']);
    expect(await proxier.detectFlush(signal)).toBe(true);
    expect(await proxier.sync(signal)).toBe('full');
    expect(await stateOf(exec, family)).toEqual(atOnce);
    expect(await proxier.detectFlush(signal)).toBe(false);
  },
  60_000,
);

test('iptables-nft: tables that the tool cannot show, for a rule that somebody put in by nft, get no second set of jumps', async () => {
  const exec = await node('foreign', 'nft');
  const start = () => matrixProxier(exec, { mode: 'iptables', family: 4, variant: 'nft' });
  const isOnce = async () => {
    const { code, stdout } = await exec('nft', ['list', 'ruleset']);
    expect(code).toBe(0);
    const jumps = [...stdout.matchAll(/chain (\S+) \{|jump (KUBE-\S+)/g)];
    let chain = '';
    const seen: string[] = [];
    for (const [, name, to] of jumps) {
      if (name !== undefined) chain = name;
      else if (!chain.startsWith('KUBE-')) seen.push(`${chain} ${to}`);
    }
    return seen;
  };
  await start().sync(signal);
  const before = await isOnce();
  expect(before.length).toBeGreaterThan(10);
  for (const table of ['filter', 'nat']) {
    await exec('nft', ['add', 'chain', 'ip', table, 'foreign']);
    await exec('nft', ['add', 'rule', 'ip', table, 'foreign', 'fib', 'daddr', 'type', 'local', 'accept']);
  }
  expect((await exec('iptables-save', [])).stdout).toMatch(/incompatible/);
  const restarted = start();
  await restarted.sync(signal);
  expect(await isOnce()).toEqual(before);
  expect(await restarted.detectFlush(signal)).toBe(false);
  await cleanupIptables(exec, 4, { keepShared: false }, signal);
  expect(await isOnce()).toEqual([]);
});

test('iptables-nft: a chain of very many endpoints that is changed rule by rule gives each its share', async () => {
  const exec = await node('long', 'nft');
  const missing = await whyMissing(exec, 4);
  if (missing !== undefined) {
    console.warn(`skipped: iptables-nft does not work here: ${missing.trim()}`);
    return;
  }
  const documents: string[] = [];
  const watched: Exec = (program, args, opts) => {
    if (program.endsWith('-restore')) documents.push(String(opts?.input ?? ''));
    return exec(program, args, opts);
  };
  const proxier = matrixProxier(watched, { mode: 'iptables', family: 4, variant: 'nft' });
  const spec = { clusterIP: '10.96.0.9', sessionAffinity: 'ClientIP', ports: [{ name: 'p', port: 80 }] };
  proxier.handleService('ns/long', { metadata: { namespace: 'ns', name: 'long' }, spec });
  const put = (hosts: ReadonlySet<number>) =>
    proxier.handleSlice({
      metadata: { namespace: 'ns', name: 'long-1', labels: { 'kubernetes.io/service-name': 'long' } },
      addressType: 'IPv4',
      ports: [{ name: 'p', port: 8080, protocol: 'TCP' }],
      endpoints: [...hosts].map((n) => ({ addresses: [`10.244.${n >> 8}.${n & 255}`] })),
    });
  // What a rule matches, by its place, and where each kind of rule leads, in any order.
  const chainOf = async () => {
    const state = await stateOf(exec, 4);
    const rules = Object.entries(state).find(([chain]) => chain.startsWith('nat KUBE-SVC-'))![1];
    const seps = Object.keys(state).filter((chain) => chain.startsWith('nat KUBE-SEP-'));
    const places = rules.map((rule) => /--probability \S+|--rcheck/.exec(rule)?.[0]);
    return {
      places,
      targets: rules
        .map((rule) => rule.slice(rule.indexOf(' -m ')))
        .map(targetOf)
        .sort(),
      seps,
    };
  };
  const targetOf = (rule: string) => `${rule.includes('--rcheck')} ${rule.slice(rule.lastIndexOf('-j '))}`;

  const hosts = new Set(Array.from({ length: 300 }, (_, i) => i + 1));
  put(hosts);
  await proxier.sync(signal);
  for (const [gone, come] of [
    [[150], []],
    [[], [1001, 1002, 1003]],
    [
      [1, 2, 3, 298, 299, 300],
      [1004, 1005],
    ],
    [
      [40, 41, 42, 1005],
      [40, 1006],
    ],
  ] as const) {
    for (const n of gone) hosts.delete(n);
    for (const n of come) hosts.add(n);
    put(hosts);
    documents.length = 0;
    expect(await proxier.sync(signal)).toBe('partial');
    expect(documents.join('').split('\n').length).toBeLessThan(60);
  }
  const changed = await chainOf();
  proxier.forceFull();
  expect(await proxier.sync(signal)).toBe('full');
  expect(changed).toEqual(await chainOf());
  expect(changed.seps).toHaveLength(hosts.size);
});
