import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';

const ROOT = path.resolve(import.meta.dirname, '..');
const ROOMS = ['api', 'apiserver', 'client', 'cmd', 'cni', 'core', 'cri', 'host', 'kubelet', 'lab', 'probes', 'proxy'];
/** Codes of other systems: errno and names of WebSocket and gRPC look alike, and no AgentError carries them. */
const FOREIGN =
  /^(E[A-Z]{2,}|ERR_[A-Z_]+|OK|UNKNOWN|INTERNAL|UNAVAILABLE|CANCELLED|UNIMPLEMENTED|DEADLINE_EXCEEDED|INVALID_ARGUMENT|RESOURCE_EXHAUSTED)$/;

/** Every code in the sources, with the file that has it. */
async function codesInSources(): Promise<Map<string, string>> {
  const codes = new Map<string, string>();
  for (const room of ROOMS) {
    for (const name of await readdir(path.join(ROOT, room), { recursive: true })) {
      if (!name.endsWith('.ts') || name.endsWith('.test.ts') || path.basename(name).startsWith('fake-')) continue;
      const source = await readFile(path.join(ROOT, room, name), 'utf8');
      for (const [, rest] of source.matchAll(/\bcode:([^,;}\n]*)/g)) {
        for (const [, code] of rest!.matchAll(/'([A-Z][A-Z0-9]*_?[A-Z0-9_]*)'/g))
          if (!FOREIGN.test(code!)) codes.set(code!, `${room}/${name}`);
      }
    }
  }
  return codes;
}

async function codesInDocs(): Promise<string[]> {
  const text = await readFile(path.join(ROOT, 'docs', 'errors.md'), 'utf8');
  return [...text.matchAll(/^\| `([A-Z0-9_]+)` \|/gm)].map((m) => m[1]!);
}

test('every error code has a line in docs/errors.md', async () => {
  const documented = new Set(await codesInDocs());
  const missing = [...(await codesInSources())].filter(([code]) => !documented.has(code));
  expect(missing).toEqual([]);
});

test('docs/errors.md has no code that is gone and none twice', async () => {
  const [sources, documented] = [await codesInSources(), await codesInDocs()];
  expect(sources.size).toBeGreaterThan(50);
  expect(documented.filter((code) => !sources.has(code))).toEqual([]);
  expect(new Set(documented).size).toBe(documented.length);
});
