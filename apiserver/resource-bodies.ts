// What clients send about stored resources: decoded, of the right kind, without fields that the kind does not know.
import type { KubeObject } from '../api/meta.ts';
import { apiVersionOf } from '../api/resources.ts';
import { decodeBody, mediaTypeOf, readBody } from './body.ts';
import type { ProtobufDecoder } from './body-decoder.ts';
import type { WriteParameters } from './query-options.ts';
import type { AnyObject } from './registry/definition.ts';
import type { Endpoint } from './registry/registry.ts';
import type { ResourceCall } from './resource-call.ts';
import { SCALE_KIND, type Scale } from './scale.ts';
import type { FieldReport, SchemaChecker } from './schema-check.ts';
import { badRequest } from './status-error.ts';

export interface ResourceBodiesDeps {
  readonly schema: SchemaChecker;
  readonly protobuf: ProtobufDecoder | undefined;
}

export class ResourceBodies {
  readonly #schema: SchemaChecker;
  readonly #protobuf: ProtobufDecoder | undefined;

  constructor(deps: ResourceBodiesDeps) {
    this.#schema = deps.schema;
    this.#protobuf = deps.protobuf;
  }

  async scale({ request }: ResourceCall): Promise<Scale> {
    return decodeBody(await readBody(request), mediaTypeOf(request), SCALE_KIND, this.#protobuf).object as Scale;
  }

  async deleteOptions({ request }: ResourceCall): Promise<KubeObject | undefined> {
    const bytes = await readBody(request);
    if (bytes.length === 0) return undefined;
    const hint = { group: 'meta.k8s.io', version: 'v1', kind: 'DeleteOptions' };
    return decodeBody(bytes, mediaTypeOf(request), hint, this.#protobuf).object;
  }

  /** @throws {StatusError} 400, 413, 415 */
  async decode(call: ResourceCall, p: WriteParameters): Promise<AnyObject> {
    const { endpoint, request } = call;
    const { group, version, kind } = endpoint.type;
    const bytes = await readBody(request);
    const { object, duplicates } = decodeBody(bytes, mediaTypeOf(request), { group, version, kind }, this.#protobuf);
    checkType(object, endpoint);
    this.check(call, p, object, duplicates);
    return object as AnyObject;
  }

  /** Drops what the kind does not know, and says so as the client asked. @throws {StatusError} 400 */
  check(call: ResourceCall, p: WriteParameters, object: KubeObject, duplicates: readonly string[] = []): void {
    const { endpoint } = call;
    const schema = endpoint.conversion?.schema ?? endpoint.resource.definition.schema;
    const unknown = this.#schema.normalise(object, schema, endpoint.type);
    this.report(call, p, { unknown, duplicates });
  }

  /** Says which fields were not understood, as the client asked. @throws {StatusError} 400 */
  report({ endpoint, info, warnings }: ResourceCall, p: WriteParameters, report: FieldReport): void {
    const texts = [
      ...report.unknown.map((field) => `unknown field "${field}"`),
      ...report.duplicates.map((field) => `duplicate field "${field}"`),
    ];
    if (texts.length === 0 || p.fieldValidation === 'Ignore') return;
    if (p.fieldValidation === 'Warn') {
      for (const text of texts) warnings.add(text);
      return;
    }
    const { kind } = endpoint.type;
    const where = info.verb === 'patch' ? '' : `${kind} in version "${info.version}" cannot be handled as a ${kind}: `;
    throw badRequest(`${where}strict decoding error: ${texts.join(', ')}`);
  }
}

/** @throws {StatusError} 400 when the body is of another kind than the path. */
function checkType(object: KubeObject, endpoint: Endpoint): void {
  const { kind, apiVersion } = object;
  const expected = apiVersionOf(endpoint.type);
  if (!kind && !apiVersion) return; // typed clients may leave both out
  if (kind !== undefined && kind !== endpoint.type.kind) {
    throw badRequest(
      `${kind} in version "${apiVersion ?? ''}" cannot be handled as a ${endpoint.type.kind}: no kind "${kind}" is registered here`,
    );
  }
  if (apiVersion !== undefined && apiVersion !== expected) {
    throw badRequest(
      `the API version in the data (${apiVersion}) does not match the expected API version (${expected})`,
    );
  }
}
