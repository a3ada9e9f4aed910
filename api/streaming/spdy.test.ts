import { type Duplex, duplexPair } from 'node:stream';
import { buffer, text } from 'node:stream/consumers';
import { finished } from 'node:stream/promises';
import { createDeflate, constants as zlib } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SPDY_DICTIONARY } from './spdy-dictionary.ts';
import { SpdyError, type SpdyFrame, SpdyParser, SpdyWriter } from './spdy-frames.ts';
import { SpdySession, type SpdyStream } from './spdy-session.ts';

function pair(): { client: SpdySession; server: SpdySession; opened: SpdyStream[]; ends: Duplex[] } {
  const [a, b] = duplexPair();
  const opened: SpdyStream[] = [];
  const client = new SpdySession(a, Buffer.alloc(0), { role: 'client' });
  const server = new SpdySession(b, Buffer.alloc(0), { role: 'server', onStream: (s) => void opened.push(s) });
  return { client, server, opened, ends: [a, b] };
}

const headers = { streamtype: 'stdin', port: '80' };

test('frames come back as they were written, in pieces of any size', () => {
  fc.assert(
    fc.property(
      fc.array(fc.uint8Array({ maxLength: 300 }), { maxLength: 5 }),
      fc.integer({ min: 1, max: 70 }),
      (parts, step) => {
        const writer = new SpdyWriter();
        const wire = Buffer.concat([
          writer.synStream(1, headers),
          writer.synReply(1, {}),
          ...parts.flatMap((p) => [writer.dataHead(1, p.length, false), p]),
          writer.dataHead(1, 0, true),
          writer.synStream(3, { ...headers, requestid: '7' }, true),
          writer.rstStream(1, 5),
          writer.ping(9),
          writer.goAway(1),
        ]);
        const parser = new SpdyParser();
        const frames: SpdyFrame[] = [];
        for (let at = 0; at < wire.length; at += step) frames.push(...parser.push(wire.subarray(at, at + step)));
        const data = frames.filter((f) => f.type === 'data');
        expect(Buffer.concat(data.map((f) => f.data))).toEqual(Buffer.concat(parts));
        expect(data.at(-1)?.fin).toBe(true);
        expect(frames.filter((f) => f.type !== 'data')).toEqual([
          { type: 'syn-stream', streamId: 1, fin: false, headers },
          { type: 'syn-reply', streamId: 1, fin: false, headers: {} },
          { type: 'syn-stream', streamId: 3, fin: true, headers: { ...headers, requestid: '7' } },
          { type: 'rst-stream', streamId: 1, status: 5 },
          { type: 'ping', id: 9 },
          { type: 'goaway', lastStreamId: 1, status: 0 },
        ]);
      },
    ),
  );
});

test('header blocks that lean on the dictionary and on earlier blocks are read', async () => {
  // As Go writes them: one zlib stream over all blocks of a connection, flushed after each.
  const values = ['stdout', 'stdout', 'a'.repeat(3000), 'stdout'];
  const deflate = createDeflate({ dictionary: SPDY_DICTIONARY });
  const wire = buffer(deflate);
  for (const value of values) {
    const block = Buffer.concat([Buffer.of(0, 0, 0, 1), withLength('Streamtype'), withLength(value)]);
    await new Promise((resolve) => deflate.write(block, resolve));
    await new Promise<void>((resolve) => deflate.flush(zlib.Z_SYNC_FLUSH, resolve));
  }
  deflate.end();
  const blocks = splitBehind(await wire, Buffer.of(0, 0, 0xff, 0xff));
  const parser = new SpdyParser();
  for (const [i, value] of values.entries()) {
    const block = blocks[i]!;
    const length = block.length + 4;
    const head = Buffer.of(0x80, 3, 0, 2, 0, 0, length >> 8, length & 255, 0, 0, 0, i * 2 + 1);
    const reply = { type: 'syn-reply', streamId: i * 2 + 1, fin: false, headers: { streamtype: value } };
    expect([...parser.push(Buffer.concat([head, block]))]).toEqual([reply]);
  }
});

function withLength(word: string): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(word.length);
  return Buffer.concat([length, Buffer.from(word)]);
}

function splitBehind(bytes: Buffer, marker: Buffer): Buffer[] {
  const parts: Buffer[] = [];
  let rest = bytes;
  for (let at = rest.indexOf(marker); at >= 0; at = rest.indexOf(marker)) {
    parts.push(rest.subarray(0, at + marker.length));
    rest = rest.subarray(at + marker.length);
  }
  return parts;
}

