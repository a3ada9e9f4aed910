// DNS over TCP: each message behind its length in two bytes (RFC 1035 section 4.2.2).

export const MAX_TCP_MESSAGE_BYTES = 0xffff;

export function lengthPrefixed(message: Buffer): Buffer {
  const framed = Buffer.allocUnsafe(2 + message.length);
  framed.writeUInt16BE(message.length, 0);
  message.copy(framed, 2);
  return framed;
}

/** The messages of a stream; a last one that is cut short is dropped. Holds at most one message and one chunk. */
export async function* readPrefixed(stream: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  let chunks: Buffer[] = [];
  let [held, needed] = [0, 2];
  for await (const chunk of stream) {
    chunks.push(chunk);
    held += chunk.length;
    // Joined only once enough is there: a message sent byte by byte must not cost its length squared.
    if (held < needed) continue;
    let rest = Buffer.concat(chunks, held);
    while (rest.length >= 2 && rest.length >= 2 + rest.readUInt16BE(0)) {
      const end = 2 + rest.readUInt16BE(0);
      yield Buffer.from(rest.subarray(2, end));
      rest = rest.subarray(end);
    }
    needed = rest.length < 2 ? 2 : 2 + rest.readUInt16BE(0);
    [chunks, held] = [[rest], rest.length];
  }
}
