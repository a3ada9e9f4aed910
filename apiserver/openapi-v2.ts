// OpenAPI v2 in protobuf, as kubectl asks for it: which kinds can be patched in a dry run. Definitions are left out: by
// them kubectl would compute its patches, and the table of types tells no merge keys. After gnostic's OpenAPIv2.proto.
import { WireWriter } from '../api/protobuf-wire.ts';
import type { GroupVersionKind } from './subresource.ts';

export const OPENAPI_V2_PROTOBUF_TYPE = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';

/** `kinds`: path of the objects → their kind. */
export function renderOpenApiV2(
  info: { readonly title: string; readonly version: string },
  kinds: readonly (readonly [string, GroupVersionKind])[],
): Buffer {
  const paths = kinds.map(([path, kind]) => {
    const patch = message([8, queryParameter('dryRun')], [13, extension(kind)]);
    return [2, message([1, path], [2, message([8, patch])])] as const;
  });
  return message([1, '2.0'], [2, message([1, info.title], [2, info.version])], [8, message(...paths)]);
}

/** ParametersItem of Parameter of NonBodyParameter of QueryParameterSubSchema. */
function queryParameter(name: string): Buffer {
  const query = message([2, 'query'], [4, name], [6, 'string']);
  return message([1, message([2, message([3, query])])]);
}

/** NamedAny of the YAML that tells the kind. */
function extension({ group, version, kind }: GroupVersionKind): Buffer {
  const yaml = `group: ${JSON.stringify(group)}\nkind: ${kind}\nversion: ${version}\n`;
  return message([1, 'x-kubernetes-group-version-kind'], [2, message([2, yaml])]);
}

/** A message of strings and messages. */
function message(...fields: readonly (readonly [number, string | Buffer])[]): Buffer {
  const writer = new WireWriter();
  for (const [number, value] of fields) {
    writer.tag(number, 2);
    if (typeof value === 'string') writer.string(value);
    else writer.bytes(value);
  }
  return writer.finish();
}
