import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { answerCount, isTruncated, query, queryPacket, rcodeOf } from './fake-query.ts';
import { FakeZoneStores, service, zoneOver } from './fake-zone-stores.ts';
import { Forwarder, limitAnswer } from './forward.ts';
import { lengthPrefixed, readPrefixed } from './framing.ts';
import { type Answer, type DnsRecord, encodeAnswer } from './message-writer.ts';
import { HostNameservers, parseNameservers } from './resolv-conf.ts';
import { Responder } from './responder.ts';
import { type Exchange, exchange, type Upstream } from './upstream.ts';
import { parseQuery, type Query, TYPE } from './wire.ts';

const never = new AbortController().signal;
const servers: Upstream[] = ['192.0.2.1', '192.0.2.2'].map((address) => ({ address, port: 53 }));
const empty: Answer = { rcode: 0, authoritative: false, answers: [], authority: [], additional: [] };

function address(name: string, ttl: number): DnsRecord {
  return { name, ttl, data: { type: 'A', address: '198.51.100.7' } };
}

function soa(ttl: number, minimum: number): DnsRecord {
  const times = { serial: 1, refresh: 1, retry: 1, expire: 1, minimum };
  return { name: 'example', ttl, data: { type: 'SOA', primary: 'a.example', mailbox: 'b.example', ...times } };
}

/** A forwarder whose servers answer with `answer`, and the calls made to them. */
function forwarderTo(answer: (server: Upstream, query: Query) => Answer | Error) {
  const clock = new FakeClock();
  const asked: string[] = [];
  const fake: Exchange = async (server, q) => {
    asked.push(server.address);
    const result = answer(server, q);
    if (result instanceof Error) throw result;
    return encodeAnswer(q, result, 65_535);
  };
  const forwarder = new Forwarder({ upstreams: async () => servers, exchange: fake }, { clock, log: silentLog });
  return { clock, asked, forwarder };
}

const ttlOf = (packet: Buffer, q: Query): number => packet.readUInt32BE(q.questionEnd + 6);

test('an answer is remembered for its TTL, with id, letter case and TTL of each question', async () => {
  const { clock, asked, forwarder } = forwarderTo((_s, q) => ({
    ...empty,
    answers: [address(q.question.labels.join('.'), 20)],
  }));
  await forwarder.resolve(query('a.example', TYPE.A), never);
  await clock.advance(7000);
  const again = query('A.Example', TYPE.A, { id: 99 });
  const answer = await forwarder.resolve(again, never);
  expect(asked).toHaveLength(1);
  expect(answer.readUInt16BE(0)).toBe(99);
  expect(answer.subarray(12, again.questionEnd)).toEqual(again.packet.subarray(12));
  expect(ttlOf(answer, again)).toBe(13);
  await clock.advance(13_000);
  await forwarder.resolve(again, never);
  expect(asked).toHaveLength(2);
});

test.each([
  ['a long TTL', { ...empty, answers: [address('a.example', 3600)] }, 30],
  ['no such name', { ...empty, rcode: 3, authority: [soa(600, 10)] }, 10],
  ['no such type', { ...empty, authority: [soa(12, 600)] }, 12],
  ['a negative answer without SOA', { ...empty, rcode: 3 }, 0],
  ['a failure', { ...empty, rcode: 2 }, 0],
  ['TTL 0', { ...empty, answers: [address('a.example', 0)] }, 0],
] as const)('%s is remembered as long as it may be', async (_what, answer, seconds) => {
  const { clock, asked, forwarder } = forwarderTo(() => answer);
  const q = query('a.example', TYPE.A);
  await forwarder.resolve(q, never);
  const callsPerMiss = asked.length;
  if (seconds > 0) {
    await clock.advance(seconds * 1000 - 1);
    await forwarder.resolve(q, never);
    expect(asked).toHaveLength(callsPerMiss);
    await clock.advance(1);
  }
  await forwarder.resolve(q, never);
  expect(asked).toHaveLength(2 * callsPerMiss);
});

test('questions that a server may answer differently are kept apart', async () => {
  const { asked, forwarder } = forwarderTo(() => ({ ...empty, answers: [address('a.example', 20)] }));
  await forwarder.resolve(query('a.example', TYPE.A), never);
  await forwarder.resolve(query('a.example', TYPE.AAAA), never);
  await forwarder.resolve(query('a.example', TYPE.A, { edns: 1232 }), never);
  await forwarder.resolve(query('a.example', TYPE.A, { flags: 0x0110 }), never);
  expect(asked).toHaveLength(4);
});

test('the next server is asked when one fails or refuses; a name that is not there is final', async () => {
  const dead = forwarderTo((s) => (s === servers[0] ? new Error('no route') : { ...empty, rcode: 3 }));
  expect(rcodeOf(await dead.forwarder.resolve(query('a.example', TYPE.A), never))).toBe(3);
  expect(dead.asked).toEqual(['192.0.2.1', '192.0.2.2']);
  const refusing = forwarderTo(() => ({ ...empty, rcode: 5 }));
  expect(rcodeOf(await refusing.forwarder.resolve(query('a.example', TYPE.A), never))).toBe(5);
  expect(refusing.asked).toHaveLength(2);
  const none = forwarderTo(() => new Error('no route'));
  expect(rcodeOf(await none.forwarder.resolve(query('a.example', TYPE.A), never))).toBe(2);
});

