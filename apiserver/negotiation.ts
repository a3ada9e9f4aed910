// Which form of the answer a client wants. After apiserver pkg/endpoints/handlers/negotiation.
import { StatusError } from './status-error.ts';

export type Transform = 'none' | 'table' | 'partial';

export interface ResponseForm {
  readonly transform: Transform;
  readonly format: 'json' | 'yaml';
  /** apiVersion of Table and PartialObjectMetadata: meta.k8s.io/v1 or v1beta1. */
  readonly metaVersion: string;
}

export const PLAIN_JSON: ResponseForm = { transform: 'none', format: 'json', metaVersion: 'meta.k8s.io/v1' };

const ACCEPTED = 'application/json, application/yaml, application/vnd.kubernetes.protobuf';

interface Clause {
  readonly type: string;
  readonly parameters: ReadonlyMap<string, string>;
  readonly quality: number;
}

/** The clauses of an Accept header, the most wanted first. */
export function parseAccept(header: string): Clause[] {
  return header
    .split(',')
    .map((text) => {
      const [type = '', ...rest] = text.split(';').map((part) => part.trim());
      const parameters = new Map(rest.map((p) => p.split('=', 2) as [string, string]));
      return { type: type.toLowerCase(), parameters, quality: Number(parameters.get('q') ?? 1) };
    })
    .filter((clause) => clause.type !== '' && clause.quality > 0)
    .sort((a, b) => b.quality - a.quality);
}

/**
 * The first clause this server can meet; protobuf answers are not among them, and every client that prefers them takes
 * JSON as well. `transforms`: whether the kind has a Table and a metadata-only form.
 * @throws {StatusError} 406
 */
export function negotiate(accept: string | undefined, transforms = true): ResponseForm {
  const clauses = parseAccept(accept ?? '');
  if (clauses.length === 0) return PLAIN_JSON;
  for (const clause of clauses) {
    const format = formatOf(clause.type);
    if (format === undefined) continue;
    const as = clause.parameters.get('as');
    if (as === undefined) return { ...PLAIN_JSON, format };
    const transform = transforms ? transformOf(as, clause.parameters.get('g')) : undefined;
    const version = clause.parameters.get('v') ?? '';
    if (transform === undefined || (version !== 'v1' && version !== 'v1beta1')) continue;
    return { transform, format, metaVersion: `meta.k8s.io/${version}` };
  }
  const message = `only the following media types are accepted: ${ACCEPTED}`;
  throw new StatusError(406, 'NotAcceptable', message);
}

function formatOf(type: string): 'json' | 'yaml' | undefined {
  if (type === 'application/json' || type === '*/*' || type === 'application/*') return 'json';
  return type === 'application/yaml' ? 'yaml' : undefined;
}

function transformOf(as: string, group: string | undefined): Transform | undefined {
  if (group !== 'meta.k8s.io') return undefined;
  if (as === 'Table') return 'table';
  return as === 'PartialObjectMetadata' || as === 'PartialObjectMetadataList' ? 'partial' : undefined;
}
