// Anything may stand in a configuration file or behind a flag: it is taken, or refused with the name of what is wrong.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { stringify } from 'yaml';
import { AgentError } from '../../core/errors.ts';
import { disk, nodelet, proxy } from './fake-command-line.ts';
import type { Fields } from './field.ts';
import { type ConfigKind, KINDS } from './fields.ts';
import { FLAGS } from './flag-table.ts';
import { attributeName } from './flags.ts';
import { parseAgentConfig } from './parse.ts';

const RUNS = 3;

function paths(fields: Fields, prefix: readonly string[] = []): (readonly string[])[] {
  return Object.entries(fields).flatMap(([name, f]) => [
    [...prefix, name],
    ...(f.fields === undefined ? [] : paths(f.fields, [...prefix, name])),
  ]);
}

/** A value of any form, among them texts that look like those that fields take. */
const value = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.constantFrom<unknown>(
    ...[
      '',
      '10s',
      '-1s',
      '1h',
      '10%',
      '110%',
      '1Gi',
      '-5',
      '0',
      '4294967296',
      '0-99999999999',
      '::1',
      '10.0.0.0/8',
      '/a/../b',
      '*',
      'true',
      'Static',
    ],
    ...[-1, 0, 1, 1.5, 2 ** 31, 2 ** 53, Number.NaN, Number.POSITIVE_INFINITY, true, false, null],
    ...[[], {}, [null], [[]], [{}], { a: null }, { constructor: 1 }, { 'memory.available': '10%' }, { cpu: '1' }],
  ),
  fc.dictionary(
    fc.constantFrom('memory.available', 'cpu', 'a', 'key', 'toString', 'priority'),
    fc.jsonValue({ maxDepth: 1 }),
  ),
);

function nested(path: readonly string[], inner: unknown): unknown {
  return path.reduceRight<unknown>((sum, key) => ({ [key]: sum }), inner);
}

/** The faults of a file that holds `content`; none when it is taken. */
async function faults(content: string): Promise<readonly string[]> {
  try {
    await parseAgentConfig('agent', { parts: ['kubelet'], config: ['/c'] }, disk({ '/c': content }));
    return [];
  } catch (err) {
    expect(err, String((err as Error).stack)).toBeInstanceOf(AgentError);
    expect((err as AgentError).code).toBe('CONFIG_INVALID');
    return (err as AgentError).details!.faults as readonly string[];
  }
}

describe.each(Object.entries(KINDS))('%s', (kind, { apiVersion, fields }) => {
  test.each(paths(fields).map((path) => [path.join('.'), path] as const))('%s', async (name, path) => {
    await fc.assert(
      fc.asyncProperty(value, async (inner) => {
        const content = stringify({ apiVersion, kind, ...(nested(path, inner) as object) });
        const told = await faults(content);
        for (const fault of told) expect(fault).toContain(relatedTo(kind as ConfigKind, name, fault));
      }),
      { numRuns: RUNS },
    );
  });
});

/** A fault names the field itself, or (a rule between fields) another field of the kind. */
function relatedTo(kind: ConfigKind, name: string, fault: string): string {
  const top = name.split('.')[0]!;
  if (fault.includes(top)) return top;
  const others = Object.keys(KINDS[kind].fields).filter((other) => fault.includes(other));
  // Values of NodeletConfiguration are also those of flags.
  return others[0] ?? (/--cluster-cidr|featureGates|is enabled, but depends/.exec(fault)?.[0] || top);
}

test('any text instead of a file', async () => {
  const line = fc.constantFrom(
    'kind: KubeletConfiguration',
    'a: &a [*a]',
    '- x',
    '---',
    '...',
    '\t',
    '? x',
    '<<: *b',
    '!!binary x',
    '{',
    '"',
  );
  const text = fc.oneof(
    fc.string({ unit: 'binary' }),
    fc.array(line).map((lines) => lines.join('\n')),
    fc.json(),
  );
  await fc.assert(
    fc.asyncProperty(text, async (content) => void (await faults(content))),
    { numRuns: 300 },
  );
});

test('a document that grows without end when its aliases are followed is refused', async () => {
  const rounds = Array.from({ length: 30 }, (_, i) => `a${i + 1}: &a${i + 1} [*a${i}, *a${i}]`);
  const told = await faults(['kind: KubeletConfiguration', 'a0: &a0 [x]', ...rounds].join('\n'));
  expect(told.join()).toContain('/c');
});

test('any text behind any flag', async () => {
  const names = fc.constantFrom(...FLAGS.agent.filter((flag) => flag.name !== 'version'));
  const texts = fc.oneof(
    fc.string(),
    fc.constantFrom('', ',', '=', 'a=b', 'a<b', '0:memory=1Gi', '0-99999999999', '1s', 'x:y', '-1', 'true', '{}'),
  );
  await fc.assert(
    fc.asyncProperty(names, fc.array(texts, { minLength: 1, maxLength: 3 }), async (flag, written) => {
      const attribute = attributeName(flag.name);
      try {
        await parseAgentConfig('agent', { parts: ['kubelet'], [attribute]: written }, disk({}));
      } catch (err) {
        expect((err as AgentError).code, String((err as Error).stack)).toBe('CONFIG_INVALID');
      }
    }),
    { numRuns: 500 },
  );
});

test('documents of other parts do not disturb each other', async () => {
  const content = [proxy('mode: {}'), nodelet('vni: {}')].join('\n---\n');
  expect(await faults(content)).toEqual([
    '--config=/c: mode: expected iptables or nftables, got {}',
    '--config=/c: vni: expected a whole number from 1 to 16777215, got {}',
  ]);
});
