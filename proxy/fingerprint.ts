// What is remembered of the rules of a chain: enough to see that they have changed. The rules themselves can be made
// again, and those of 5,000 Services are 10 to 15 MB.
import { hash } from 'node:crypto';

/** 12 characters of base64 are 72 bits: two states of one chain that look alike will not be met. */
const LENGTH = 12;

/** Equal for equal rules, of 12 characters without white space. */
export function fingerprint(rules: readonly string[]): string {
  return hash('sha1', rules.join('\n'), 'base64').slice(0, LENGTH);
}
