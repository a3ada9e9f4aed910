import type { IncomingHttpHeaders } from 'node:http2';
import { describe, expect, test } from 'vitest';
import { type GrpcCode, GrpcFrameError, GrpcFrameReader, goCodeName, grpcFrame, grpcStatusOf } from './grpc-wire.ts';

describe('frames', () => {
  const messages = [Buffer.from('first'), Buffer.alloc(0), Buffer.alloc(70_000, 'x'), Buffer.from('last')];
  const bytes = Buffer.concat(messages.map(grpcFrame));

  test.each([1, 2, 4, 5, 6, 4_096, bytes.length])('are found in pieces of %i bytes', (size) => {
    const reader = new GrpcFrameReader(100_000);
    const found: Buffer[] = [];
    for (let at = 0; at < bytes.length; at += size) found.push(...reader.push(bytes.subarray(at, at + size)));
    expect(found.map((m) => m.length)).toEqual(messages.map((m) => m.length));
    expect(Buffer.concat(found).equals(Buffer.concat(messages))).toBe(true);
  });

  test('longer than the limit are refused before they have come', () => {
    const head = grpcFrame(Buffer.alloc(101)).subarray(0, 5);
    const push = () => new GrpcFrameReader(100).push(head);
    expect(push).toThrow(GrpcFrameError);
    expect(push).toThrow('received message larger than max (101 vs. 100)');
  });

  test('that are compressed are refused', () => {
    const frame = grpcFrame(Buffer.from('x'));
    frame[0] = 1;
    expect(() => new GrpcFrameReader(100).push(frame)).toThrow('compressed');
  });
});

describe('how a call ended', () => {
  test.each<[string, object, object, GrpcCode, string]>([
    ['in the trailers', { ':status': 200 }, { 'grpc-status': '0' }, 'OK', ''],
    [
      'in the only headers',
      { ':status': 200, 'grpc-status': '12', 'grpc-message': 'no%20such' },
      {},
      'UNIMPLEMENTED',
      'no such',
    ],
    ['a text that is no percent encoding', {}, { 'grpc-status': '5', 'grpc-message': '100%' }, 'NOT_FOUND', '100%'],
    ['a number that is no code', {}, { 'grpc-status': '99' }, 'UNKNOWN', ''],
    ['no number', {}, { 'grpc-status': 'x' }, 'UNKNOWN', ''],
    ['no status at all', { ':status': 200 }, {}, 'INTERNAL', 'the answer ended without a status'],
    [
      'a server of plain HTTP',
      { ':status': 404 },
      {},
      'UNIMPLEMENTED',
      'unexpected HTTP status code received from server: 404',
    ],
    ['a proxy', { ':status': 503 }, {}, 'UNAVAILABLE', 'unexpected HTTP status code received from server: 503'],
    ['a teapot', { ':status': 418 }, {}, 'UNKNOWN', 'unexpected HTTP status code received from server: 418'],
  ])('%s', (_name, head, trailers, code, details) => {
    expect(grpcStatusOf(head as IncomingHttpHeaders, trailers as IncomingHttpHeaders)).toEqual({ code, details });
  });

  test('codes as Go prints them', () => {
    expect(['OK', 'CANCELLED', 'DEADLINE_EXCEEDED', 'NOT_FOUND'].map((c) => goCodeName(c as 'OK'))).toEqual([
      'OK',
      'Canceled',
      'DeadlineExceeded',
      'NotFound',
    ]);
  });
});
