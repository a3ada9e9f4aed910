// One question to one upstream server. A fresh socket each time: its random port, beside the random id, is what makes a
// forged answer hard to land (RFC 5452).
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIPv6 } from 'node:net';
import { lengthPrefixed, readPrefixed } from './framing.ts';
import { FLAG, HEADER_BYTES, type Query } from './wire.ts';

export interface Upstream {
  readonly address: string;
  readonly port: number;
}

/** Sends a query and returns the answer's bytes, with the id of `query`. Rejects on failure and when `signal` aborts. */
export type Exchange = (server: Upstream, query: Query, signal: AbortSignal) => Promise<Buffer>;

/** Over UDP, and again over TCP when the answer was cut. */
export const exchange: Exchange = async (server, query, signal) => {
  const packet = Buffer.from(query.packet);
  packet.writeUInt16BE(randomInt(0x10000), 0);
  let answer = await exchangeUdp(server, packet, query.questionEnd, signal);
  if ((answer.readUInt16BE(2) & FLAG.truncated) !== 0) {
    answer = await exchangeTcp(server, packet, query.questionEnd, signal);
  }
  answer.writeUInt16BE(query.id, 0);
  return answer;
};

async function exchangeUdp(
  server: Upstream,
  packet: Buffer,
  questionEnd: number,
  signal: AbortSignal,
): Promise<Buffer> {
  signal.throwIfAborted();
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const socket = createSocket(isIPv6(server.address) ? 'udp6' : 'udp4');
  const onAbort = () => reject(signal.reason);
  signal.addEventListener('abort', onAbort, { once: true });
  try {
    socket.on('error', reject);
    // Whatever else arrives is not ours: late, forged or mangled. The wait goes on.
    socket.on('message', (answer) => {
      if (isAnswerTo(packet, questionEnd, answer)) resolve(answer);
    });
    // A connected socket hears only this server, and learns of a closed port.
    const onSent = (err: Error | null | undefined) => {
      if (err) reject(err);
    };
    // Without a route it is this callback that hears of it, although the types promise no argument.
    const onConnect = (err?: Error) => {
      if (err === undefined) socket.send(packet, onSent);
      else reject(err);
    };
    socket.connect(server.port, server.address, onConnect);
    return await promise;
  } finally {
    signal.removeEventListener('abort', onAbort);
    socket.close();
  }
}

async function exchangeTcp(
  server: Upstream,
  packet: Buffer,
  questionEnd: number,
  signal: AbortSignal,
): Promise<Buffer> {
  const socket = connect({ host: server.address, port: server.port, signal });
  try {
    socket.write(lengthPrefixed(packet));
    for await (const answer of readPrefixed(socket)) {
      if (isAnswerTo(packet, questionEnd, answer)) return answer;
      break;
    }
    throw new Error(`${server.address} closed the connection without an answer`);
  } finally {
    socket.destroy();
  }
}

/** Same id, a response, and the question as it was asked, letter case included. */
function isAnswerTo(packet: Buffer, questionEnd: number, answer: Buffer): boolean {
  return (
    answer.length >= questionEnd &&
    answer.readUInt16BE(0) === packet.readUInt16BE(0) &&
    (answer.readUInt16BE(2) & FLAG.response) !== 0 &&
    answer.readUInt16BE(4) === 1 &&
    answer.subarray(HEADER_BYTES, questionEnd).equals(packet.subarray(HEADER_BYTES, questionEnd))
  );
}
