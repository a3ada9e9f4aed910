// The import rules of docs/architecture.md, read from the import lines themselves: an arrow that is not drawn there
// fails here.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';

const root = path.resolve(import.meta.dirname, '..');

/** Room → rooms it may import besides itself. */
const allowed: Readonly<Record<string, readonly string[]>> = {
  cmd: ['kubelet', 'proxy', 'cni', 'apiserver', 'lab', 'cri', 'probes', 'client', 'host', 'api', 'core'],
  kubelet: ['cri', 'probes', 'client', 'host', 'api', 'core'],
  proxy: ['client', 'host', 'api', 'core'],
  cni: ['client', 'host', 'api', 'core'],
  lab: ['client', 'host', 'api', 'core'],
  // Controllers and the scheduler use the client's reflector and stores over an in-process transport, as
  // kube-controller-manager uses client-go (docs/decisions/0002).
  apiserver: ['client', 'api', 'core'],
  client: ['api', 'core'],
  cri: ['api', 'core'],
  probes: ['api', 'core'],
  host: ['core'],
  api: [],
  core: [],
};

interface Import {
  readonly file: string;
  readonly target: string;
}

function sourceFiles(dir: string): string[] {
  return readdirSync(path.join(root, dir), { recursive: true, withFileTypes: true })
    .filter((e) => e.isFile() && e.name.endsWith('.ts'))
    .map((e) => path.relative(root, path.join(e.parentPath, e.name)));
}

function relativeImports(file: string): Import[] {
  const text = readFileSync(path.join(root, file), 'utf8');
  const found = text.matchAll(
    /(?:^|\s)(?:import|export)\b[^'";]*?from\s*['"](\.[^'"]+)['"]|import\(\s*['"](\.[^'"]+)['"]/gm,
  );
  return [...found].map((m) => ({
    file,
    target: path.relative(root, path.resolve(root, path.dirname(file), (m[1] ?? m[2])!)),
  }));
}

const roomOf = (file: string): string => file.split(path.sep)[0]!;
const isTest = (file: string): boolean => file.endsWith('.test.ts');
const isFake = (file: string): boolean => path.basename(file).startsWith('fake-');

const imports = Object.keys(allowed).flatMap(sourceFiles).flatMap(relativeImports);

test('the import scan sees the code', () => {
  expect(imports.length).toBeGreaterThan(20);
});

test('rooms import only what the architecture allows', () => {
  const wrong = imports
    .filter(({ file }) => !isTest(file))
    .filter(({ file, target }) => {
      const from = roomOf(file);
      const to = roomOf(target);
      return from !== to && !allowed[from]!.includes(to);
    })
    .map(({ file, target }) => `${file} → ${target}`);
  expect(wrong).toEqual([]);
});

test('only tests import fakes and tests', () => {
  const wrong = imports
    .filter(({ file, target }) => !isTest(file) && !isFake(file) && (isTest(target) || isFake(target)))
    .map(({ file, target }) => `${file} → ${target}`);
  expect(wrong).toEqual([]);
});

test('files do not import each other in circles', () => {
  // Type-only imports vanish at run time and may point back: seams are described in terms of each other.
  const valueImports = new Map<string, string[]>();
  for (const file of Object.keys(allowed).flatMap(sourceFiles)) {
    const text = readFileSync(path.join(root, file), 'utf8').replaceAll(/(import|export) type [^;]*;/g, '');
    const targets = [...text.matchAll(/(?:import|export)\b[^'";]*?from\s*['"](\.[^'"]+)['"]/g)];
    valueImports.set(
      file,
      targets.map((m) => path.relative(root, path.resolve(root, path.dirname(file), m[1]!))),
    );
  }
  expect(findCycle(valueImports)).toBeUndefined();
});

function findCycle(graph: ReadonlyMap<string, readonly string[]>): string[] | undefined {
  const done = new Set<string>();
  const visit = (file: string, trail: readonly string[]): string[] | undefined => {
    const at = trail.indexOf(file);
    if (at >= 0) return [...trail.slice(at), file];
    if (done.has(file)) return undefined;
    for (const next of graph.get(file) ?? []) {
      const cycle = visit(next, [...trail, file]);
      if (cycle !== undefined) return cycle;
    }
    done.add(file);
    return undefined;
  };
  for (const file of graph.keys()) {
    const cycle = visit(file, []);
    if (cycle !== undefined) return cycle;
  }
  return undefined;
}
