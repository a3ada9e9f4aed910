// Reads the configuration of credential provider plugins (pkg/credentialprovider/plugin/config.go).
import { createHash } from 'node:crypto';
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';

export interface ProviderDocuments {
  readonly documents: readonly unknown[];
  /** Over all files with their lengths, as upstream makes it: nodes of both kinds show the same for the same files. */
  readonly hash: string;
}

/** Of a file, or of all `.json`, `.yaml` and `.yml` files of a directory in the order of their names. */
export async function readProviderDocuments(configPath: string): Promise<ProviderDocuments> {
  const isDir = (await stat(configPath)).isDirectory();
  const files = isDir ? await filesOf(configPath) : [configPath];
  if (files.length === 0) throw new Error('no configuration files found');
  const { parse } = await import('yaml');
  const hash = createHash('sha256');
  const documents: unknown[] = [];
  for (const file of files) {
    const data = await readFile(file);
    const length = Buffer.alloc(8);
    length.writeBigUInt64BE(BigInt(data.length));
    hash.update(length).update(data);
    documents.push(parse(data.toString('utf8')));
  }
  return { documents, hash: `sha256:${hash.digest('hex')}` };
}

async function filesOf(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { withFileTypes: true });
  const names = entries.filter((e) => !e.isDirectory() && /\.(json|ya?ml)$/.test(e.name)).map((e) => e.name);
  return names.sort().map((name) => path.join(dir, name));
}
