// Pods: the kind with the most rules of its own. After pkg/registry/core/pod/strategy.go.
import type { Pod } from '../../../api/pod.ts';
import { isTerminalPhase } from '../../../api/pod.ts';
import { defaultPod } from '../defaults/pod.ts';
import { qosClassOf } from '../defaults/qos.ts';
import type { AnyObject, UpdateSubresource } from '../definition.ts';
import { podTable } from '../tables/pod.ts';
import { ephemeralContainerFaults, podFaults, podUpdateFaults } from '../validation/pod.ts';
import { namespaced } from './build.ts';

const MIRROR_ANNOTATION = 'kubernetes.io/config.mirror';

function prepareCreate(object: AnyObject): void {
  const pod = object as Pod;
  pod.status = { phase: 'Pending', qosClass: qosClassOf(pod.spec!) };
  if ((pod.spec!.schedulingGates?.length ?? 0) === 0) return;
  const message = 'Scheduling is blocked due to non-empty scheduling gates';
  pod.status.conditions = [{ type: 'PodScheduled', status: 'False', reason: 'SchedulingGated', message }];
}

/** Seconds a pod keeps running after DELETE; none when no node runs it. */
function grace(object: AnyObject, asked: number | undefined): number {
  const pod = object as Pod;
  if (!pod.spec?.nodeName || isTerminalPhase(pod.status?.phase)) return 0;
  if (pod.metadata?.annotations?.[MIRROR_ANNOTATION] !== undefined && asked === undefined) return 0;
  return asked ?? pod.spec.terminationGracePeriodSeconds ?? 0;
}

/** Takes the new list of ephemeral containers and nothing else. */
const ephemeralContainers: UpdateSubresource = {
  reset(next, old) {
    const wanted = (next as Pod).spec?.ephemeralContainers;
    for (const member of Object.keys(next)) delete next[member as keyof AnyObject];
    Object.assign(next, structuredClone(old));
    if (wanted !== undefined) next.spec.ephemeralContainers = wanted;
  },
  validate: ephemeralContainerFaults,
};

/** In-place resize: resources and resizePolicy of the containers that exist. */
const resize: UpdateSubresource = {
  reset(next, old) {
    const wanted = (next as Pod).spec;
    for (const member of Object.keys(next)) delete next[member as keyof AnyObject];
    Object.assign(next, structuredClone(old));
    for (const list of ['containers', 'initContainers'] as const) {
      for (const container of (next as Pod).spec![list] ?? []) {
        const source = wanted?.[list]?.find((c) => c.name === container.name);
        if (source?.resources !== undefined) container.resources = source.resources;
        if (source?.resizePolicy !== undefined) container.resizePolicy = source.resizePolicy;
      }
    }
  },
};

export const podKind = namespaced('', 'v1', 'pods', 'Pod', {
  shortNames: ['po'],
  categories: ['all'],
  status: true,
  generation: true,
  fields: {
    'spec.nodeName': (p) => p.spec?.nodeName ?? '',
    'spec.host': (p) => p.spec?.nodeName ?? '',
    'spec.restartPolicy': (p) => p.spec?.restartPolicy ?? '',
    'spec.schedulerName': (p) => p.spec?.schedulerName ?? '',
    'spec.serviceAccountName': (p) => p.spec?.serviceAccountName ?? '',
    'spec.hostNetwork': (p) => String(p.spec?.hostNetwork ?? false),
    'status.phase': (p) => p.status?.phase ?? '',
    'status.podIP': (p) => p.status?.podIP ?? '',
    'status.podIPs': (p) => p.status?.podIPs?.[0]?.ip ?? '',
    'status.nominatedNodeName': (p) => p.status?.nominatedNodeName ?? '',
  },
  defaults: (object) => {
    if (object.spec !== undefined) defaultPod(object.spec);
    if (object.status !== undefined && object.spec !== undefined) object.status.qosClass ??= qosClassOf(object.spec);
  },
  prepareCreate,
  validate: podFaults,
  validateUpdate: podUpdateFaults,
  grace,
  subresources: { ephemeralcontainers: ephemeralContainers, resize },
  table: podTable,
});
