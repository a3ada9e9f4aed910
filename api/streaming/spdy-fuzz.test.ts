import { PassThrough } from 'node:stream';
import { deflateRawSync, constants as zlib } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { SpdyError, SpdyParser, SpdyWriter } from './spdy-frames.ts';
import { SpdySession } from './spdy-session.ts';

const RUNS = { seed: 20_261_121, numRuns: 400 };

function parse(bytes: Buffer): number {
  const parser = new SpdyParser();
  let frames = 0;
  for (const _frame of parser.push(bytes)) frames++;
  return frames;
}

/** A few frames as a peer sends them. */
function honestFrames(): Buffer {
  const writer = new SpdyWriter();
  return Buffer.concat([
    writer.synStream(1, { streamtype: 'error' }),
    writer.synStream(3, { streamtype: 'stdout', more: 'x'.repeat(50) }),
    writer.dataHead(3, 5, false),
    Buffer.from('hello'),
    writer.synReply(1, {}),
    writer.rstStream(3, 5),
    writer.ping(1),
    writer.goAway(3),
  ]);
}

test('any bytes are frames, or a SpdyError', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      try {
        parse(Buffer.from(bytes));
      } catch (err) {
        expect(err).toBeInstanceOf(SpdyError);
      }
    }),
    RUNS,
  );
});

test('honest frames with some bytes changed are frames, or a SpdyError', () => {
  const honest = honestFrames();
  const changes = fc.array(fc.tuple(fc.nat(honest.length - 1), fc.nat(255)), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(changes, fc.nat(honest.length), (changed, length) => {
      const bytes = Buffer.from(honest);
      for (const [at, value] of changed) bytes[at] = value;
      try {
        parse(bytes.subarray(0, length));
      } catch (err) {
        expect(err).toBeInstanceOf(SpdyError);
      }
    }),
    RUNS,
  );
});

test('a session that gets them ends, and never throws into its socket', () => {
  const honest = honestFrames();
  fc.assert(
    fc.property(fc.nat(honest.length - 1), fc.nat(255), (at, value) => {
      const bytes = Buffer.from(honest);
      bytes[at] = value;
      const socket = new PassThrough();
      socket.on('error', () => {});
      new SpdySession(socket, bytes, {
        role: 'server',
        onStream: (stream) => void stream.on('error', () => {}).resume(),
      });
      socket.destroy();
    }),
    RUNS,
  );
});

/** A control frame of which only the length is true. */
function synStreamWith(block: Buffer): Buffer {
  const head = Buffer.alloc(18);
  head.writeUInt16BE(0x8003, 0);
  head.writeUInt16BE(1, 2);
  head.writeUInt32BE(10 + block.length, 4);
  head.writeUInt32BE(1, 8);
  return Buffer.concat([head, block]);
}

test('a header block that unfolds to hundreds of megabytes is refused unread', () => {
  const bomb = deflateRawSync(Buffer.alloc(60 << 20), { finishFlush: zlib.Z_SYNC_FLUSH, level: 9 });
  expect(bomb.length).toBeLessThan(64 * 1024); // it would pass as a small frame
  const zlibHead = Buffer.from([0x78, 0x9c]);
  expect(() => parse(synStreamWith(Buffer.concat([zlibHead, bomb])))).toThrow(SpdyError);
});

test('a control frame that is announced as large is refused before it is gathered', () => {
  const head = Buffer.from([0x80, 0x03, 0x00, 0x01, 0x00, 0xff, 0xff, 0xff]);
  expect(() => parse(head)).toThrow('control frame of 16777215 bytes');
});

test('a header block that tells of four billion headers is refused', () => {
  const block = deflateRawSync(Buffer.from([0xff, 0xff, 0xff, 0xff]), { finishFlush: zlib.Z_SYNC_FLUSH });
  expect(() => parse(synStreamWith(Buffer.concat([Buffer.from([0x78, 0x9c]), block])))).toThrow(SpdyError);
});
