import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';

const ROOT = path.resolve(import.meta.dirname, '..');

interface Row {
  readonly section: string;
  readonly rules: string;
  readonly proofs: string;
}

const DOCUMENTS = ['docs/conformance.md', 'docs/network.md', 'docs/security.md'];

/** The rows of every table of `document` that names tests. */
async function readRows(document: string): Promise<Row[]> {
  const rows: Row[] = [];
  let section = '';
  let namesTests = false;
  const lines = (await readFile(path.join(ROOT, document), 'utf8')).split('\n');
  for (const [i, line] of lines.entries()) {
    if (line.startsWith('## ')) section = line.slice(3);
    const cells = line.match(/^\| (.*) \| (.*) \|$/);
    if (cells === null) continue;
    const isHead = lines[i + 1]?.startsWith('|---') ?? false;
    if (isHead) namesTests = ['rules', 'event', 'threat'].includes(cells[1]!);
    else if (namesTests && section !== 'Not done') rows.push({ section, rules: cells[1]!, proofs: cells[2]! });
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

test.each(DOCUMENTS)('every row of %s names a test that exists', async (document) => {
  const rows = await readRows(document);
  expect(rows.length).toBeGreaterThan(5);
  const faults = await Promise.all(rows.map(faultsOf));
  expect(faults.flat()).toEqual([]);
});
