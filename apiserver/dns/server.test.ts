// Real sockets on loopback, asked by c-ares (node:dns): a reader of the wire format that is not ours.
import { createSocket } from 'node:dgram';
import { Resolver } from 'node:dns/promises';
import { once } from 'node:events';
import { connect } from 'node:net';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { silentLog } from '../../core/log.ts';
import { answerCount, isTruncated, queryPacket, rcodeOf } from './fake-query.ts';
import { FakeZoneStores, service, slice, zoneOver } from './fake-zone-stores.ts';
import { lengthPrefixed, readPrefixed } from './framing.ts';
import { encodeEmpty } from './message-writer.ts';
import { Responder } from './responder.ts';
import { DnsServer } from './server.ts';
import { TYPE, walkRecords } from './wire.ts';

const Z = 'default.svc.cluster.local';
const many = Array.from({ length: 100 }, (_, i) => ({ addresses: [`10.244.3.${i}`] }));
const stores = new FakeZoneStores().fill(
  [
    service('web', { clusterIP: '10.96.0.20', ports: [{ name: 'http', port: 80, protocol: 'TCP' }] }),
    service('six', { clusterIP: 'fd00::20' }),
    service('many', { clusterIP: 'None' }),
    service('out', { type: 'ExternalName', externalName: 'www.example.com' }),
  ],
  [slice('many-1', 'many', many)],
);
/** Stands for an upstream that knows no name. */
const forwarder = { resolve: async (q: Parameters<typeof encodeEmpty>[0]) => encodeEmpty(q, 3) };
const responder = new Responder(zoneOver(stores), forwarder);
let server: DnsServer;
const resolver = new Resolver({ timeout: 2000, tries: 1 });

beforeAll(async () => {
  server = await DnsServer.listen({ address: '127.0.0.1', port: 0 }, responder, silentLog);
  resolver.setServers([`127.0.0.1:${server.port}`]);
});
afterAll(() => server[Symbol.asyncDispose]());

function withEdnsVersion1(packet: Buffer): Buffer {
  packet[packet.length - 5] = 1;
  return packet;
}

async function askUdp(packet: Buffer): Promise<Buffer> {
  const socket = createSocket('udp4');
  try {
    socket.send(packet, server.port, '127.0.0.1');
    const [answer] = (await once(socket, 'message')) as [Buffer];
    return answer;
  } finally {
    socket.close();
  }
}

async function askTcp(...packets: Buffer[]): Promise<Buffer[]> {
  const socket = connect(server.port, '127.0.0.1');
  // Byte by byte, as no network is obliged not to do.
  for (const byte of Buffer.concat(packets.map(lengthPrefixed))) socket.write(Buffer.from([byte]));
  const answers: Buffer[] = [];
  for await (const answer of readPrefixed(socket)) {
    answers.push(answer);
    if (answers.length === packets.length) break;
  }
  socket.destroy();
  return answers;
}

describe('c-ares reads', () => {
  test('addresses of both families', async () => {
    expect(await resolver.resolve4(`web.${Z}`, { ttl: true })).toEqual([{ address: '10.96.0.20', ttl: 5 }]);
    expect(await resolver.resolve6(`six.${Z}`)).toEqual(['fd00::20']);
  });
  test('service records, names, text and the zone itself', async () => {
    expect(await resolver.resolveSrv(`_http._tcp.web.${Z}`)).toMatchObject([
      { name: `web.${Z}`, port: 80, priority: 0, weight: 100 },
    ]);
    expect(await resolver.reverse('10.96.0.20')).toEqual([`web.${Z}`]);
    expect(await resolver.resolveTxt('dns-version.cluster.local')).toEqual([['1.1.0']]);
    expect(await resolver.resolveCname(`out.${Z}`)).toEqual(['www.example.com']);
    expect(await resolver.resolveNs('cluster.local')).toEqual(['ns.dns.cluster.local']);
    expect(await resolver.resolveSoa('cluster.local')).toMatchObject({
      nsname: 'ns.dns.cluster.local',
      hostmaster: 'hostmaster.cluster.local',
      refresh: 7200,
      minttl: 5,
    });
  });
  test('the lack of a name and that of a type', async () => {
    await expect(resolver.resolve4(`nothere.${Z}`)).rejects.toMatchObject({ code: 'ENOTFOUND' });
    await expect(resolver.resolve6(`web.${Z}`)).rejects.toMatchObject({ code: 'ENODATA' });
  });
  test('a hundred addresses, over TCP once UDP was cut', async () => {
    expect(new Set(await resolver.resolve4(`many.${Z}`)).size).toBe(100);
  });
});

test.each([
  [undefined, 512],
  [512, 512],
  [100, 512],
  [4096, 1232],
])('with a UDP size of %s an answer has at most %i bytes and is marked as cut', async (edns, limit) => {
  const answer = await askUdp(queryPacket(`many.${Z}`, TYPE.A, edns === undefined ? {} : { edns }));
  expect(answer.length).toBeLessThanOrEqual(limit);
  expect(answer.length).toBeGreaterThan(limit - 20);
  expect(isTruncated(answer)).toBe(true);
  const question = queryPacket(`many.${Z}`, TYPE.A).length;
  expect(walkRecords(answer, question, () => {})).toBe(answer.length);
});

