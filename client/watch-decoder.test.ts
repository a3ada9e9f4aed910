import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeWatchEvent, LineSplitter } from './watch-decoder.ts';

test('property: lines are the same however the bytes are cut', () => {
  const lines = fc.array(fc.string({ unit: 'binary' }).filter((s) => s !== '' && !s.includes('\n')));
  fc.assert(
    fc.property(lines, fc.array(fc.nat(40)), (expected, cuts) => {
      const bytes = Buffer.from(expected.map((l) => `${l}\n`).join(''));
      const splitter = new LineSplitter(1 << 20);
      const seen: string[] = [];
      let at = 0;
      for (const length of [...cuts, bytes.length]) {
        for (const line of splitter.push(bytes.subarray(at, at + length))) seen.push(line.toString());
        at += length;
      }
      // What is not valid text comes out as the decoder's replacement, on both sides.
      expect(seen).toEqual(expected.map((l) => Buffer.from(l).toString()));
      expect(splitter.pendingBytes).toBe(0);
    }),
  );
});

test('a line in one chunk is not copied', () => {
  const chunk = Buffer.from('abc\ndef\n');
  const [first] = [...new LineSplitter(1 << 20).push(chunk)];
  chunk[0] = 0x58;
  expect(first?.toString()).toBe('Xbc');
});

test('a line without end is refused before it fills the memory', () => {
  const splitter = new LineSplitter(10);
  expect([...splitter.push(Buffer.from('12345'))]).toEqual([]);
  expect(() => [...splitter.push(Buffer.from('678901'))]).toThrow(expect.objectContaining({ code: 'LINE_TOO_LONG' }));
});

test.each(['', 'null', '[]', '{"type":"ADDED"}', '{"type":"BORN","object":{}}', '{"type":"ADDED","object":null}'])(
  '%j is no event',
  (text) => {
    expect(() => decodeWatchEvent(Buffer.from(text))).toThrow(expect.objectContaining({ code: 'WATCH_GARBLED' }));
  },
);
