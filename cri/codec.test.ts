import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { WireError, WireWriter } from '../api/protobuf-wire.ts';
import { decodeMessage, encodeMessage } from './codec.ts';
import type * as msg from './gen/messages.ts';
import { ENUMS, MESSAGES } from './gen/schema.ts';

/** Any value of a message, as its table describes it. */
function valuesOf(message: string, depth = 0): fc.Arbitrary<Record<string, unknown>> {
  const record: Record<string, fc.Arbitrary<unknown>> = {};
  const fields = MESSAGES[message]!;
  for (const field of fields === '' ? [] : fields.split(',')) {
    const [, name, spec] = field.split(' ') as [string, string, string];
    const type = spec.replace(/(\[\]|\{\})$/, '');
    if (spec.endsWith('{}'))
      record[name] = fc.dictionary(fc.string({ maxLength: 5 }), oneOf(type, depth), { maxKeys: 3 });
    else if (spec.endsWith('[]')) record[name] = fc.array(oneOf(type, depth), { maxLength: depth > 2 ? 0 : 3 });
    else if (MESSAGES[type] === undefined) record[name] = oneOf(type, depth);
    else record[name] = depth > 2 ? fc.constant(undefined) : fc.option(oneOf(type, depth), { nil: undefined });
  }
  return fc.record(record, { noNullPrototype: true });
}

function oneOf(type: string, depth: number): fc.Arbitrary<unknown> {
  switch (type) {
    case 'string':
      return fc.string({ maxLength: 40 });
    case 'bool':
      return fc.boolean();
    case 'int32':
      return fc.integer();
    case 'uint32':
      return fc.nat({ max: 2 ** 32 - 1 });
    case 'int64':
      return fc.maxSafeInteger();
    case 'uint64':
      return fc.maxSafeNat();
    case 'nanos':
      return fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n });
    case 'double':
      return fc.double({ noNaN: true }).map((d) => d + 0); // no −0: it is not sent
    case 'bytes':
      return fc.uint8Array({ maxLength: 20 }).map((b) => Buffer.from(b));
    default:
      return ENUMS[type] === undefined ? valuesOf(type, depth + 1) : fc.constantFrom(...ENUMS[type].split(' '));
  }
}

/** Bytes as plain lists, so that views and copies compare alike; members that are undefined left out. */
function comparable(value: unknown): unknown {
  if (value instanceof Uint8Array) return [...value];
  if (Array.isArray(value)) return value.map(comparable);
  if (typeof value !== 'object' || value === null) return value;
  const members = Object.entries(value).filter(([, v]) => v !== undefined);
  return Object.fromEntries(members.map(([k, v]) => [k, comparable(v)]));
}

test.each(Object.keys(MESSAGES))('%s is read back as it was written', (message) => {
  fc.assert(
    fc.property(valuesOf(message), (value) => {
      expect(comparable(decodeMessage(message, encodeMessage(message, value)))).toEqual(comparable(value));
    }),
    { numRuns: 15 },
  );
});

