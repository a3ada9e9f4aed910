// Makes connections to one address and tells how long each handshake took and how many are made in a second. Ends them
// with a reset, so that no port waits. Arguments: address, port, connections one by one, ms of many at once, how many.
import { connect } from 'node:net';

export interface ConnectFigures {
  /** Of the handshake, one connection after the other, ms. */
  readonly handshakesMs: readonly number[];
  readonly perSecond: number;
  readonly failures: number;
}

const [host = '', port, single, burstMs, atOnce] = process.argv.slice(2);
let failures = 0;

async function connectOnce(): Promise<number> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const startMs = performance.now();
  const socket = connect({ host, port: Number(port), noDelay: true }, resolve);
  socket.on('error', () => {
    failures++;
    resolve();
  });
  await promise;
  const tookMs = performance.now() - startMs;
  socket.resetAndDestroy();
  return tookMs;
}

for (let i = 0; i < 200; i++) await connectOnce(); // compilation, first entries of neighbours
const handshakesMs: number[] = [];
for (let i = 0; i < Number(single); i++) handshakesMs.push(await connectOnce());
let made = 0;
const endMs = performance.now() + Number(burstMs);
const worker = async () => {
  while (performance.now() < endMs) {
    await connectOnce();
    made++;
  }
};
await Promise.all(Array.from({ length: Number(atOnce) }, worker));
const figures: ConnectFigures = { handshakesMs, perSecond: (made * 1000) / Number(burstMs), failures };
process.stdout.write(JSON.stringify(figures));
