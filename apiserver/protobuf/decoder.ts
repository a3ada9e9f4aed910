// Protobuf request bodies → the objects that JSON would have given. kubectl since 1.32 and every Go client send them
// and do not try again as JSON. Driven by the field tables of messages.ts; the wire rules are those of Go's generated
// marshallers: scalars that are not pointers are always written, so their zero means "not set".
import { formatTime, type KubeObject } from '../../api/meta.ts';
import { WireError, WireReader } from '../../api/protobuf-wire.ts';
import type { ProtobufDecoder } from '../body-decoder.ts';
import { badRequest, StatusError } from '../status-error.ts';
import type { GroupVersionKind } from '../subresource.ts';
import { type Field, type MessageType, messageType } from './schema.ts';

/** `k8s` and a zero byte: what every body starts with. */
const MAGIC = [0x6b, 0x38, 0x73, 0x00];
/** RawExtension may hold an envelope again; nobody needs more than one inside another. */
const MAX_ENVELOPES = 4;
/** The years 0001–9999: what RFC 3339 can say. */
const MIN_SECONDS = -62_135_596_800;
const MAX_SECONDS = 253_402_300_799;

/** Members that Go keeps by value and therefore always writes; empty they say nothing. */
const DROPPED_WHEN_EMPTY = new Set([
  'metadata',
  'status',
  'resources',
  'strategy',
  'updateStrategy',
  'state',
  'lastState',
]);

export const decodeProtobuf: ProtobufDecoder = (bytes, hint) => {
  try {
    return decodeEnvelope(bytes, hint, 1);
  } catch (err) {
    if (err instanceof WireError) throw badRequest(`the body is not valid protobuf: ${err.message}`);
    if (err instanceof SyntaxError) throw badRequest('the body embeds JSON that cannot be parsed');
    throw err;
  }
};

function decodeEnvelope(bytes: Uint8Array, hint: GroupVersionKind, depth: number): KubeObject {
  if (MAGIC.some((byte, i) => bytes[i] !== byte)) {
    throw badRequest('provided data does not appear to be a protobuf message, expected prefix [107 56 115 0]');
  }
  if (depth > MAX_ENVELOPES) throw badRequest('the body nests too many objects in each other');
  const reader = new WireReader(bytes, MAGIC.length);
  let apiVersion = '';
  let kind = '';
  let raw = new Uint8Array();
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x0a) [apiVersion, kind] = readTypeMeta(reader.message(), apiVersion, kind);
    else if (tag === 0x12) raw = new Uint8Array(reader.bytes());
    else reader.skip(tag & 7);
  }
  if (kind === '') ({ kind } = hint);
  if (apiVersion === '') apiVersion = hint.group === '' ? hint.version : `${hint.group}/${hint.version}`;
  const type = messageType(apiVersion, kind);
  if (type === undefined) {
    throw new StatusError(
      415,
      'UnsupportedMediaType',
      `${apiVersion}, Kind=${kind} cannot be read as protobuf here; send JSON`,
    );
  }
  return { kind, apiVersion, ...decodeMessage(new WireReader(raw), type, depth, {}) };
}

function readTypeMeta(reader: WireReader, apiVersion: string, kind: string): [string, string] {
  let type: [string, string] = [apiVersion, kind];
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x0a) type = [reader.string(), type[1]];
    else if (tag === 0x12) type = [type[0], reader.string()];
    else reader.skip(tag & 7);
  }
  return type;
}

type Fields = Record<string, unknown>;

/** Adds what `reader` holds to `into`: a singular message that is sent twice is merged. */
function decodeMessage(reader: WireReader, type: MessageType, depth: number, into: Fields): Fields {
  while (!reader.done) {
    const tag = reader.tag();
    const field = type.fields.get(tag >>> 3);
    if (field === undefined) reader.skip(tag & 7);
    else decodeField(reader, tag & 7, field, depth, into);
  }
  // The one by-value member whose absence and emptiness differ in JSON.
  if (type.name === 'NetworkPolicySpec') into.podSelector ??= {};
  return into;
}

function decodeField(reader: WireReader, wireType: number, field: Field, depth: number, into: Fields): void {
  if (field.type === '!') {
    throw new StatusError(422, 'Invalid', `volumes of type "${field.name}" are not supported by this server`);
  }
  if (field.shape === 'map') {
    decodeMapEntry(reader, wireType, field, depth, into);
    return;
  }
  if (field.shape === 'list') {
    decodeListItem(reader, wireType, field, depth, into);
    return;
  }
  const value = decodeValue(
    reader,
    wireType,
    field,
    depth,
    field.inline ? into : (into[field.name] as Fields | undefined),
  );
  if (field.inline) return;
  if (isUnset(value, field)) delete into[field.name];
  else into[field.name] = value;
}

const SCALAR = /^[sibyd]$/;

function isUnset(value: unknown, field: Field): boolean {
  if (value === undefined) return true;
  if (field.message !== undefined) return DROPPED_WHEN_EMPTY.has(field.name) && isEmpty(value);
  return SCALAR.test(field.type) && !field.pointer && (value === '' || value === 0 || value === false);
}

const isEmpty = (value: unknown): boolean =>
  typeof value === 'object' && value !== null && Object.keys(value).length === 0;

