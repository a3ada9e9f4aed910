// Buffers for what is read and written once: lent for the time of one step, so that streams that wait hold none, and
// long ones leave no garbage behind.

export const BLOCK_BYTES = 64 * 1024;
/** Kept for the next; more were lent at once only in a rush. */
const MAX_SPARE = 8;

const spare: Buffer[] = [];

/** A block of BLOCK_BYTES with anything in it. */
export function lendBlock(): Buffer {
  return spare.pop() ?? Buffer.allocUnsafeSlow(BLOCK_BYTES);
}

/** Nobody may look at it any more. Larger ones are let go. */
export function returnBlock(block: Buffer): void {
  if (block.length === BLOCK_BYTES && spare.length < MAX_SPARE) spare.push(block);
}
