// Shorthand for table entries.
import type { ResourceType } from '../../../api/resources.ts';
import { schemaKeyOf } from '../../schema-check.ts';
import type { KindDefinition } from '../definition.ts';

type Details = Omit<Partial<KindDefinition>, 'type'>;

export function namespaced(group: string, version: string, plural: string, kind: string, details: Details = {}) {
  return build({ group, version, plural, kind, namespaced: true }, details);
}

export function clusterScoped(group: string, version: string, plural: string, kind: string, details: Details = {}) {
  return build({ group, version, plural, kind, namespaced: false }, details);
}

function build(type: ResourceType, details: Details): KindDefinition {
  return { type: Object.freeze(type), root: `/registry/${type.plural}/`, schema: schemaKeyOf(type), ...details };
}
