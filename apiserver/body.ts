// Request bodies: read with a limit, decoded by their content type, checked against the schema.
import type { IncomingMessage } from 'node:http';
import { parseDocument, visit, type YAMLMap } from 'yaml';
import type { KubeObject } from '../api/meta.ts';
import { isObject } from '../api/patch/json-value.ts';
import { errorMessage } from '../core/errors.ts';
import type { ProtobufDecoder } from './body-decoder.ts';
import { findDuplicateFields } from './json-duplicates.ts';
import { badRequest, StatusError } from './status-error.ts';
import type { GroupVersionKind } from './subresource.ts';

const MAX_BODY_BYTES = 3 * 1024 * 1024;
const PROTOBUF = 'application/vnd.kubernetes.protobuf';

/** @throws {StatusError} 413 */
export async function readBody(request: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let size = 0;
  for await (const chunk of request as AsyncIterable<Buffer>) {
    size += chunk.length;
    if (size > MAX_BODY_BYTES) {
      const message = `Request entity too large: limit is ${MAX_BODY_BYTES}`;
      throw new StatusError(413, 'RequestEntityTooLarge', message);
    }
    chunks.push(chunk);
  }
  return chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks);
}

export function mediaTypeOf(request: IncomingMessage): string {
  return (request.headers['content-type'] ?? '').split(';')[0]!.trim().toLowerCase();
}

export interface DecodedBody {
  readonly object: KubeObject;
  /** Fields that occur twice, as paths. */
  readonly duplicates: readonly string[];
}

/** @throws {StatusError} 400 for what cannot be read, 415 for a type nobody here speaks. */
export function decodeBody(
  bytes: Buffer,
  mediaType: string,
  hint: GroupVersionKind,
  protobuf: ProtobufDecoder | undefined,
): DecodedBody {
  if (mediaType === PROTOBUF && protobuf !== undefined) return { object: protobuf(bytes, hint), duplicates: [] };
  if (mediaType === '' || mediaType === 'application/json' || mediaType === '*/*') return decodeJson(bytes);
  if (mediaType === 'application/yaml') return { object: asObject(decodeYaml(bytes.toString())), duplicates: [] };
  const accepted = 'application/json, application/yaml, application/vnd.kubernetes.protobuf';
  throw new StatusError(
    415,
    'UnsupportedMediaType',
    `the body of the request was in an unknown format - accepted media types include: ${accepted}`,
  );
}

function decodeJson(bytes: Buffer): DecodedBody {
  const text = bytes.toString();
  return { object: asObject(parseJson(text)), duplicates: findDuplicateFields(text) };
}

/** @throws {StatusError} 400 */
export function parseJson(text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (err) {
    throw badRequest(`the object provided is unrecognized (must be of type JSON): ${errorMessage(err)}`);
  }
}

/** JSON, which kubectl sends as YAML, is read as such: that is faster by orders. @throws {StatusError} 400 */
export function decodeYaml(text: string): unknown {
  if (text.startsWith('{')) {
    try {
      return JSON.parse(text) as unknown;
    } catch {
      // YAML may begin like that, too
    }
  }
  try {
    // The parser's own search for keys that occur twice takes the square of their number: minutes for one request.
    const document = parseDocument(text, { uniqueKeys: false });
    const [fault] = document.errors;
    if (fault !== undefined) throw fault;
    visit(document, { Map: (_, map) => requireUniqueKeys(map) });
    return document.toJS({ maxAliasCount: 100 }) as unknown;
  } catch (err) {
    throw badRequest(`error converting YAML to JSON: ${errorMessage(err)}`);
  }
}

function requireUniqueKeys({ items }: YAMLMap): void {
  const seen = new Set<string>();
  for (const { key } of items) {
    const name = String(key);
    if (seen.has(name)) throw new Error(`key ${JSON.stringify(name)} already set in map`);
    seen.add(name);
  }
}

function asObject(value: unknown): KubeObject {
  if (!isObject(value)) throw badRequest('the body of the request must be one object');
  return value as KubeObject;
}
