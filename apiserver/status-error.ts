// Errors that reach the client as a metav1.Status. Texts and reasons are those of apimachinery pkg/api/errors: clients
// act on the reason, people read the message.
import type { Status } from '../api/meta.ts';

export interface StatusCause {
  readonly reason?: string;
  readonly message?: string;
  readonly field?: string;
}

export interface StatusDetails {
  readonly name?: string;
  readonly group?: string;
  readonly kind?: string;
  readonly uid?: string;
  readonly causes?: readonly StatusCause[];
  readonly retryAfterSeconds?: number;
}

/** Group and plural, for messages: `pods`, `deployments.apps`. */
export interface GroupResource {
  readonly group: string;
  readonly resource: string;
}

export class StatusError extends Error {
  override readonly name = 'StatusError';
  readonly code: number;
  readonly reason: string;
  readonly details: StatusDetails | undefined;
  /** Further ListMeta of the Status, e.g. a fresh `continue`. */
  readonly metadata: Readonly<Record<string, string>>;

  constructor(
    code: number,
    reason: string,
    message: string,
    details?: StatusDetails,
    metadata: Readonly<Record<string, string>> = {},
  ) {
    super(message);
    this.code = code;
    this.reason = reason;
    this.details = details;
    this.metadata = metadata;
  }

  toStatus(): Status {
    return {
      kind: 'Status',
      apiVersion: 'v1',
      metadata: { ...this.metadata },
      status: 'Failure',
      message: this.message,
      reason: this.reason,
      ...(this.details === undefined ? {} : { details: this.details as NonNullable<Status['details']> }),
      code: this.code,
    };
  }
}

function resourceText(r: GroupResource): string {
  return r.group === '' ? r.resource : `${r.resource}.${r.group}`;
}

function about(r: GroupResource, name: string): StatusDetails {
  return { ...(name === '' ? {} : { name }), ...(r.group === '' ? {} : { group: r.group }), kind: r.resource };
}

export const badRequest = (message: string): StatusError => new StatusError(400, 'BadRequest', message);

export const unauthorized = (): StatusError => new StatusError(401, 'Unauthorized', 'Unauthorized');

export function forbidden(r: GroupResource, name: string, why: string, causes?: readonly StatusCause[]): StatusError {
  const subject = name === '' ? resourceText(r) : `${resourceText(r)} "${name}"`;
  const details = { ...about(r, name), ...(causes === undefined ? {} : { causes }) };
  return new StatusError(403, 'Forbidden', `${subject} is forbidden: ${why}`, details);
}

export function notFound(r: GroupResource, name: string): StatusError {
  return new StatusError(404, 'NotFound', `${resourceText(r)} "${name}" not found`, about(r, name));
}

export const unknownPath = (): StatusError =>
  new StatusError(404, 'NotFound', 'the server could not find the requested resource');

export function methodNotSupported(r: GroupResource, verb: string): StatusError {
  const message = `${verb} is not supported on resources of kind "${resourceText(r)}"`;
  return new StatusError(405, 'MethodNotAllowed', message, about(r, ''));
}

export function alreadyExists(r: GroupResource, name: string, prefix = ''): StatusError {
  return new StatusError(409, 'AlreadyExists', `${prefix}${resourceText(r)} "${name}" already exists`, about(r, name));
}

export function generateNameExhausted(r: GroupResource, name: string): StatusError {
  const message = `${resourceText(r)} "${name}" already exists, the server was not able to generate a unique name for the object`;
  return new StatusError(409, 'AlreadyExists', message, { ...about(r, name), retryAfterSeconds: 1 });
}

const OBJECT_MODIFIED = 'the object has been modified; please apply your changes to the latest version and try again';

export function conflict(r: GroupResource, name: string, why: string = OBJECT_MODIFIED): StatusError {
  const message = `Operation cannot be fulfilled on ${resourceText(r)} "${name}": ${why}`;
  return new StatusError(409, 'Conflict', message, about(r, name));
}

export const expired = (message: string, metadata?: Readonly<Record<string, string>>): StatusError =>
  new StatusError(410, 'Expired', message, undefined, metadata);

export const tooManyRequests = (message: string, retryAfterSeconds: number, causes?: readonly StatusCause[]) =>
  new StatusError(429, 'TooManyRequests', message, {
    ...(causes === undefined ? {} : { causes }),
    ...(retryAfterSeconds > 0 ? { retryAfterSeconds } : {}),
  });

export const internalError = (message: string): StatusError =>
  new StatusError(500, 'InternalError', `Internal error occurred: ${message}`);

export const serviceUnavailable = (message: string): StatusError => new StatusError(503, 'ServiceUnavailable', message);
