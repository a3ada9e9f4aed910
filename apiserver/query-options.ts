// Query parameters of resource requests, checked. Source: apimachinery pkg/apis/meta/v1/validation.

import type { KubeObject } from '../api/meta.ts';
import { isObject } from '../api/patch/json-value.ts';
import type { DeleteRequest } from './registry/deletion.ts';
import { type FieldError, forbiddenField, invalid, invalidObject, notSupported } from './registry/field-errors.ts';
import { isTrue } from './request.ts';
import { badRequest, StatusError } from './status-error.ts';

const META_GROUP = 'meta.k8s.io';
const WATCH_MIN_TIMEOUT_MS = 1_800_000;

export interface ListParameters {
  readonly labelSelector: string;
  readonly fieldSelector: string;
  readonly limit: number | undefined;
  readonly continue: string;
  /** undefined: unset. */
  readonly resourceVersion: number | undefined;
  readonly match: '' | 'Exact' | 'NotOlderThan';
  readonly sendInitialEvents: boolean | undefined;
  readonly allowWatchBookmarks: boolean;
  readonly timeoutMs: number;
}

function refuse(kind: string, faults: readonly FieldError[]): never {
  throw invalidObject(META_GROUP, kind, '', faults);
}

/** @throws {StatusError} 400 or 422 */
export function listParameters(query: URLSearchParams, isWatch: boolean, random = Math.random): ListParameters {
  const match = query.get('resourceVersionMatch') ?? '';
  if (match !== '' && match !== 'Exact' && match !== 'NotOlderThan') {
    refuse('ListOptions', [notSupported('resourceVersionMatch', match, ['Exact', 'NotOlderThan', ''])]);
  }
  const sendInitialEvents = query.has('sendInitialEvents') ? isTrue(query.get('sendInitialEvents')) : undefined;
  const parameters: ListParameters = {
    labelSelector: query.get('labelSelector') ?? '',
    fieldSelector: query.get('fieldSelector') ?? '',
    limit: bound(query, 'limit'),
    continue: query.get('continue') ?? '',
    resourceVersion: wholeNumber(query, 'resourceVersion'),
    match,
    sendInitialEvents,
    allowWatchBookmarks: isTrue(query.get('allowWatchBookmarks')),
    timeoutMs: watchTimeoutMs(query, random),
  };
  if (isWatch) checkWatch(parameters);
  else checkList(parameters);
  return parameters;
}

function checkWatch(p: ListParameters): void {
  const field = 'resourceVersionMatch';
  if (p.sendInitialEvents !== undefined && p.match !== 'NotOlderThan') {
    const why = 'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan';
    refuse('ListOptions', [forbiddenField(field, why)]);
  }
  if (p.sendInitialEvents === undefined && p.match !== '') {
    refuse('ListOptions', [
      forbiddenField(field, 'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided'),
    ]);
  }
}

function checkList(p: ListParameters): void {
  if (p.sendInitialEvents !== undefined) {
    refuse('ListOptions', [forbiddenField('sendInitialEvents', 'sendInitialEvents is forbidden for list')]);
  }
  const field = 'resourceVersionMatch';
  if (p.match !== '' && p.resourceVersion === undefined) {
    refuse('ListOptions', [
      forbiddenField(field, 'resourceVersionMatch is forbidden unless resourceVersion is provided'),
    ]);
  }
  if (p.match !== '' && p.continue !== '') {
    refuse('ListOptions', [forbiddenField(field, 'resourceVersionMatch is forbidden when continue is provided')]);
  }
  if (p.match === 'Exact' && p.resourceVersion === 0) {
    refuse('ListOptions', [forbiddenField(field, 'resourceVersionMatch "exact" is forbidden for resourceVersion "0"')]);
  }
  if (p.continue !== '' && p.resourceVersion !== undefined && p.resourceVersion !== 0) {
    throw badRequest('specifying resource version is not allowed when using continue');
  }
}

/** Undefined when absent or empty. @throws {StatusError} 400 */
function wholeNumber(query: URLSearchParams, name: string, pattern = /^\d+$/): number | undefined {
  const text = query.get(name) ?? '';
  if (text === '') return undefined;
  const value = Number(text);
  if (!pattern.test(text) || !Number.isSafeInteger(value)) throw badRequest(`invalid ${name}: ${JSON.stringify(text)}`);
  return value;
}

/** Undefined also when zero or below: clients say in so many words that there is none. @throws {StatusError} 400 */
function bound(query: URLSearchParams, name: string): number | undefined {
  const value = wholeNumber(query, name, /^-?\d+$/);
  return value !== undefined && value > 0 ? value : undefined;
}

