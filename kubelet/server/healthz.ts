// /healthz as Kubernetes components answer it: `ok`, or one line per check. After apiserver pkg/server/healthz.

export interface HealthCheck {
  readonly name: string;
  /** Why it is not well; undefined while it is. */
  readonly error: () => string | undefined;
}

export const pingCheck: HealthCheck = { name: 'ping', error: () => undefined };

/** Lines of the log are written before the call that makes them returns: there is nothing that could wait too long. */
export const logCheck: HealthCheck = { name: 'log', error: () => undefined };

export interface HealthAnswer {
  readonly code: number;
  readonly text: string;
}

/** All checks but those that `?exclude=` names. */
export function answerHealthz(checks: readonly HealthCheck[], query: URLSearchParams): HealthAnswer {
  const excluded = new Set(query.getAll('exclude'));
  const lines: string[] = [];
  let failed = false;
  for (const { name, error } of checks) {
    if (excluded.delete(name)) {
      lines.push(`[+]${name} excluded: ok`);
    } else if (error() === undefined) {
      lines.push(`[+]${name} ok`);
    } else {
      lines.push(`[-]${name} failed: reason withheld`);
      failed = true;
    }
  }
  if (excluded.size > 0) {
    const names = [...excluded].map((n) => JSON.stringify(n)).join(', ');
    lines.push(`warn: some health checks cannot be excluded: no matches for ${names}`);
  }
  if (failed) return { code: 500, text: `${lines.join('\n')}\nhealthz check failed\n` };
  if (!query.has('verbose')) return { code: 200, text: 'ok' };
  return { code: 200, text: `${lines.join('\n')}\nhealthz check passed\n` };
}

/** One check by its name, undefined when there is none such. */
export function answerCheck(checks: readonly HealthCheck[], name: string): HealthAnswer | undefined {
  const check = checks.find((c) => c.name === name);
  if (check === undefined) return undefined;
  const error = check.error();
  return error === undefined ? { code: 200, text: 'ok' } : { code: 500, text: `internal server error: ${error}\n` };
}
