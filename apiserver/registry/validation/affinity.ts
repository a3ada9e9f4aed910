// Where a pod wants to be, and beside whom. Source: pkg/apis/core/validation validateAffinity.
import type { Affinity, NodeSelectorRequirement, NodeSelectorTerm, PodAffinityTerm } from 'kubernetes-types/core/v1.js';
import { type FieldError, forbiddenField, invalid, required } from '../field-errors.ts';
import { qualifiedNameFaults } from '../metadata.ts';
import { labelSelectorFaults } from './selectors.ts';

const FIELD_OPERATORS = ['In', 'NotIn'];
const HARD = 'requiredDuringSchedulingIgnoredDuringExecution';
const SOFT = 'preferredDuringSchedulingIgnoredDuringExecution';

export function affinityFaults(affinity: Affinity | undefined, path: string): FieldError[] {
  return [
    ...nodeAffinityFaults(affinity?.nodeAffinity, `${path}.nodeAffinity`),
    ...podAffinityFaults(affinity?.podAffinity, `${path}.podAffinity`),
    ...podAffinityFaults(affinity?.podAntiAffinity, `${path}.podAntiAffinity`),
  ];
}

function nodeAffinityFaults(affinity: Affinity['nodeAffinity'], path: string): FieldError[] {
  const faults: FieldError[] = [];
  const hard = affinity?.[HARD];
  if (hard !== undefined) {
    const field = `${path}.${HARD}.nodeSelectorTerms`;
    const terms = hard.nodeSelectorTerms ?? [];
    if (terms.length === 0) faults.push(required(field, 'must have at least one node selector term'));
    faults.push(...terms.flatMap((term, i) => nodeTermFaults(term, `${field}[${i}]`)));
  }
  (affinity?.[SOFT] ?? []).forEach(({ weight, preference }, i) => {
    const field = `${path}.${SOFT}[${i}]`;
    faults.push(...weightFaults(weight, `${field}.weight`), ...nodeTermFaults(preference, `${field}.preference`));
  });
  return faults;
}

function nodeTermFaults(term: NodeSelectorTerm, path: string): FieldError[] {
  const expressions = (term.matchExpressions ?? []).flatMap((e, i) => {
    const field = `${path}.matchExpressions[${i}]`;
    return [...qualifiedNameFaults(`${field}.key`, e.key), ...valuesFaults(e, field)];
  });
  const fields = (term.matchFields ?? []).flatMap((e, i) => fieldFaults(e, `${path}.matchFields[${i}]`));
  return [...expressions, ...fields];
}

function valuesFaults({ operator, values = [] }: NodeSelectorRequirement, path: string): FieldError[] {
  const field = `${path}.values`;
  switch (operator) {
    case 'In':
    case 'NotIn':
      if (values.length > 0) return [];
      return [required(field, "must be specified when `operator` is 'In' or 'NotIn'")];
    case 'Exists':
    case 'DoesNotExist':
      if (values.length === 0) return [];
      return [forbiddenField(field, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'")];
    case 'Gt':
    case 'Lt':
      if (values.length === 1) return [];
      return [required(field, "must be specified single value when `operator` is 'Lt' or 'Gt'")];
    default:
      return [invalid(`${path}.operator`, operator, `not a valid selector operator`)];
  }
}

function fieldFaults({ key, operator, values = [] }: NodeSelectorRequirement, path: string): FieldError[] {
  if (key !== 'metadata.name') return [invalid(`${path}.key`, key, 'not a valid field selector key')];
  if (!FIELD_OPERATORS.includes(operator)) {
    return [invalid(`${path}.operator`, operator, 'not a valid selector operator')];
  }
  const why = "must be only one value when `operator` is 'In' or 'NotIn' for node field selector";
  return values.length === 1 ? [] : [required(`${path}.values`, why)];
}

function podAffinityFaults(
  affinity: Affinity['podAffinity'] | Affinity['podAntiAffinity'],
  path: string,
): FieldError[] {
  const hard = (affinity?.[HARD] ?? []).flatMap((term, i) => podTermFaults(term, `${path}.${HARD}[${i}]`));
  const soft = (affinity?.[SOFT] ?? []).flatMap(({ weight, podAffinityTerm }, i) => {
    const field = `${path}.${SOFT}[${i}]`;
    return [...weightFaults(weight, `${field}.weight`), ...podTermFaults(podAffinityTerm, `${field}.podAffinityTerm`)];
  });
  return [...hard, ...soft];
}

function podTermFaults({ labelSelector, topologyKey }: PodAffinityTerm, path: string): FieldError[] {
  const field = `${path}.topologyKey`;
  const key = topologyKey ? qualifiedNameFaults(field, topologyKey) : [required(field, 'can not be empty')];
  return [...labelSelectorFaults(labelSelector, `${path}.labelSelector`), ...key];
}

function weightFaults(weight: number, field: string): FieldError[] {
  return weight >= 1 && weight <= 100 ? [] : [invalid(field, weight, 'must be in the range 1-100')];
}
