// The iptables mode on the real kernel, both programs and both IP families: however a state was reached, through however
// many syncs, failed ones among them, the kernel holds the same rules as when it is written at once.
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import type { Exec } from '../../host/exec.ts';
import type { IptablesVariant } from '../../proxy/iptables/iptables.ts';
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
