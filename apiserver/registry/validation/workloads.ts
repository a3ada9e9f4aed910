// The kinds that make pods. Sources: pkg/apis/apps/validation, pkg/apis/batch/validation.
import { isDeepStrictEqual } from 'node:util';
import type { Deployment } from 'kubernetes-types/apps/v1.js';
import type { CronJob, Job, JobSpec } from 'kubernetes-types/batch/v1.js';
import type { PodTemplateSpec } from 'kubernetes-types/core/v1.js';
import { matchesLabels, selectorOf } from '../../../api/labels.ts';
import type { PodSpec } from '../../../api/pod.ts';
import type { AnyObject } from '../definition.ts';
import { type FieldError, forbiddenField, invalid, notSupported, required } from '../field-errors.ts';
import { labelsFaults } from '../metadata.ts';
import { noEphemeralFaults, podSpecFaults } from './pod-spec.ts';
import { labelSelectorFaults } from './selectors.ts';

const TEMPLATE = 'spec.template';

function templateFaults(template: PodTemplateSpec | undefined, restartPolicies: readonly string[]): FieldError[] {
  const spec = template?.spec as PodSpec | undefined;
  const faults = [
    ...labelsFaults(`${TEMPLATE}.labels`, template?.metadata?.labels ?? {}),
    ...podSpecFaults(spec, `${TEMPLATE}.spec`),
    ...noEphemeralFaults(spec, `${TEMPLATE}.spec`, 'ephemeral containers not allowed in pod template'),
  ];
  if (spec === undefined) return faults;
  if (!restartPolicies.includes(spec.restartPolicy ?? '')) {
    faults.push(notSupported(`${TEMPLATE}.spec.restartPolicy`, spec.restartPolicy, restartPolicies));
  }
  return faults;
}

function replicasFaults(object: AnyObject): FieldError[] {
  const replicas = object.spec?.replicas;
  if (replicas === undefined || replicas >= 0) return [];
  return [invalid('spec.replicas', replicas, 'must be greater than or equal to 0')];
}

/** Deployment, ReplicaSet, DaemonSet, StatefulSet: selector, template and the match between them. */
export function replicasOwnerFaults(object: AnyObject): FieldError[] {
  const { spec } = object;
  if (spec === undefined) return [required('spec.selector'), required('spec.template')];
  const faults = [...replicasFaults(object), ...templateFaults(spec.template, ['Always'])];
  if (spec.template?.spec?.activeDeadlineSeconds !== undefined) {
    faults.push(
      forbiddenField(
        `${TEMPLATE}.spec.activeDeadlineSeconds`,
        `activeDeadlineSeconds in ${object.kind} is not Supported`,
      ),
    );
  }
  const { selector } = spec;
  if (selector === undefined) return [...faults, required('spec.selector')];
  const selectorFaults = labelSelectorFaults(selector, 'spec.selector');
  if (selectorFaults.length > 0) return [...faults, ...selectorFaults];
  const requirements = selectorOf(selector) ?? [];
  if (requirements.length === 0) {
    return [
      ...faults,
      invalid('spec.selector', selector, `empty selector is invalid for ${(object.kind ?? '').toLowerCase()}`),
    ];
  }
  const labels = spec.template?.metadata?.labels ?? {};
  if (!matchesLabels(requirements, labels)) {
    faults.push(invalid(`${TEMPLATE}.metadata.labels`, labels, '`selector` does not match template `labels`'));
  }
  return faults;
}

/** ReplicationController: the selector is a plain map. */
export function templateOwnerFaults(object: AnyObject): FieldError[] {
  const { spec } = object;
  const faults = [...replicasFaults(object), ...templateFaults(spec?.template, ['Always'])];
  const selector: Record<string, string> = spec?.selector ?? {};
  const labels = spec?.template?.metadata?.labels ?? {};
  if (Object.keys(selector).length === 0) faults.push(required('spec.selector'));
  else if (Object.entries(selector).some(([key, value]) => labels[key] !== value)) {
    faults.push(invalid(`${TEMPLATE}.metadata.labels`, labels, '`selector` does not match template `labels`'));
  }
  return faults;
}

export function deploymentFaults(object: AnyObject): FieldError[] {
  const faults = replicasOwnerFaults(object);
  const { spec } = object as Deployment;
  if (spec === undefined) return faults;
  const types = ['Recreate', 'RollingUpdate'];
  const { type = '', rollingUpdate } = spec.strategy ?? {};
  if (!types.includes(type)) faults.push(notSupported('spec.strategy.type', type, types));
  if (type === 'Recreate' && rollingUpdate !== undefined) {
    faults.push(
      forbiddenField('spec.strategy.rollingUpdate', "may not be specified when strategy `type` is 'Recreate'"),
    );
  }
  if (type === 'RollingUpdate') faults.push(...rollingUpdateFaults(rollingUpdate ?? {}));
  const { progressDeadlineSeconds: deadline, minReadySeconds = 0 } = spec;
  if (deadline !== undefined && deadline <= minReadySeconds) {
    faults.push(invalid('spec.progressDeadlineSeconds', deadline, 'must be greater than minReadySeconds'));
  }
  return faults;
}

