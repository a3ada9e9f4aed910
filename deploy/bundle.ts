// `npm run build`: the whole program as one file, dist/nodelet.mjs. Type stripping and a few hundred modules cost the
// agent some 20 MB and a third of its start (docs/decisions/0005-bundle.md); bin/nodelet runs the bundle while no source
// is newer. Identifiers keep their names, so that stack traces can be read without the source map beside it.
import { readFile, rename, rm, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { build } from 'esbuild';

const root = path.resolve(import.meta.dirname, '..');
const outfile = path.join(root, 'dist', 'nodelet.mjs');
// Under another name first: a program that starts meanwhile must not read half a file.
const unfinished = path.join(root, 'dist', `.nodelet.${process.pid}.mjs`);
const startedAt = new Date();

try {
  await build({
    entryPoints: [path.join(root, 'cmd', 'nodelet.ts')],
    outfile: unfinished,
    bundle: true,
    platform: 'node',
    format: 'esm',
    target: 'node24',
    sourcemap: 'external',
    minifySyntax: true,
    minifyWhitespace: true,
    legalComments: 'linked',
    // CommonJS packages inside an ES module still call require() for Node's own modules.
    banner: {
      js: "import { createRequire as createRequire_ } from 'node:module'; const require = createRequire_(import.meta.url);",
    },
    logLevel: 'warning',
    logOverride: { 'large-output-file': 'silent' },
  });
  await writeFile(unfinished, asciiOnly(await readFile(unfinished, 'utf8')));
  await utimes(unfinished, startedAt, startedAt); // a source that changed after it was read is newer
  await rename(`${unfinished}.map`, `${outfile}.map`);
  await rename(`${unfinished}.LEGAL.txt`, `${outfile}.LEGAL.txt`).catch(() => {}); // there are none to list
  await rename(unfinished, outfile);
} catch {
  // esbuild has said what is wrong
  process.exitCode = 1;
} finally {
  for (const ending of ['', '.map', '.LEGAL.txt']) await rm(unfinished + ending, { force: true });
}

/**
 * One character above U+00FF makes V8 keep the whole text with two bytes for each: 2.8 MB more in every process. esbuild
 * escapes what stands in strings, not what stands in regular expressions.
 */
function asciiOnly(code: string): string {
  return code.replace(/[^\0-\x7f]/g, (c) => `\\u${c.charCodeAt(0).toString(16).padStart(4, '0')}`);
}
