// The one error class. `code` is stable and listed in docs/errors.md when a user can meet it; `hint` says what to do.

export interface AgentErrorOptions {
  readonly code: string;
  readonly cause?: unknown;
  /** True when the same call may succeed later without anybody changing anything. */
  readonly retryable?: boolean;
  /** What a person can do about it, as one clause. */
  readonly hint?: string;
  readonly details?: Readonly<Record<string, unknown>>;
}

export class AgentError extends Error {
  override readonly name = 'AgentError';
  readonly code: string;
  readonly retryable: boolean;
  readonly hint: string | undefined;
  readonly details: Readonly<Record<string, unknown>> | undefined;

  constructor(message: string, opts: AgentErrorOptions) {
    super(message, opts.cause === undefined ? undefined : { cause: opts.cause });
    this.code = opts.code;
    this.retryable = opts.retryable ?? false;
    this.hint = opts.hint;
    this.details = opts.details;
  }
}

/** True for an AgentError, with this code when one is given. */
export function isAgentError(err: unknown, code?: string): err is AgentError {
  return err instanceof AgentError && (code === undefined || err.code === code);
}

/** The message of anything that was thrown. */
export function errorMessage(err: unknown): string {
  return err instanceof Error ? err.message : String(err);
}

/** One message as it is; several as `[m1, m2]` without repeats, as Go's error aggregates print. */
export function aggregateMessage(messages: readonly string[]): string {
  const unique = [...new Set(messages)];
  return unique.length === 1 ? unique[0]! : `[${unique.join(', ')}]`;
}

/** The errno name (`ENOENT`, …) of a Node.js system error, else undefined. */
export function errnoOf(err: unknown): string | undefined {
  const code = err instanceof Error ? (err as NodeJS.ErrnoException).code : undefined;
  return typeof code === 'string' && /^E[A-Z0-9]+$/.test(code) ? code : undefined;
}
