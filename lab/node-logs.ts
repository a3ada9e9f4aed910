// What stays of a lab that did not come up: the logs that tell why.
import { readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { errnoOf } from '../core/errors.ts';

/** Empties every node's directory below `nodes` but for its logs: a later lab must not find the disk of this one. */
export async function removeAllButLogs(nodes: string): Promise<void> {
  for (const node of await entriesOf(nodes)) {
    const dir = path.join(nodes, node);
    for (const entry of await entriesOf(dir)) {
      if (!entry.endsWith('.log')) await rm(path.join(dir, entry), { recursive: true, force: true });
    }
  }
}

async function entriesOf(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return [];
    throw err;
  }
}
