// Pods: the kind with the most rules of its own. After pkg/registry/core/pod/strategy.go.
import { isMirrorPod, isTerminalPhase, type Pod } from '../../../api/pod.ts';
import { defaultPod } from '../defaults/pod.ts';
import { qosClassOf } from '../defaults/qos.ts';
import type { AnyObject } from '../definition.ts';
import { podTable } from '../tables/pod.ts';
import { podCreateFaults, podFaults, podUpdateFaults } from '../validation/pod.ts';
import { namespaced } from './build.ts';
import { ephemeralContainers, resize, status } from './pod-subresources.ts';

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
  if (isMirrorPod(pod) && asked === undefined) return 0;
  return asked ?? pod.spec.terminationGracePeriodSeconds ?? 0;
}

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
  validateCreate: podCreateFaults,
  validateUpdate: podUpdateFaults,
  grace,
  subresources: { ephemeralcontainers: ephemeralContainers, resize, status },
  table: podTable,
});
