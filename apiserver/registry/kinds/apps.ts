// apps/v1, batch/v1, autoscaling/v2 and policy/v1.
import type { CronJob, Job } from 'kubernetes-types/batch/v1.js';
import { formatLabelSelector, selectorOf } from '../../../api/labels.ts';
import { defaultAutoscaler } from '../defaults/others.ts';
import {
  defaultCronJob,
  defaultDaemonSet,
  defaultDeployment,
  defaultJob,
  defaultReplicaSet,
  defaultStatefulSet,
} from '../defaults/workloads.ts';
import type { AnyObject, KindDefinition } from '../definition.ts';
import * as tables from '../tables/workloads.ts';
import { disruptionBudgetFaults } from '../validation/limits.ts';
import {
  cronJobFaults,
  deploymentFaults,
  jobFaults,
  jobUpdateFaults,
  replicasOwnerFaults,
  revisionUpdateFaults,
  selectorImmutableFaults,
  statefulSetUpdateFaults,
} from '../validation/workloads.ts';
import { namespaced } from './build.ts';

const scale = {
  selector: (o: AnyObject) => formatLabelSelector(selectorOf(o.spec?.selector) ?? []),
  statusReplicas: (o: AnyObject) => o.status?.replicas ?? 0,
};

const workload = { status: true, generation: true, categories: ['all'] } satisfies Partial<KindDefinition>;

/** Workloads show an empty status from the start, as Go's zero values do. */
const emptyStatus = (status: object) => (o: AnyObject) => {
  o.status = { ...status };
};

/** Pods of a Job are found by its uid, unless the user brings a selector. */
function prepareJob(object: AnyObject): void {
  const job = object as Job;
  object.status = {};
  const { spec, metadata } = job;
  if (spec === undefined || spec.manualSelector === true) return;
  const [uid, name] = [metadata!.uid!, metadata!.name ?? ''];
  spec.selector = { matchLabels: { 'batch.kubernetes.io/controller-uid': uid } };
  const labels = {
    'batch.kubernetes.io/controller-uid': uid,
    'controller-uid': uid,
    'batch.kubernetes.io/job-name': name,
    'job-name': name,
  };
  spec.template.metadata = { ...spec.template.metadata, labels: { ...spec.template.metadata?.labels, ...labels } };
}

export const appsKinds = [
  namespaced('apps', 'v1', 'controllerrevisions', 'ControllerRevision', {
    validateUpdate: revisionUpdateFaults,
    table: tables.controllerRevision,
  }),
  namespaced('apps', 'v1', 'daemonsets', 'DaemonSet', {
    ...workload,
    shortNames: ['ds'],
    defaults: defaultDaemonSet,
    prepareCreate: emptyStatus({
      currentNumberScheduled: 0,
      numberMisscheduled: 0,
      desiredNumberScheduled: 0,
      numberReady: 0,
    }),
    validate: replicasOwnerFaults,
    validateUpdate: selectorImmutableFaults,
    table: tables.daemonSet,
  }),
  namespaced('apps', 'v1', 'deployments', 'Deployment', {
    ...workload,
    shortNames: ['deploy'],
    defaults: defaultDeployment,
    prepareCreate: emptyStatus({}),
    validate: deploymentFaults,
    validateUpdate: selectorImmutableFaults,
    scale,
    table: tables.deployment,
  }),
  namespaced('apps', 'v1', 'replicasets', 'ReplicaSet', {
    ...workload,
    shortNames: ['rs'],
    defaults: defaultReplicaSet,
    prepareCreate: emptyStatus({ replicas: 0 }),
    validate: replicasOwnerFaults,
    validateUpdate: selectorImmutableFaults,
    scale,
    table: tables.replicaSet,
  }),
  namespaced('apps', 'v1', 'statefulsets', 'StatefulSet', {
    ...workload,
    shortNames: ['sts'],
    defaults: defaultStatefulSet,
    prepareCreate: emptyStatus({ replicas: 0, availableReplicas: 0 }),
    validate: replicasOwnerFaults,
    validateUpdate: statefulSetUpdateFaults,
    scale,
    table: tables.statefulSet,
  }),
  namespaced('batch', 'v1', 'cronjobs', 'CronJob', {
    ...workload,
    shortNames: ['cj'],
    defaults: defaultCronJob,
    prepareCreate: emptyStatus({}),
    validate: (o) => cronJobFaults(o as CronJob),
    table: tables.cronJob,
  }),
  namespaced('batch', 'v1', 'jobs', 'Job', {
    ...workload,
    orphansByDefault: true,
    fields: { 'status.successful': (o) => String(o.status?.succeeded ?? 0) },
    defaults: defaultJob,
    prepareCreate: prepareJob,
    validate: (o) => jobFaults(o as Job),
    validateUpdate: (next, old) => jobUpdateFaults(next as Job, old as Job),
    table: tables.job,
  }),
  namespaced('autoscaling', 'v2', 'horizontalpodautoscalers', 'HorizontalPodAutoscaler', {
    status: true,
    shortNames: ['hpa'],
    categories: ['all'],
    defaults: defaultAutoscaler,
    prepareCreate: emptyStatus({ desiredReplicas: 0, currentMetrics: null }),
    table: tables.autoscaler,
  }),
  namespaced('policy', 'v1', 'poddisruptionbudgets', 'PodDisruptionBudget', {
    status: true,
    generation: true,
    versionedUpdate: true,
    shortNames: ['pdb'],
    validate: disruptionBudgetFaults,
    prepareCreate: emptyStatus({ disruptionsAllowed: 0, currentHealthy: 0, desiredHealthy: 0, expectedPods: 0 }),
    table: tables.disruptionBudget,
  }),
];
