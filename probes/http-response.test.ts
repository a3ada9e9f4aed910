import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { MalformedResponse, ResponseReader } from './http-response.ts';

/** Feeds the text in pieces cut at `cuts`; true when the reader said that it has all it needs. */
function read(text: string, cuts: readonly number[] = []) {
  const bytes = Buffer.from(text);
  const reader = new ResponseReader();
  const at = [...new Set(cuts.map((c) => c % (bytes.length + 1)))].sort((a, b) => a - b);
  let done = false;
  for (const [i, end] of [...at, bytes.length].entries()) {
    const piece = bytes.subarray(i === 0 ? 0 : at[i - 1], end);
    if (piece.length > 0 && !done) done = reader.push(piece);
  }
  return { reader, done };
}

const head = (lines: string) => `HTTP/1.1 200 OK\r\n${lines}\r\n`;

describe('where an answer ends', () => {
  test.each([
    ['at its length', `${head('Content-Length: 2\r\n')}ok`, 'ok', true],
    ['at once when it may have no body', 'HTTP/1.1 204 No Content\r\n\r\n', '', true],
    ['with the last chunk', `${head('Transfer-Encoding: chunked\r\n')}1\r\no\r\n1;x=y\r\nk\r\n0\r\n\r\n`, 'ok', true],
    ['with the connection when no length is told', `${head('')}ok`, 'ok', false],
  ])('%s', (_what, text, body, done) => {
    const read1 = read(text);
    expect(read1.done).toBe(done);
    expect(read1.reader.isWhole).toBe(true);
    expect(read1.reader.response().body).toBe(body);
  });

  test.each([
    ['before its length', `${head('Content-Length: 3\r\n')}ok`],
    ['before the last chunk', `${head('Transfer-Encoding: chunked\r\n')}2\r\nok\r\n`],
    ['within its head', 'HTTP/1.1 200 OK\r\nA: b\r\n'],
  ])('an end %s is not one', (_what, text) => {
    const { reader, done } = read(text);
    expect(done).toBe(false);
    expect(reader.isWhole).toBe(false);
  });
});

test('interim answers are passed over', () => {
  const { reader } = read(
    'HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 500 Oh\r\n\r\n',
  );
  expect(reader.response().status).toBe(500);
});

test.each([
  ['not HTTP', 'SSH-2.0-OpenSSH_9\r\n'],
  ['no status', 'HTTP/1.1 abc\r\n\r\n'],
  ['HTTP/2 preface', 'HTTP/2 200\r\n\r\n'],
  ['length that is no number', head('Content-Length: two\r\n')],
  ['chunk size that is none', `${head('Transfer-Encoding: chunked\r\n')}xyz\r\n`],
  ['interim answers without an end', 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(12_000)],
  ['head without an end', `HTTP/1.1 200 OK\r\n${'A: b\r\n'.repeat(60_000)}`],
])('%s is refused', (_what, text) => {
  expect(() => read(text)).toThrow(MalformedResponse);
});

test('however the bytes are cut, the answer is the same', () => {
  const answers = fc.constantFrom(
    `${head('Location: /next\r\nContent-Length: 5\r\n')}hello`,
    `${head('Transfer-Encoding: chunked\r\n')}3\r\nhel\r\n2\r\nlo\r\n0\r\nTrailer: t\r\n\r\n`,
    'HTTP/1.0 503 Busy\nServer: old\nContent-Length: 2\n\nno',
  );
  fc.assert(
    fc.property(answers, fc.array(fc.nat(200), { maxLength: 8 }), (text, cuts) => {
      expect(read(text, cuts).reader.response()).toEqual(read(text).reader.response());
    }),
  );
});

test('no bytes make it do anything but answer or refuse', () => {
  fc.assert(
    fc.property(fc.array(fc.uint8Array({ maxLength: 64 }), { maxLength: 8 }), (pieces) => {
      const reader = new ResponseReader();
      try {
        reader.push(Buffer.from('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n'));
        for (const piece of pieces) if (reader.push(Buffer.from(piece))) return;
      } catch (err) {
        expect(err).toBeInstanceOf(MalformedResponse);
      }
    }),
  );
});
