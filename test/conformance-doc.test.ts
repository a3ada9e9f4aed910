import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';

const ROOT = path.resolve(import.meta.dirname, '..');

interface Row {
  readonly section: string;
  readonly rules: string;
  readonly proofs: string;
}

/** The rows of every table of docs/conformance.md that names tests. */
async function readRows(): Promise<Row[]> {
  const rows: Row[] = [];
  let section = '';
  for (const line of (await readFile(path.join(ROOT, 'docs/conformance.md'), 'utf8')).split('\n')) {
    if (line.startsWith('## ')) section = line.slice(3);
    const cells = line.match(/^\| (.*) \| (.*) \|$/);
    if (cells === null || section === 'Not done' || ['rules', 'event'].includes(cells[1]!)) continue;
    rows.push({ section, rules: cells[1]!, proofs: cells[2]! });
  }
  return rows;
}

/** What is wrong with a row: no test, a file that is not there, or a title that the file does not have. */
async function faultsOf({ section, rules, proofs }: Row): Promise<string[]> {
  const named = [...proofs.matchAll(/`([^`]+?) › ([^`]+)`/g)];
  if (named.length === 0) return [`${section}: "${rules}" names no test`];
  const faults: string[] = [];
  for (const [, file, title] of named) {
    const source = await readFile(path.join(ROOT, file!), 'utf8').catch(() => undefined);
    if (source === undefined) faults.push(`${section}: "${rules}": no file ${file}`);
    else if (!source.includes(title!)) faults.push(`${section}: "${rules}": ${file} has no "${title}"`);
  }
  return faults;
}

test('every row of docs/conformance.md names a test that exists', async () => {
  const rows = await readRows();
  const faults = await Promise.all(rows.map(faultsOf));
  expect(faults.flat()).toEqual([]);
});
