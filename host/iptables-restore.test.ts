import { expect, test } from 'vitest';
import type { Exec } from './exec.ts';
import { applyRestore, hasJump, parseSave, renderRestore, saveRules } from './iptables-restore.ts';

test('the error names the refused line', async () => {
  const payload = renderRestore([{ table: 'nat', chains: ['A'], rules: ['-A A -j NOPE'] }]);
  const exec = async () => ({ code: 2, signal: undefined, stdout: '', stderr: 'iptables-restore: line 3 failed' });
  await expect(applyRestore(exec, payload)).rejects.toMatchObject({
    code: 'RULES_REJECTED',
    details: { line: 3, rule: '-A A -j NOPE' },
  });
});

test('nothing to apply starts nothing', async () => {
  const payload = renderRestore([{ table: 'nat', chains: [], rules: [] }]);
  await applyRestore(() => Promise.reject(new Error('started')), payload);
});

test('saved rules are told apart by table and chain', () => {
  const saved = parseSave(
    '*nat\n:OUTPUT ACCEPT [1:2]\n:X - [0:0]\n-A OUTPUT -m comment --comment "a b" -j X\nCOMMIT\n*filter\nCOMMIT\n',
  );
  expect([...saved.get('nat')!.chains]).toEqual(['OUTPUT', 'X']);
  expect(hasJump(saved.get('nat'), 'OUTPUT', 'X')).toBe(true);
  expect(hasJump(saved.get('filter'), 'OUTPUT', 'X')).toBe(false);
});

test('of a large ruleset, only the rules of chains that are asked for are kept, and all chain names', () => {
  const text = '*nat\n:OUTPUT ACCEPT [1:2]\n:X - [0:0]\n-A OUTPUT -j X\n-A X -j ACCEPT\n-A OUTPUTS -j X\nCOMMIT';
  const saved = parseSave(text, new Set(['OUTPUT']));
  expect(saved.get('nat')!.rules).toEqual(['-A OUTPUT -j X']);
  expect([...saved.get('nat')!.chains]).toEqual(['OUTPUT', 'X']);
});

test('in a table that iptables cannot show, rules are asked for; one that is cut off is not taken for whole', async () => {
  const jumps = ['X', 'Y'].map((to) => ({ table: 'nat' as const, rule: `-A OUTPUT -j ${to}` }));
  const asked: string[] = [];
  const exec: Exec = async (program, _args, opts) => {
    if (program === 'iptables-save')
      return { code: 0, signal: undefined, stdout: "# Table `nat' is incompatible, use 'nft' tool.\n", stderr: '' };
    asked.push(String(opts?.input));
    return { code: asked.length - 1, signal: undefined, stdout: '', stderr: '' };
  };
  const saved = await saveRules(exec, { jumps: [...jumps, { table: 'filter', rule: '-A INPUT -j Z' }] });
  expect(asked).toEqual(['X', 'Y'].map((to) => `*nat\n-C OUTPUT -j ${to}\nCOMMIT\n`));
  expect([...saved]).toEqual([['nat', { chains: new Set(['X']), rules: ['-A OUTPUT -j X'] }]]);

  const cut: Exec = async () => ({ code: 0, signal: undefined, stdout: '*nat\n:OUTPUT ACCEPT', stderr: '' });
  await expect(saveRules(cut)).rejects.toMatchObject({ code: 'RULES_UNREADABLE' });
});

test('a ruleset is read as it comes, wherever it is cut', async () => {
  const text = '*nat\n:OUTPUT ACCEPT [1:2]\n:X - [0:0]\n-A OUTPUT -m comment --comment "für Übung" -j X\nCOMMIT\n';
  const bytes = Buffer.from(text);
  for (let cut = 0; cut <= bytes.length; cut++) {
    const exec: Exec = async (_program, _args, opts) => {
      opts?.onStdout?.(bytes.subarray(0, cut));
      opts?.onStdout?.(bytes.subarray(cut));
      return { code: 0, signal: undefined, stdout: '', stderr: '' };
    };
    expect(await saveRules(exec)).toEqual(parseSave(text));
  }
});
