// Rows of the apps, batch, autoscaling and policy kinds. Source: pkg/printers/internalversion/printers.go.
import type { ControllerRevision, DaemonSet, Deployment, ReplicaSet, StatefulSet } from 'kubernetes-types/apps/v1.js';
import type { HorizontalPodAutoscaler, MetricSpec, MetricStatus } from 'kubernetes-types/autoscaling/v2.js';
import type { CronJob, Job } from 'kubernetes-types/batch/v1.js';
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.js';
import { controllerOf } from '../../../api/meta.ts';
import { age, containersAndImages, humanDuration, labelsText, nameOf, selectorText, since, table } from './format.ts';

export const deployment = table(
  ['Name', 'Ready', 'Up-to-date', 'Available', 'Age', 'Containers*', 'Images*', 'Selector*'],
  (o: Deployment, now) => [
    nameOf(o),
    `${o.status?.readyReplicas ?? 0}/${o.spec?.replicas ?? 0}`,
    o.status?.updatedReplicas ?? 0,
    o.status?.availableReplicas ?? 0,
    age(o, now),
    ...containersAndImages(o.spec as never),
    selectorText(o.spec?.selector),
  ],
);

export const replicaSet = table(
  ['Name', 'Desired#', 'Current#', 'Ready#', 'Age', 'Containers*', 'Images*', 'Selector*'],
  (o: ReplicaSet, now) => [
    nameOf(o),
    o.spec?.replicas ?? 0,
    o.status?.replicas ?? 0,
    o.status?.readyReplicas ?? 0,
    age(o, now),
    ...containersAndImages(o.spec as never),
    selectorText(o.spec?.selector),
  ],
);

export const daemonSet = table(
  [
    'Name',
    'Desired#',
    'Current#',
    'Ready#',
    'Up-to-date#',
    'Available#',
    'Node Selector',
    'Age',
    'Containers*',
    'Images*',
    'Selector*',
  ],
  (o: DaemonSet, now) => [
    nameOf(o),
    o.status?.desiredNumberScheduled ?? 0,
    o.status?.currentNumberScheduled ?? 0,
    o.status?.numberReady ?? 0,
    o.status?.updatedNumberScheduled ?? 0,
    o.status?.numberAvailable ?? 0,
    labelsText(o.spec?.template.spec?.nodeSelector),
    age(o, now),
    ...containersAndImages(o.spec as never),
    selectorText(o.spec?.selector),
  ],
);

export const statefulSet = table(['Name', 'Ready', 'Age', 'Containers*', 'Images*'], (o: StatefulSet, now) => [
  nameOf(o),
  `${o.status?.readyReplicas ?? 0}/${o.spec?.replicas ?? 0}`,
  age(o, now),
  ...containersAndImages(o.spec as never),
]);

export const job = table(
  ['Name', 'Status', 'Completions', 'Duration', 'Age', 'Containers*', 'Images*', 'Selector*'],
  (o: Job, now) => [
    nameOf(o),
    jobStatus(o),
    jobCompletions(o),
    jobDuration(o, now),
    age(o, now),
    ...containersAndImages(o.spec as never),
    selectorText(o.spec?.selector),
  ],
);

function jobStatus(o: Job): string {
  const has = (type: string) => o.status?.conditions?.some((c) => c.type === type && c.status === 'True') === true;
  if (has('Complete')) return 'Complete';
  if (has('Failed')) return 'Failed';
  if (o.metadata?.deletionTimestamp !== undefined) return 'Terminating';
  return ['Suspended', 'FailureTarget', 'SuccessCriteriaMet'].find(has) ?? 'Running';
}

function jobCompletions(o: Job): string {
  const done = o.status?.succeeded ?? 0;
  if (o.spec?.completions !== undefined) return `${done}/${o.spec.completions}`;
  const parallelism = o.spec?.parallelism ?? 1;
  return parallelism > 1 ? `${done}/1 of ${parallelism}` : `${done}/1`;
}

function jobDuration(o: Job, nowMs: number): string {
  if (!o.status?.startTime) return '';
  const endMs = o.status.completionTime ? Date.parse(o.status.completionTime) : nowMs;
  return humanDuration((endMs - Date.parse(o.status.startTime)) / 1000);
}

export const cronJob = table(
  [
    'Name',
    'Schedule',
    'Timezone',
    'Suspend?',
    'Active#',
    'Last Schedule',
    'Age',
    'Containers*',
    'Images*',
    'Selector*',
  ],
  (o: CronJob, now) => [
    nameOf(o),
    o.spec?.schedule,
    o.spec?.timeZone ?? '<none>',
    o.spec?.suspend === undefined ? '<unset>' : o.spec.suspend ? 'True' : 'False',
    o.status?.active?.length ?? 0,
    o.status?.lastScheduleTime ? since(o.status.lastScheduleTime, now) : '<none>',
    age(o, now),
    ...containersAndImages(o.spec?.jobTemplate.spec as never),
    selectorText(o.spec?.jobTemplate.spec?.selector),
  ],
);

export const controllerRevision = table(['Name', 'Controller', 'Revision', 'Age'], (o: ControllerRevision, now) => {
  const owner = controllerOf(o);
  const group = owner?.apiVersion.includes('/') ? `.${owner.apiVersion.split('/')[0]}` : '';
  const controller = owner === undefined ? '<none>' : `${owner.kind.toLowerCase()}${group}/${owner.name}`;
  return [nameOf(o), controller, o.revision, age(o, now)];
});

export const disruptionBudget = table(
  ['Name', 'Min Available', 'Max Unavailable', 'Allowed Disruptions#', 'Age'],
  (o: PodDisruptionBudget, now) => [
    nameOf(o),
    String(o.spec?.minAvailable ?? 'N/A'),
    String(o.spec?.maxUnavailable ?? 'N/A'),
    o.status?.disruptionsAllowed ?? 0,
    age(o, now),
  ],
);

export const autoscaler = table(
  ['Name', 'Reference', 'Targets', 'MinPods', 'MaxPods', 'Replicas', 'Age'],
  (o: HorizontalPodAutoscaler, now) => [
    nameOf(o),
    `${o.spec?.scaleTargetRef.kind}/${o.spec?.scaleTargetRef.name}`,
    metricsText(o.spec?.metrics ?? [], o.status?.currentMetrics ?? []),
    String(o.spec?.minReplicas ?? '<unset>'),
    o.spec?.maxReplicas ?? 0,
    o.status?.currentReplicas ?? 0,
    age(o, now),
  ],
);

function metricsText(specs: readonly MetricSpec[], statuses: readonly MetricStatus[]): string {
  if (specs.length === 0) return '<none>';
  const texts = specs.map((spec, i) => {
    const target = spec.resource?.target;
    if (target === undefined) return `<unknown>/${spec.type}`;
    const current = statuses[i]?.resource?.current;
    if (target.averageUtilization !== undefined) {
      const now = current?.averageUtilization === undefined ? '<unknown>' : `${current.averageUtilization}%`;
      return `${spec.resource!.name}: ${now}/${target.averageUtilization}%`;
    }
    return `${spec.resource!.name}: ${current?.averageValue ?? '<unknown>'}/${target.averageValue ?? '<auto>'}`;
  });
  const more = texts.length > 2 ? ` + ${texts.length - 2} more...` : '';
  return `${texts.slice(0, 2).join(', ')}${more}`;
}
