// The hash in names of chains, as upstream makes it: operators and other tools know these names.
import { hash } from 'node:crypto';

const BASE32 = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567'; // RFC 4648

/** The first `length` characters of base32(sha256(input)); at most 16, which are 10 bytes. */
export function base32Hash(input: string, length: 8 | 16): string {
  const digest = hash('sha256', input, 'hex'); // as bytes it takes twice as long
  let out = '';
  for (let at = 0; at < (length / 8) * 10; at += 10) {
    // 40 bits are eight characters; two 20-bit halves stay inside the 32 bits of JavaScript's bit operators.
    for (const half of [digest.slice(at, at + 5), digest.slice(at + 5, at + 10)]) {
      const bits = Number.parseInt(half, 16);
      for (let shift = 15; shift >= 0; shift -= 5) out += BASE32[(bits >> shift) & 31];
    }
  }
  return out;
}
