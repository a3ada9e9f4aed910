// Errors of API calls: a Status the server sent, or a connection that failed. `reason` is what to act on
// (apimachinery pkg/api/errors).
import type { Status } from '../api/meta.ts';
import { AgentError, errnoOf, errorMessage } from '../core/errors.ts';

/** The server's answer to a failed call. `code` is its Status.reason, e.g. `NotFound`. */
export class ApiError extends AgentError {
  readonly httpStatus: number;
  readonly status: Status;
  /** How long the server asks to wait, s. */
  readonly retryAfterSeconds: number | undefined;

  constructor(status: Status, context = '', retryAfterSeconds?: number) {
    const httpStatus = status.code ?? 500;
    const message = status.message || `the server answered ${httpStatus}`;
    const hint = hintOf(httpStatus);
    super(context === '' ? message : `${context}: ${message}`, {
      code: status.reason || reasonOfHttpStatus(httpStatus),
      retryable: httpStatus === 429 || httpStatus >= 500,
      ...(hint === undefined ? {} : { hint }),
    });
    this.httpStatus = httpStatus;
    this.status = status;
    this.retryAfterSeconds = retryAfterSeconds ?? status.details?.retryAfterSeconds;
  }
}

const REASONS: Readonly<Record<number, string>> = {
  400: 'BadRequest',
  401: 'Unauthorized',
  403: 'Forbidden',
  404: 'NotFound',
  405: 'MethodNotAllowed',
  406: 'NotAcceptable',
  409: 'Conflict',
  410: 'Gone',
  413: 'RequestEntityTooLarge',
  415: 'UnsupportedMediaType',
  422: 'Invalid',
  429: 'TooManyRequests',
  503: 'ServiceUnavailable',
  504: 'Timeout',
};

/** The reason that stands for a bare HTTP status, when a proxy answers instead of the API server. */
export function reasonOfHttpStatus(httpStatus: number): string {
  return REASONS[httpStatus] ?? (httpStatus >= 500 ? 'InternalError' : 'Unknown');
}

function hintOf(httpStatus: number): string | undefined {
  if (httpStatus === 401) return 'check the credentials in the kubeconfig: the certificate or token may have expired';
  if (httpStatus === 403) return 'grant this user the permission the message names (RBAC)';
  return undefined;
}

/** A Status of this kind of failure, for answers that carry none. */
export function statusOf(httpStatus: number, message: string): Status {
  return {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message,
    reason: reasonOfHttpStatus(httpStatus),
    code: httpStatus,
  };
}

function hasReason(err: unknown, ...reasons: readonly string[]): err is ApiError {
  return err instanceof ApiError && reasons.includes(err.code);
}

export const isNotFound = (err: unknown): err is ApiError => hasReason(err, 'NotFound');
export const isAlreadyExists = (err: unknown): err is ApiError => hasReason(err, 'AlreadyExists');
/** The object changed meanwhile, or a precondition on uid or resourceVersion failed. */
export const isConflict = (err: unknown): err is ApiError => hasReason(err, 'Conflict');
/** The resourceVersion or continue token is too old: list again. */
export const isExpired = (err: unknown): err is ApiError => hasReason(err, 'Expired', 'Gone');
export const isForbidden = (err: unknown): err is ApiError => hasReason(err, 'Forbidden');
export const isUnauthorized = (err: unknown): err is ApiError => hasReason(err, 'Unauthorized');
export const isInvalid = (err: unknown): err is ApiError => hasReason(err, 'Invalid');
export const isBadRequest = (err: unknown): err is ApiError => hasReason(err, 'BadRequest');

/** True when a create was refused because its namespace is going away: nobody needs to hear of it. */
export function isNamespaceTerminating(err: unknown): err is ApiError {
  return isForbidden(err) && (err.status.details?.causes?.some((c) => c.reason === 'NamespaceTerminating') ?? false);
}

/** The AgentError for a call that got no answer: API_UNREACHABLE, API_TLS_FAILED, API_TIMEOUT or API_ABORTED. */
export function connectionError(cause: unknown, context: string): AgentError {
  if (cause instanceof AgentError) return cause;
  const { code, hint } = classify(cause);
  return new AgentError(`${context}: ${errorMessage(cause)}`, { code, cause, hint, retryable: code !== 'API_ABORTED' });
}

function classify(cause: unknown): { readonly code: string; readonly hint: string } {
  const name = cause instanceof Error ? cause.name : '';
  if (name === 'TimeoutError') return { code: 'API_TIMEOUT', hint: 'check that the API server answers in time' };
  if (name === 'AbortError') return { code: 'API_ABORTED', hint: 'the call was cancelled' };
  const code = cause instanceof Error && 'code' in cause ? String(cause.code) : '';
  if (errnoOf(cause) === undefined && /CERT|TLS|SSL|SIGNATURE/.test(code)) {
    return { code: 'API_TLS_FAILED', hint: 'check certificate-authority and server in the kubeconfig' };
  }
  return { code: 'API_UNREACHABLE', hint: 'check that the API server runs and that the kubeconfig names its address' };
}
