// The hash in names of chains, as upstream makes it: operators and other tools know these names.
import { hash } from 'node:crypto';

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'; // RFC 4648

/** The first `length` characters of base32(sha256(input)); at most 16, which are 10 bytes. */
export function base32Hash(input: string, length: 8 | 16): string {
  const digest = hash('sha256', input, 'buffer');
  let out = '';
  for (let at = 0; at < (length * 5) / 8; at += 5) {
    // 40 bits are eight characters; two 20-bit halves stay inside the 32 bits of JavaScript's bit operators.
    const high = (digest[at]! << 12) | (digest[at + 1]! << 4) | (digest[at + 2]! >> 4);
    const low = ((digest[at + 2]! & 15) << 16) | (digest[at + 3]! << 8) | digest[at + 4]!;
    for (const half of [high, low]) {
      for (let shift = 15; shift >= 0; shift -= 5) out += BASE32[(half >> shift) & 31];
    }
  }
  return out;
}