describe('reading', () => {
  test('bytes as another implementation writes them', () => {
    // VersionResponse {version "0.1.0", runtime_name "containerd"}, then a field 99 that this program does not know.
    const bytes = Buffer.from('0a05302e312e301a00120a636f6e7461696e657264' + '9a0603616263' + '980605', 'hex');
    expect(decodeMessage('VersionResponse', bytes)).toEqual({
      version: '0.1.0',
      runtimeName: 'containerd',
      runtimeVersion: '',
      runtimeApiVersion: '',
    });
  });

  test('what was not sent has its zero value, and a sub-message is undefined', () => {
    expect(decodeMessage<msg.ContainerStatus>('ContainerStatus', new Uint8Array())).toMatchObject({
      id: '',
      metadata: undefined,
      state: 'CONTAINER_CREATED',
      createdAt: 0n,
      exitCode: 0,
      labels: {},
      mounts: [],
    });
  });

  test('messages do not share their lists and maps', () => {
    const a = decodeMessage<msg.Container>('Container', new Uint8Array());
    a.labels.app = 'a';
    expect(decodeMessage<msg.Container>('Container', new Uint8Array()).labels).toEqual({});
  });

  test('times in nanoseconds keep every digit', () => {
    const bytes = encodeMessage('ContainerStatus', { startedAt: 1_790_000_000_123_456_789n });
    expect(decodeMessage<msg.ContainerStatus>('ContainerStatus', bytes).startedAt).toBe(1_790_000_000_123_456_789n);
  });

  test('numbers in a list are read packed and one by one', () => {
    const oneByOne = Buffer.from([0x10, 80, 0x10, 81]);
    expect(decodeMessage<msg.PortForwardRequest>('PortForwardRequest', oneByOne).port).toEqual([80, 81]);
    const packed = Buffer.from([0x12, 2, 80, 81]);
    expect(decodeMessage<msg.PortForwardRequest>('PortForwardRequest', packed).port).toEqual([80, 81]);
  });

  test('a state that only a later release has reads as the unknown one', () => {
    const writer = new WireWriter();
    writer.tag(3, 0);
    writer.uint32(77);
    const status = decodeMessage<msg.ContainerStatus>('ContainerStatus', writer.finish());
    expect(status.state).toBe('CONTAINER_UNKNOWN');
  });

  test('a field that has become another type is left out, not misread', () => {
    const writer = new WireWriter();
    writer.tag(1, 0); // the id, once a string
    writer.uint32(5);
    writer.tag(7, 2); // the exit code, once a number
    writer.string('five');
    writer.tag(10, 2);
    writer.string('Error');
    const status = decodeMessage<msg.ContainerStatus>('ContainerStatus', writer.finish());
    expect(status).toMatchObject({ id: '', exitCode: 0, reason: 'Error' });
  });

  test('a label named __proto__ is a label', () => {
    const labels = Object.fromEntries([['__proto__', 'x']]);
    const read = decodeMessage<msg.Container>('Container', encodeMessage('Container', { labels }));
    expect(Object.entries(read.labels)).toEqual([['__proto__', 'x']]);
  });

  test('hostile bytes are refused or read, never waited for', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), fc.constantFrom(...Object.keys(MESSAGES)), (bytes, message) => {
        try {
          decodeMessage(message, bytes);
        } catch (err) {
          expect(err).toBeInstanceOf(WireError);
        }
      }),
      { numRuns: 3000 },
    );
  });

  test('every cut of a real message is refused or read', () => {
    const whole = encodeMessage('ListContainersResponse', {
      containers: [{ id: 'a'.repeat(64), labels: { app: 'web' }, createdAt: 1n }],
    });
    for (let length = 0; length < whole.length; length++) {
      try {
        decodeMessage('ListContainersResponse', whole.subarray(0, length));
      } catch (err) {
        expect(err).toBeInstanceOf(WireError);
      }
    }
  });
});

describe('writing', () => {
  test('zero values are not sent', () => {
    expect(encodeMessage('StopContainerRequest', { containerId: '', timeout: 0 })).toHaveLength(0);
    expect(encodeMessage('ContainerStateValue', { state: 'CONTAINER_CREATED' })).toHaveLength(0);
  });

  test('but an empty sub-message is: it asks for the first state, not for any', () => {
    const bytes = encodeMessage('ContainerFilter', { state: { state: 'CONTAINER_CREATED' } });
    expect(decodeMessage<msg.ContainerFilter>('ContainerFilter', bytes).state).toEqual({ state: 'CONTAINER_CREATED' });
  });

  test('a name that is no value of its enum is our mistake', () => {
    expect(() => encodeMessage('ContainerStateValue', { state: 'RUNNING' })).toThrow('RUNNING is not a ContainerState');
  });
});