test('hostile bytes fail with a SpdyError, and a header bomb does not unfold', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (noise) => {
      try {
        for (const _ of new SpdyParser().push(Buffer.concat([Buffer.of(0x80, 3, 0, 1), noise])));
      } catch (err) {
        expect(err).toBeInstanceOf(SpdyError);
      }
    }),
  );
  const bomb = new SpdyWriter().synStream(1, { x: 'x'.repeat(1_000_000) });
  expect(bomb.length).toBeLessThan(10_000);
  expect(() => [...new SpdyParser().push(bomb)]).toThrow(SpdyError);
  expect(() => [...new SpdyParser().push(Buffer.of(0x80, 3, 0, 1, 0, 0xff, 0xff, 0xff))]).toThrow(SpdyError);
});

/** Reads a stream without destroying it, as an iterator would: its other half lives on. */
async function readHalf(stream: SpdyStream): Promise<string> {
  let all = '';
  stream.on('data', (chunk: Buffer) => {
    all += chunk.toString();
  });
  await finished(stream, { writable: false });
  return all;
}

test('streams carry both ways, and each half closes alone', async () => {
  const { client, opened } = pair();
  const stream = client.createStream(headers);
  stream.end('question');
  await stream.accepted;
  expect(opened[0]!.headers).toEqual(headers);
  expect(await readHalf(opened[0]!)).toBe('question');
  opened[0]!.end('answer');
  expect(await readHalf(stream)).toBe('answer');
});

test('a reader that is behind holds up the sender', async () => {
  const { client, opened } = pair();
  const stream = client.createStream(headers);
  await stream.accepted;
  const chunk = Buffer.alloc(64 * 1024);
  let sent = 0;
  for (let turn = 0; turn < 100; turn++) {
    if (!stream.writableNeedDrain) {
      stream.write(chunk);
      sent++;
    }
    await new Promise((resolve) => setImmediate(resolve));
  }
  expect(stream.writableNeedDrain).toBe(true);
  expect(sent).toBeLessThan(10);
  stream.end();
  let received = 0;
  for await (const part of opened[0]! as AsyncIterable<Buffer>) received += part.length;
  expect(received).toBe(sent * chunk.length);
});

test('a stream that ends with more than its reader has taken does not hold up the others', async () => {
  const { client, opened, ends } = pair();
  const output = client.createStream(headers);
  const status = client.createStream(headers);
  await Promise.all([output.accepted, status.accepted]);
  const last = Buffer.alloc(200_000, 7);
  ends[1]!.write(Buffer.concat([new SpdyWriter().dataHead(output.id, last.length, true), last]));
  opened[1]!.end('done');
  let size = 0;
  // As outputs of commands are read: the input half of the stream stays open.
  for await (const chunk of output.iterator({ destroyOnReturn: false })) size += (chunk as Buffer).length;
  expect(size).toBe(last.length);
  expect(await text(status)).toBe('done');
});

test('no ping goes to a peer whose last words are still unread', async () => {
  const { client, opened, ends } = pair();
  const stream = client.createStream(headers);
  await stream.accepted;
  opened[0]!.write(Buffer.alloc(200_000));
  await new Promise((resolve) => setImmediate(resolve));
  const sent: unknown[] = [];
  ends[0]!.write = (chunk: unknown) => sent.push(chunk) > 0;
  client.ping();
  expect(sent).toEqual([]);
  stream.resume();
  await new Promise((resolve) => setImmediate(resolve));
  client.ping();
  expect(sent).toHaveLength(1);
});

test('a reset ends the output; writing on does no harm', async () => {
  const { client, opened } = pair();
  const stream = client.createStream(headers);
  await stream.accepted;
  opened[0]!.write('partial');
  await new Promise((resolve) => setImmediate(resolve));
  opened[0]!.destroy();
  expect(await text(stream)).toBe('partial');
});

test('reading a stream to its end sends nothing; giving it up before sends a reset', async () => {
  const { client, opened, ends } = pair();
  const read = client.createStream(headers);
  const left = client.createStream(headers);
  await Promise.all([read.accepted, left.accepted]);
  opened[0]!.end('all');
  const sent: unknown[] = [];
  ends[0]!.write = (chunk: unknown) => sent.push(chunk) > 0;
  expect(await text(read)).toBe('all');
  await new Promise((resolve) => setImmediate(resolve));
  expect(sent).toEqual([]);
  left.destroy();
  await new Promise((resolve) => setImmediate(resolve));
  expect(sent).toHaveLength(1);
});

test('a lost connection ends all streams', async () => {
  const { client, ends } = pair();
  const stream = client.createStream(headers);
  await stream.accepted;
  const failed = new Promise((resolve) => stream.once('error', resolve));
  ends[0]!.destroy(new Error('cable pulled'));
  expect(await failed).toMatchObject({ message: 'cable pulled' });
  await client.closed;
  expect(() => client.createStream(headers)).toThrow(SpdyError);
});

test('a client refuses streams that the server opens', async () => {
  const { server } = pair();
  await expect(server.createStream(headers).accepted).rejects.toThrow('refused');
});
