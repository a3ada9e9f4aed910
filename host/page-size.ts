// The size of a page of memory, which no call of Node.js tells: from what the kernel handed to this very process.
import { readFileSync } from 'node:fs';

/** Where it cannot be read: what x86-64 has, and most others. */
const USUAL_BYTES = 4096;
/** AT_PAGESZ of <linux/auxvec.h>. */
const PAGE_SIZE_KEY = 6n;

/** Bytes. */
export function pageBytes(auxvFile = '/proc/self/auxv'): number {
  try {
    return parsePageBytes(readFileSync(auxvFile)) ?? USUAL_BYTES;
  } catch {
    return USUAL_BYTES;
  }
}

/** Pure: pairs of 64-bit key and value, in the byte order of both machines that this program runs on. */
function parsePageBytes(auxv: Buffer): number | undefined {
  for (let at = 0; at + 16 <= auxv.length; at += 16) {
    if (auxv.readBigUInt64LE(at) === PAGE_SIZE_KEY) return Number(auxv.readBigUInt64LE(at + 8));
  }
  return undefined;
}