test('one connection carries several questions', async () => {
  const [first, second] = await askTcp(
    queryPacket(`many.${Z}`, TYPE.A, { id: 1 }),
    queryPacket(`web.${Z}`, TYPE.A, { id: 2 }),
  );
  expect([first?.readUInt16BE(0), answerCount(first!), isTruncated(first!)]).toEqual([1, 100, false]);
  expect([second?.readUInt16BE(0), answerCount(second!)]).toEqual([2, 1]);
});

test('the question comes back in the letter case it had', async () => {
  const asked = queryPacket('wEb.DEFAULT.svc.Cluster.Local', TYPE.A);
  const answer = await askUdp(asked);
  expect(answer.subarray(12, asked.length)).toEqual(asked.subarray(12));
  expect(answerCount(answer)).toBe(1);
  expect(answer.readUInt16BE(2)).toBe(0x8580); // response, AA, RD, RA, NOERROR
});

test.each([
  ['another operation', queryPacket('a', TYPE.A, { flags: 0x2800 }), 4],
  ['another class', queryPacket(`web.${Z}`, TYPE.A, { class: 3 }), 5],
  ['a zone transfer', queryPacket('cluster.local', TYPE.AXFR), 5],
  ['no question', Buffer.from('000101000000000000000000', 'hex'), 1],
  ['a name that points to itself', Buffer.from('000101000001000000000000c00c00010001', 'hex'), 1],
  [
    'a record whose name points forward',
    Buffer.concat([queryPacket('a', TYPE.A).fill(1, 7, 8), Buffer.from([0xc0, 0xff])]),
    1,
  ],
  ['a question cut short', queryPacket('a', TYPE.A).subarray(0, -1), 1],
  ['bytes behind the end', Buffer.concat([queryPacket('a', TYPE.A), Buffer.from([0])]), 1],
  ['a record that is announced only', Buffer.from('000101000001000000000001000001000100', 'hex').subarray(0, 17), 1],
  ['an EDNS version to come', withEdnsVersion1(queryPacket('a', TYPE.A, { edns: 512 })), 0],
  ['a foreign name', queryPacket('example.com', TYPE.A), 3],
] as const)('%s is refused by its code', async (_what, packet, rcode) => {
  const answer = await askUdp(packet);
  expect(rcodeOf(answer)).toBe(rcode);
  expect(answer.readUInt16BE(0)).toBe(packet.readUInt16BE(0));
});

test('property: bytes of any kind are dropped or answered with a whole message', () => {
  const mutated = fc
    .tuple(fc.constantFrom(`many.${Z}`, `_http._tcp.web.${Z}`, 'a.b'), fc.array(fc.tuple(fc.nat(60), fc.nat(255))))
    .map(([name, changes]) => {
      const packet = queryPacket(name, TYPE.A, { edns: 1232 });
      for (const [at, byte] of changes) packet[at % packet.length] = byte;
      return packet;
    });
  const bytes = fc.uint8Array({ maxLength: 600 }).map((a) => Buffer.from(a));
  fc.assert(
    fc.property(fc.oneof(bytes, mutated), (packet) => {
      const answer = responder.respond(packet, 'udp', new AbortController().signal);
      if (answer === undefined || answer instanceof Promise) return;
      expect(answer.length).toBeLessThanOrEqual(1232);
      expect(answer.readUInt16BE(0)).toBe(packet.readUInt16BE(0));
      expect(answer.readUInt16BE(2) & 0x8000).toBe(0x8000);
    }),
    { numRuns: 2000 },
  );
});

test('noise on both sockets leaves them serving', async () => {
  const socket = createSocket('udp4');
  for (let size = 0; size < 100; size++) socket.send(Buffer.alloc(size, 0xff - size), server.port, '127.0.0.1');
  const stream = connect(server.port, '127.0.0.1');
  stream.end(Buffer.from([0, 5, 1, 2, 3, 4, 5, 0xff, 0xff, 1]));
  stream.resume();
  await once(stream, 'close');
  expect(await resolver.resolve4(`web.${Z}`)).toEqual(['10.96.0.20']);
  socket.close();
});

test('stops when told, with a client connected', async () => {
  const stop = new AbortController();
  const other = await DnsServer.listen({ address: '127.0.0.1', port: 0 }, responder, silentLog);
  const ended = other.run(stop.signal);
  const client = connect(other.port, '127.0.0.1');
  await once(client, 'connect');
  client.on('error', () => {}); // a reset is as good an end as any
  const closed = once(client, 'close');
  stop.abort();
  await Promise.all([ended, closed]);
  const again = await DnsServer.listen({ address: '127.0.0.1', port: other.port }, responder, silentLog);
  await again[Symbol.asyncDispose]();
});

test('a port that is taken is said so', async () => {
  const taken = DnsServer.listen({ address: '127.0.0.1', port: server.port }, responder, silentLog);
  await expect(taken).rejects.toMatchObject({ code: 'LISTEN_FAILED' });
});
