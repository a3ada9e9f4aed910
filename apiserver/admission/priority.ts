// The number behind priorityClassName. Source: plugin/pkg/admission/priority.
import type { PriorityClass } from 'kubernetes-types/scheduling/v1.js';
import type { Pod, PodSpec } from '../../api/pod.ts';
import type { ResourceType } from '../../api/resources.ts';
import type { AdmissionPlugin } from '../admission.ts';
import type { ObjectReader } from '../registry/reader.ts';
import { forbidden } from '../status-error.ts';

export const priorityClasses: ResourceType<PriorityClass> = Object.freeze({
  group: 'scheduling.k8s.io',
  version: 'v1',
  plural: 'priorityclasses',
  kind: 'PriorityClass',
  namespaced: false,
});

interface Class {
  readonly name: string;
  readonly value: number;
  readonly preemptionPolicy: string;
}

const DEFAULT_POLICY = 'PreemptLowerPriority';

/** There is no cluster without these; known even while they are not stored. */
export const SYSTEM_PRIORITIES = [
  {
    name: 'system-cluster-critical',
    value: 2_000_000_000,
    preemptionPolicy: DEFAULT_POLICY,
    description: 'For pods that the cluster needs, on whatever node.',
  },
  {
    name: 'system-node-critical',
    value: 2_000_001_000,
    preemptionPolicy: DEFAULT_POLICY,
    description: 'For pods that a node needs: they must not be moved to another.',
  },
] as const;

export function priority(reader: ObjectReader): AdmissionPlugin {
  const find = (name: string): Class | undefined => {
    const stored = reader.get<PriorityClass>(priorityClasses, { name });
    return stored === undefined ? SYSTEM_PRIORITIES.find((c) => c.name === name) : toClass(stored);
  };
  const fallback = (): Class => {
    const stored = reader
      .list<PriorityClass>(priorityClasses)
      .filter((c) => c.globalDefault === true)
      .sort((a, b) => a.value - b.value)[0];
    return stored === undefined ? { name: '', value: 0, preemptionPolicy: DEFAULT_POLICY } : toClass(stored);
  };
  return {
    name: 'Priority',
    mutate({ operation, group, resource, subresource, object, oldObject, name }) {
      if (group !== '' || resource !== 'pods' || subresource !== '') return;
      const spec = (object as Pod).spec;
      if (spec === undefined) return;
      if (operation === 'UPDATE') return keep(spec, (oldObject as Pod).spec);
      if (operation !== 'CREATE') return;
      const refuse = (why: string) => forbidden({ group, resource }, name, why);
      const chosen = spec.priorityClassName ? find(spec.priorityClassName) : fallback();
      if (chosen === undefined) throw refuse(`no PriorityClass with name ${spec.priorityClassName} was found`);
      if (spec.priority !== undefined && spec.priority !== chosen.value) {
        throw refuse(
          `the integer value of priority (${spec.priority}) must not be provided in pod spec; priority admission controller computed ${chosen.value} from the given PriorityClass name`,
        );
      }
      if (chosen.name !== '') spec.priorityClassName = chosen.name;
      spec.priority = chosen.value;
      spec.preemptionPolicy ??= chosen.preemptionPolicy;
    },
  };
}

/** A writer that leaves out what was computed here does not mean to change it. */
function keep(spec: PodSpec, old: PodSpec | undefined): void {
  if (old?.priority !== undefined) spec.priority ??= old.priority;
  if (old?.preemptionPolicy !== undefined) spec.preemptionPolicy ??= old.preemptionPolicy;
}

function toClass(stored: PriorityClass): Class {
  const { value, preemptionPolicy = DEFAULT_POLICY } = stored;
  return { name: stored.metadata?.name ?? '', value, preemptionPolicy };
}
