// How request bodies that are not JSON or YAML become objects. Injected, so that the server does not know the codec.
import type { KubeObject } from '../api/meta.ts';
import type { GroupVersionKind } from './subresource.ts';

/**
 * Decodes one `application/vnd.kubernetes.protobuf` body. `hint` is the kind the path expects; the envelope's own kind
 * wins (DeleteOptions on a DELETE). Zero scalars are left out.
 * @throws {StatusError} 400 for bytes that are not such an object, 415 for a kind without a table.
 */
export type ProtobufDecoder = (bytes: Uint8Array, hint: GroupVersionKind) => KubeObject;
