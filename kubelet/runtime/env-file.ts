// Variables from files that an earlier container left in a volume (`fileKeyRef`, KEP-3721). The file is the pod's: it
// may be of any kind and size, and any part of its path may be a link.
import { constants } from 'node:fs';
import { open, realpath } from 'node:fs/promises';
import { errnoOf } from '../../core/errors.ts';
import type { MountedVolume } from '../volumes/volume-manager.ts';
import { openBelow } from './sub-path.ts';

/** KEP-3721's bounds, bytes; key and value are looked at by env.ts. */
const MAX_FILE_BYTES = 64 * 1024;

export interface FileKeyRef {
  readonly volumeName: string;
  readonly path: string;
  readonly key: string;
  readonly optional?: boolean;
}

/** Undefined when there is no such file. @throws what `openBelow` throws; for anything but a small regular file. */
export async function readEnvFile(volume: MountedVolume, file: string): Promise<string | undefined> {
  try {
    await using found = await openBelow(await realpath(volume.hostPath), file, { create: false });
    const info = await found.stat();
    if (!info.isFile()) throw new Error('not a regular file'); // a FIFO would hold the agent up for good
    if (info.size > MAX_FILE_BYTES) throw new Error(`larger than ${MAX_FILE_BYTES} bytes`);
    await using readable = await open(`/proc/self/fd/${found.fd}`, constants.O_RDONLY | constants.O_NONBLOCK);
    const buffer = Buffer.alloc(MAX_FILE_BYTES);
    const { bytesRead } = await readable.read(buffer, 0, MAX_FILE_BYTES, 0); // not more, should it grow meanwhile
    return buffer.toString('utf8', 0, bytesRead);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return undefined;
    throw err;
  }
}

/**
 * The value of `key`, undefined when no line sets it. Pure. A variable is `NAME='value'`, with nothing but blanks or a
 * comment after it; the value is taken as it stands, line breaks included. Blank lines and comments may be between.
 * @throws {Error} for anything else.
 */
export function parseEnvFile(text: string, key: string): string | undefined {
  const line = /[ \t]*(?:#[^\n]*)?(?:\r?\n|$)/y;
  const variable = /[ \t]*([^\s=#'][^\s=']*)='([^']*)'/y;
  let at = 0;
  const skip = (pattern: RegExp) => {
    pattern.lastIndex = at;
    const match = pattern.exec(text);
    if (match !== null) at = pattern.lastIndex;
    return match;
  };
  while (at < text.length) {
    if (skip(line) !== null) continue;
    const found = skip(variable);
    if (found === null || skip(line) === null) {
      throw new Error(`invalid environment variable format at line ${text.slice(0, at).split('\n').length}`);
    }
    if (found[1] === key) return found[2];
  }
  return undefined;
}
