// The least OpenAPI that kubectl needs: v2 as an empty protobuf document, v3 with one patch operation per kind, by which
// kubectl learns that the server checks fields itself.
import { createHash } from 'node:crypto';
import type { Discovery, Document } from './discovery.ts';

/** swagger "2.0", title "k", version "v1", no paths. */
export const OPENAPI_V2_PROTOBUF = Buffer.from('0a03322e3012070a016b120276314200', 'hex');
export const OPENAPI_V2_PROTOBUF_TYPE = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';
export const OPENAPI_V2_JSON = JSON.stringify({
  swagger: '2.0',
  info: { title: 'Kubernetes', version: 'v1.36.0' },
  paths: {},
  definitions: {},
});

export class OpenApiV3 {
  readonly #discovery: Discovery;
  readonly #documents = new Map<string, Document>();

  constructor(discovery: Discovery) {
    this.#discovery = discovery;
  }

  /** `/openapi/v3`: where each group and version is described. */
  index(): string {
    const paths = this.#discovery.groupVersions.map((gv) => {
      const key = gv.includes('/') ? `apis/${gv}` : `api/${gv}`;
      return [key, { serverRelativeURL: `/openapi/v3/${key}?hash=${this.hash(key)}` }];
    });
    return JSON.stringify({ paths: Object.fromEntries(paths) });
  }

  hash(key: string): string | undefined {
    return this.document(key)?.etag.replaceAll('"', '');
  }

  /** `key` as in the index, e.g. `apis/apps/v1`. */
  document(key: string): Document | undefined {
    const known = this.#documents.get(key);
    if (known !== undefined) return known;
    const match = /^(?:api\/([^/]+)|apis\/([^/]+)\/([^/]+))$/.exec(key);
    if (match === null) return undefined;
    const kinds = this.#discovery.kindsOf(match[2] ?? '', match[1] ?? match[3]!);
    if (kinds.length === 0) return undefined;
    const paths = Object.fromEntries(
      kinds.map((type) => {
        const scope = type.namespaced ? '/namespaces/{namespace}' : '';
        return [`/${key}${scope}/${type.plural}/{name}`, { patch: patchOperation(type) }];
      }),
    );
    const info = { title: 'Kubernetes', version: 'v1.36.0' };
    const json = JSON.stringify({ openapi: '3.0.0', info, paths, components: { schemas: {} } });
    const etag = `"${createHash('sha512').update(json).digest('hex').toUpperCase()}"`;
    const document = { json, etag, contentType: 'application/json' };
    this.#documents.set(key, document);
    return document;
  }
}

/** No request content is listed: then kubectl computes strategic patches from its own types. */
function patchOperation(type: { group: string; version: string; kind: string }) {
  const parameter = (name: string) => ({ name, in: 'query', schema: { type: 'string', uniqueItems: true } });
  const { group, version, kind } = type;
  return {
    parameters: [parameter('fieldValidation'), parameter('dryRun')],
    responses: { 200: { description: 'OK' } },
    'x-kubernetes-action': 'patch',
    'x-kubernetes-group-version-kind': { group, version, kind },
  };
}
