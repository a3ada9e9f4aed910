// The OpenAPI that kubectl needs: v3 with the types of each kind, for `kubectl explain`, and a patch operation, by which
// kubectl learns that the server checks fields itself; v2 with the patch operations alone, by which kubectl before v1.27
// learns that the server has dry runs.
import { createHash } from 'node:crypto';
import type { ResourceType } from '../api/resources.ts';
import type { Discovery, Document } from './discovery.ts';
import { openApiSchemas } from './openapi-schemas.ts';
import { renderOpenApiV2 } from './openapi-v2.ts';
import type { TypeTable } from './schema-check.ts';
import type { GroupVersionKind } from './subresource.ts';

const INFO = { title: 'Kubernetes', version: 'v1.36.0' };
export const OPENAPI_V2_JSON = JSON.stringify({ swagger: '2.0', info: INFO, paths: {}, definitions: {} });

export class OpenApi {
  readonly #discovery: Discovery;
  readonly #types: TypeTable;
  readonly #documents = new Map<string, Document>();
  #v2: Buffer | undefined;

  constructor(discovery: Discovery, types: TypeTable) {
    this.#discovery = discovery;
    this.#types = types;
  }

  /** `/openapi/v2` as old clients take it. */
  v2(): Buffer {
    this.#v2 ??= renderOpenApiV2(
      INFO,
      this.#keys().flatMap((key) => this.#kinds(key).map((type) => [pathOf(key, type), type])),
    );
    return this.#v2;
  }

  /** `/openapi/v3`: where each group and version is described. */
  v3Index(): string {
    const paths = this.#keys().map((key) => {
      const hash = this.v3(key)!.etag.replaceAll('"', '');
      return [key, { serverRelativeURL: `/openapi/v3/${key}?hash=${hash}` }];
    });
    return JSON.stringify({ paths: Object.fromEntries(paths) });
  }

  /** `key` as in the index, e.g. `apis/apps/v1`. */
  v3(key: string): Document | undefined {
    const known = this.#documents.get(key);
    if (known !== undefined) return known;
    const kinds = this.#kinds(key);
    if (kinds.length === 0) return undefined;
    const paths = Object.fromEntries(kinds.map((type) => [pathOf(key, type), operations(type)]));
    const components = { schemas: openApiSchemas(this.#types, kinds) };
    const json = JSON.stringify({ openapi: '3.0.0', info: INFO, paths, components });
    const etag = `"${createHash('sha512').update(json).digest('hex').toUpperCase()}"`;
    const document = { json, etag, contentType: 'application/json' };
    this.#documents.set(key, document);
    return document;
  }

  #keys(): string[] {
    return this.#discovery.groupVersions.map((gv) => (gv.includes('/') ? `apis/${gv}` : `api/${gv}`));
  }

  #kinds(key: string): ResourceType[] {
    const match = /^(?:api\/([^/]+)|apis\/([^/]+)\/([^/]+))$/.exec(key);
    return match === null ? [] : this.#discovery.kindsOf(match[2] ?? '', match[1] ?? match[3]!);
  }
}

function pathOf(key: string, type: ResourceType): string {
  return `/${key}${type.namespaced ? '/namespaces/{namespace}' : ''}/${type.plural}/{name}`;
}

/** No content of a patch is listed: then kubectl computes strategic patches from its own types. */
function operations({ group, version, kind }: GroupVersionKind) {
  const parameter = (name: string) => ({ name, in: 'query', schema: { type: 'string', uniqueItems: true } });
  const responses = { 200: { description: 'OK' } };
  const of = { 'x-kubernetes-group-version-kind': { group, kind, version } };
  const parameters = [parameter('fieldValidation'), parameter('dryRun')];
  return {
    get: { responses, 'x-kubernetes-action': 'get', ...of },
    patch: { parameters, responses, 'x-kubernetes-action': 'patch', ...of },
  };
}
