// Files that were opened a moment ago. Node.js ends the whole process when it collects a handle that nobody closed.
import type { Stats } from 'node:fs';
import type { FileHandle } from 'node:fs/promises';

/**
 * What was opened. Closed when it cannot be asked: storage may have gone since (ESTALE, EIO, ECONNABORTED).
 * @throws as fstat(2)
 */
export async function statOrClose(handle: FileHandle): Promise<Stats> {
  try {
    return await handle.stat();
  } catch (err) {
    await handle.close();
    throw err;
  }
}