function decodeListItem(reader: WireReader, wireType: number, field: Field, depth: number, into: Fields): void {
  into[field.name] ??= [];
  const list = into[field.name] as unknown[];
  if (wireType === 2 && (field.type === 'i' || field.type === 'b')) {
    const packed = reader.message();
    while (!packed.done) list.push(decodeValue(packed, 0, field, depth));
    return;
  }
  list.push(decodeValue(reader, wireType, field, depth));
}

function decodeMapEntry(reader: WireReader, wireType: number, field: Field, depth: number, into: Fields): void {
  expectWireType(wireType, 2);
  const entry = reader.message();
  let key = '';
  let value: unknown;
  while (!entry.done) {
    const tag = entry.tag();
    if (tag >>> 3 === 1) {
      expectWireType(tag & 7, 2);
      key = entry.string();
    } else if (tag >>> 3 === 2) value = decodeValue(entry, tag & 7, field, depth);
    else entry.skip(tag & 7);
  }
  into[field.name] ??= {};
  const map = into[field.name] as Fields;
  // Defined, not assigned: a label may be called __proto__.
  const entryValue = value ?? (field.message === undefined || field.type === 'Quantity' ? '' : {});
  Object.defineProperty(map, key, { value: entryValue, enumerable: true, writable: true, configurable: true });
}

function decodeValue(reader: WireReader, wireType: number, field: Field, depth: number, previous?: Fields): unknown {
  switch (field.type) {
    case 'i':
      expectWireType(wireType, 0);
      return reader.int64();
    case 'b':
      expectWireType(wireType, 0);
      return reader.bool();
    case 'd':
      expectWireType(wireType, 1);
      return reader.double();
    case 's':
      expectWireType(wireType, 2);
      return reader.string();
    case 'y':
      expectWireType(wireType, 2);
      return Buffer.from(reader.bytes()).toString('base64');
  }
  expectWireType(wireType, 2);
  const special = SPECIAL[field.type];
  if (special !== undefined) return special(reader.bytes(), depth);
  return decodeMessage(reader.message(), field.message!, depth, previous ?? {});
}

function expectWireType(actual: number, expected: number): void {
  if (actual !== expected) throw new WireError(`wire type ${actual} where ${expected} belongs`);
}

/** Messages whose JSON is not an object of their fields. */
const SPECIAL: Readonly<Record<string, (bytes: Uint8Array, depth: number) => unknown>> = {
  Time: (bytes) => readTime(bytes, (seconds) => formatTime(seconds * 1000)),
  MicroTime: (bytes) =>
    readTime(bytes, (seconds, nanos) => {
      const micros = String(Math.floor(nanos / 1000)).padStart(6, '0');
      return formatTime(seconds * 1000).replace('Z', `.${micros}Z`);
    }),
  Quantity: (bytes) => String(readScalars(bytes).get(1) ?? '0'),
  IntOrString: (bytes) => {
    const fields = readScalars(bytes);
    const isText = fields.get(1) === 1;
    const value = isText ? (fields.get(3) ?? '') : (fields.get(2) ?? 0);
    if ((typeof value === 'string') !== isText) throw new WireError('a number is a text, or the other way round');
    return value;
  },
  FieldsV1: (bytes) => embeddedJson(bytesOf(bytes)),
  RawExtension: (bytes, depth) => {
    const raw = bytesOf(bytes);
    if (raw.length === 0) return undefined;
    if (raw[0] !== MAGIC[0]) return embeddedJson(raw);
    return decodeEnvelope(raw, { group: '', version: 'v1', kind: '' }, depth + 1);
  },
  ExtraValue: (bytes) => {
    const reader = new WireReader(bytes);
    const items: string[] = [];
    while (!reader.done) {
      const tag = reader.tag();
      if (tag === 0x0a) items.push(reader.string());
      else reader.skip(tag & 7);
    }
    return items;
  },
};

function readTime(bytes: Uint8Array, format: (seconds: number, nanos: number) => string): string | undefined {
  if (bytes.length === 0) return undefined;
  const fields = readScalars(bytes);
  const seconds = fields.get(1) ?? 0;
  const nanos = fields.get(2) ?? 0;
  if (typeof seconds === 'string' || typeof nanos === 'string') throw new WireError('a time is a text');
  if (seconds < MIN_SECONDS || seconds > MAX_SECONDS || nanos < 0 || nanos > 999_999_999) {
    throw new WireError('a time is out of range');
  }
  // Go's zero time, year 1, is how "no time" is written where the field is not a pointer.
  return seconds === MIN_SECONDS ? undefined : format(seconds, nanos);
}

/** Varints and texts of a small message, by field number. */
function readScalars(bytes: Uint8Array): Map<number, number | string> {
  const fields = new Map<number, number | string>();
  const reader = new WireReader(bytes);
  while (!reader.done) {
    const tag = reader.tag();
    if ((tag & 7) === 0) fields.set(tag >>> 3, reader.int64());
    else if ((tag & 7) === 2) fields.set(tag >>> 3, reader.string());
    else reader.skip(tag & 7);
  }
  return fields;
}

/** Field 1 of a message that only wraps bytes. */
function bytesOf(message: Uint8Array): Uint8Array {
  const reader = new WireReader(message);
  let bytes = new Uint8Array();
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x0a) bytes = new Uint8Array(reader.bytes());
    else reader.skip(tag & 7);
  }
  return bytes;
}

const embeddedJson = (bytes: Uint8Array): unknown =>
  bytes.length === 0 ? undefined : JSON.parse(new TextDecoder().decode(bytes));