/** Asked for, or 30 to 60 minutes at random so that watches do not all end together. */
function watchTimeoutMs(query: URLSearchParams, random: () => number): number {
  const seconds = bound(query, 'timeoutSeconds');
  return seconds === undefined ? WATCH_MIN_TIMEOUT_MS * (1 + random()) : seconds * 1000;
}

export type FieldValidation = 'Ignore' | 'Warn' | 'Strict';

export interface WriteParameters {
  readonly dryRun: boolean;
  readonly fieldValidation: FieldValidation;
  readonly fieldManager: string;
  readonly force: boolean | undefined;
}

/** @throws {StatusError} 422 */
export function writeParameters(query: URLSearchParams, kind: string): WriteParameters {
  const faults: FieldError[] = [];
  const dryRun = query.getAll('dryRun').filter((v) => v !== '');
  if (dryRun.some((value) => value !== 'All')) faults.push(notSupported('dryRun', dryRun, ['All']));
  const fieldValidation = query.get('fieldValidation') || 'Warn';
  if (!['Ignore', 'Warn', 'Strict'].includes(fieldValidation)) {
    faults.push(notSupported('fieldValidation', fieldValidation, ['', 'Ignore', 'Strict', 'Warn']));
  }
  const fieldManager = query.get('fieldManager') ?? '';
  if (fieldManager.length > 128) faults.push(invalid('fieldManager', fieldManager, 'may not be more than 128 bytes'));
  if (/[^\x20-\x7e]/.test(fieldManager))
    faults.push(invalid('fieldManager', fieldManager, 'should only contain printable characters'));
  if (faults.length > 0) refuse(kind, faults);
  return {
    dryRun: dryRun.length > 0,
    fieldValidation: fieldValidation as FieldValidation,
    fieldManager,
    force: query.has('force') ? isTrue(query.get('force')) : undefined,
  };
}

const POLICIES = ['Background', 'Foreground', 'Orphan'];

export interface DeleteParameters extends DeleteRequest {
  readonly dryRun: boolean;
  /** 202 instead of 200 while the object stays. */
  readonly acceptedCode: 200 | 202;
}

/** DeleteOptions from the body, or from the query when the body is empty. @throws {StatusError} 400 or 422 */
export function deleteParameters(query: URLSearchParams, body: KubeObject | undefined): DeleteParameters {
  const options = body === undefined ? fromQuery(query) : (body as Record<string, unknown>);
  const { gracePeriodSeconds: grace, propagationPolicy: policy, orphanDependents: orphan, preconditions } = options;
  if (grace !== undefined && grace !== null && !Number.isInteger(grace))
    throw badRequest('gracePeriodSeconds must be an integer');
  const faults: FieldError[] = [];
  if (policy !== undefined && policy !== null && !POLICIES.includes(policy as string)) {
    faults.push(notSupported('propagationPolicy', policy, ['Foreground', 'Background', 'Orphan', 'nil']));
  }
  if (typeof orphan === 'boolean' && policy) {
    const why = 'orphanDependents and deletionPropagation cannot be both set';
    faults.push(invalid('propagationPolicy', policy, why));
  }
  if (faults.length > 0) refuse('DeleteOptions', faults);
  const legacy = orphan === true ? 'Orphan' : orphan === false ? 'Background' : undefined;
  const dryRun = [...query.getAll('dryRun'), ...(Array.isArray(options.dryRun) ? options.dryRun : [])];
  return {
    gracePeriodSeconds: (grace as number | null | undefined) ?? undefined,
    propagationPolicy: ((policy as string | undefined) ?? legacy) as DeleteRequest['propagationPolicy'],
    preconditions: isObject(preconditions) ? (preconditions as DeleteRequest['preconditions']) : undefined,
    dryRun: dryRun.includes('All'),
    acceptedCode: orphan === false ? 202 : 200,
  };
}

function fromQuery(query: URLSearchParams): Record<string, unknown> {
  const grace = query.get('gracePeriodSeconds');
  const orphan = query.get('orphanDependents');
  return {
    ...(grace === null || grace === '' ? {} : { gracePeriodSeconds: Number(grace) }),
    ...(query.has('propagationPolicy') ? { propagationPolicy: query.get('propagationPolicy') } : {}),
    ...(orphan === null ? {} : { orphanDependents: isTrue(orphan) }),
  };
}

/** How far ahead of the store a read may ask to be before it is told to wait, and then refused. */
export function tooLargeVersion(wanted: number, current: number): StatusError {
  return new StatusError(504, 'Timeout', `Timeout: Too large resource version: ${wanted}, current: ${current}`, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });
}
