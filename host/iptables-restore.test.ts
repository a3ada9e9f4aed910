import { expect, test } from 'vitest';
import { applyRestore, hasJump, parseSave, renderRestore } from './iptables-restore.ts';

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