function rollingUpdateFaults(update: { maxSurge?: number | string; maxUnavailable?: number | string }): FieldError[] {
  const path = 'spec.strategy.rollingUpdate';
  const faults: FieldError[] = [];
  for (const member of ['maxUnavailable', 'maxSurge'] as const) {
    const value = update[member] ?? 0;
    if (typeof value === 'string' && !/^\d+%$/.test(value)) {
      faults.push(
        invalid(
          `${path}.${member}`,
          value,
          "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for validation is '[0-9]+%')",
        ),
      );
    } else if (typeof value === 'number' && value < 0) {
      faults.push(invalid(`${path}.${member}`, value, 'must be greater than or equal to 0'));
    }
  }
  const amount = (value: number | string | undefined) => Number.parseInt(String(value ?? 0), 10);
  if (typeof update.maxUnavailable === 'string' && amount(update.maxUnavailable) > 100) {
    faults.push(invalid(`${path}.maxUnavailable`, update.maxUnavailable, 'must not be greater than 100%'));
  }
  if (faults.length === 0 && amount(update.maxSurge) === 0 && amount(update.maxUnavailable) === 0) {
    faults.push(invalid(`${path}.maxUnavailable`, update.maxUnavailable, 'may not be 0 when `maxSurge` is 0'));
  }
  return faults;
}

export function selectorImmutableFaults(next: AnyObject, old: AnyObject): FieldError[] {
  if (isDeepStrictEqual(next.spec?.selector, old.spec?.selector)) return [];
  return [invalid('spec.selector', next.spec?.selector, 'field is immutable')];
}

const STATEFUL_SET_MUTABLE = [
  'replicas',
  'ordinals',
  'template',
  'updateStrategy',
  'revisionHistoryLimit',
  'persistentVolumeClaimRetentionPolicy',
  'minReadySeconds',
];

export function statefulSetUpdateFaults(next: AnyObject, old: AnyObject): FieldError[] {
  const fixed = (o: AnyObject) =>
    Object.fromEntries(Object.entries(o.spec ?? {}).filter(([key]) => !STATEFUL_SET_MUTABLE.includes(key)));
  if (isDeepStrictEqual(fixed(next), fixed(old))) return [];
  const names = STATEFUL_SET_MUTABLE.map((name) => `'${name}'`);
  const list = `${names.slice(0, -1).join(', ')} and ${names.at(-1)}`;
  return [forbiddenField('spec', `updates to statefulset spec for fields other than ${list} are forbidden`)];
}

export function revisionUpdateFaults(next: AnyObject, old: AnyObject): FieldError[] {
  const data = (o: AnyObject) => (o as { data?: unknown }).data;
  return isDeepStrictEqual(data(next), data(old)) ? [] : [invalid('data', data(next), 'field is immutable')];
}

function jobSpecFaults(spec: JobSpec | undefined, path: string): FieldError[] {
  const faults: FieldError[] = [];
  for (const member of [
    'parallelism',
    'completions',
    'backoffLimit',
    'ttlSecondsAfterFinished',
    'activeDeadlineSeconds',
  ] as const) {
    const value = spec?.[member];
    if (value !== undefined && value < 0)
      faults.push(invalid(`${path}.${member}`, value, 'must be greater than or equal to 0'));
  }
  if (spec?.completionMode === 'Indexed' && spec.completions === undefined) {
    faults.push(required(`${path}.completions`, 'when completion mode is Indexed'));
  }
  return faults;
}

function jobTemplateFaults(template: PodTemplateSpec | undefined): FieldError[] {
  const policy = template?.spec?.restartPolicy;
  if (policy === undefined || policy === 'Always') {
    return [required(`${TEMPLATE}.spec.restartPolicy`, 'valid values: "OnFailure", "Never"')];
  }
  return templateFaults(template, ['OnFailure', 'Never']);
}

export function jobFaults(job: Job): FieldError[] {
  return [...jobSpecFaults(job.spec, 'spec'), ...jobTemplateFaults(job.spec?.template)];
}

export function jobUpdateFaults(next: Job, old: Job): FieldError[] {
  const suspended = old.spec?.suspend === true && old.status?.startTime === undefined;
  const fixed = ['selector', 'completionMode', 'podFailurePolicy', 'successPolicy', 'backoffLimitPerIndex'];
  if (!suspended) fixed.push('template');
  if (old.spec?.completionMode !== 'Indexed') fixed.push('completions');
  const [a, b] = [next.spec as unknown as Record<string, unknown>, old.spec as unknown as Record<string, unknown>];
  return fixed
    .filter((member) => !isDeepStrictEqual(a?.[member], b?.[member]))
    .map((member) => invalid(`spec.${member}`, a?.[member], 'field is immutable'));
}

export function cronJobFaults(cronJob: CronJob): FieldError[] {
  const { spec, metadata } = cronJob;
  const faults = jobSpecFaults(spec?.jobTemplate?.spec, 'spec.jobTemplate.spec');
  const schedule = spec?.schedule ?? '';
  if (schedule === '') faults.push(required('spec.schedule'));
  else if (schedule.includes('TZ=')) {
    faults.push(invalid('spec.schedule', schedule, 'cannot use TZ or CRON_TZ in schedule, use timeZone field instead'));
  } else if (!schedule.startsWith('@') && schedule.trim().split(/\s+/).length !== 5) {
    const found = schedule.trim().split(/\s+/);
    faults.push(
      invalid('spec.schedule', schedule, `expected exactly 5 fields, found ${found.length}: [${found.join(' ')}]`),
    );
  }
  if ((metadata?.name?.length ?? 0) > 52) {
    faults.push(invalid('metadata.name', metadata?.name, 'must be no more than 52 characters'));
  }
  return faults;
}