test('an ExternalName brings the addresses it leads to', async () => {
  const stores = new FakeZoneStores().fill([service('out', { type: 'ExternalName', externalName: 'www.example' })]);
  const { forwarder } = forwarderTo(() => ({
    ...empty,
    answers: [{ name: 'www.example', ttl: 99, data: { type: 'CNAME', target: 'a.example' } }, address('a.example', 99)],
  }));
  const responder = new Responder(zoneOver(stores), forwarder);
  const answer = await responder.respond(queryPacket('out.default.svc.cluster.local', TYPE.A), 'udp', never);
  expect(answerCount(answer!)).toBe(3);
  expect(answer?.subarray(-4)).toEqual(Buffer.from([198, 51, 100, 7]));
});

test('an answer longer than the client takes is cut', () => {
  const q = query('a.example', TYPE.A);
  const long = encodeAnswer(q, { ...empty, answers: Array(50).fill(address('a.example', 1)) }, 65_535);
  const cut = limitAnswer(q, long, 512);
  expect([cut.length, isTruncated(cut), answerCount(cut)]).toEqual([q.questionEnd, true, 0]);
  expect(limitAnswer(q, long, long.length)).toBe(long);
});

/** A name server on loopback; `onUdp` gets the query and a way to send. */
async function loopbackServer(onUdp: (packet: Buffer, send: (answer: Buffer) => void) => void) {
  const tcp = createServer((socket) => {
    void (async () => {
      for await (const packet of readPrefixed(socket)) socket.write(lengthPrefixed(answerTo(packet)));
    })().catch(() => {}); // the client hangs up as soon as it knows
  });
  tcp.listen(0, '127.0.0.1');
  await once(tcp, 'listening');
  const { port } = tcp.address() as { port: number };
  const udp: Socket = createSocket('udp4');
  udp.bind(port, '127.0.0.1');
  await once(udp, 'listening');
  udp.on('message', (packet, from) => onUdp(packet, (answer) => udp.send(answer, from.port, from.address)));
  const close = () => {
    udp.close();
    tcp.close();
  };
  return { server: { address: '127.0.0.1', port }, [Symbol.dispose]: close };
}

function answerTo(packet: Buffer): Buffer {
  const parsed = parseQuery(packet);
  if (parsed.kind !== 'query') throw new Error('the forwarder sent no query');
  return encodeAnswer(parsed, { ...empty, answers: [address('a.example', 60)] }, 65_535);
}

test('answers with another id or question are not believed', async () => {
  using upstream = await loopbackServer((packet, send) => {
    const answer = answerTo(packet);
    const otherId = limitAnswer(parseQuery(packet) as Query, answer, answer.length - 1);
    otherId.writeUInt16BE(0x8180, 2); // not cut, and without an answer
    otherId.writeUInt16BE(answer.readUInt16BE(0) ^ 1, 0);
    const otherName = Buffer.from(answer);
    otherName[13] = 'b'.charCodeAt(0);
    for (const wrong of [otherId, otherName, Buffer.from('junk'), packet]) send(wrong);
    send(answer);
  });
  const q = query('a.example', TYPE.A, { id: 5 });
  const answer = await exchange(upstream.server, q, AbortSignal.timeout(60_000));
  expect(answer.readUInt16BE(0)).toBe(5);
  expect(answer.subarray(12, q.questionEnd)).toEqual(q.packet.subarray(12));
  expect(answerCount(answer)).toBe(1);
});

test('a cut answer is fetched over TCP', async () => {
  using upstream = await loopbackServer((packet, send) => {
    const q = parseQuery(packet) as Query;
    send(limitAnswer(q, answerTo(packet), 12));
  });
  const answer = await exchange(upstream.server, query('a.example', TYPE.A), AbortSignal.timeout(60_000));
  expect([isTruncated(answer), answerCount(answer)]).toEqual([false, 1]);
});

test('a silent server is waited for only until the signal says so', async () => {
  const stop = new AbortController();
  using upstream = await loopbackServer(() => stop.abort(new Error('enough')));
  await expect(exchange(upstream.server, query('a.example', TYPE.A), stop.signal)).rejects.toThrow('enough');
});

test('a server that cannot be reached, and a wait that ends before it began, are errors', async () => {
  const q = query('a.example', TYPE.A);
  // Connecting to the broadcast address is refused by the kernel; nothing is sent.
  await expect(exchange({ address: '255.255.255.255', port: 53 }, q, never)).rejects.toThrow('EACCES');
  await expect(exchange({ address: '127.0.0.1', port: 1 }, q, AbortSignal.abort())).rejects.toThrow();
  const stop = new AbortController();
  const waiting = exchange({ address: '127.0.0.1', port: 1 }, q, stop.signal);
  stop.abort(new Error('enough')); // while the socket is still being set up
  await expect(waiting).rejects.toThrow('enough');
  await expect(exchange({ address: '127.0.0.1', port: 1 }, q, never)).rejects.toThrow('ECONNREFUSED');
});

test('name servers are read from resolv.conf', async () => {
  const text =
    '# nameserver 1.1.1.1\nnameserver 192.0.2.1\nnameserver\tfd00::1\nnameserver host\nsearch a\nnameserver 192.0.2.2 # x\nnameserver 192.0.2.3\n';
  expect(parseNameservers(text)).toEqual(['192.0.2.1', 'fd00::1', '192.0.2.2']);
  const files: Record<string, string> = {
    '/etc/resolv.conf': 'nameserver 127.0.0.53\n',
    '/run/systemd/resolve/resolv.conf': 'nameserver 192.0.2.9\n',
  };
  const clock = new FakeClock();
  const host = new HostNameservers(clock, async (file) => files[file] ?? Promise.reject(new Error('ENOENT')));
  expect(await host.list()).toEqual(['192.0.2.9']);
  delete files['/etc/resolv.conf'];
  expect(await host.list()).toEqual(['192.0.2.9']);
  await clock.advance(30_000);
  expect(await host.list()).toEqual([]);
});
