// Structured logs: pino, JSON lines on a file descriptor, one child per component. No transport threads: they cost
// 10 MB of RSS each; a terminal is served by a small formatter in cmd/.
import { type DestinationStream, type Logger as PinoLogger, pino, stdTimeFunctions } from 'pino';

export type Logger = PinoLogger;

/** kubelet-style verbosity: --v=0..1 info, 2..3 info, 4..5 debug, 6 and more trace. */
export function levelOfVerbosity(v: number): 'info' | 'debug' | 'trace' {
  if (v >= 6) return 'trace';
  return v >= 4 ? 'debug' : 'info';
}

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';

export interface LogOptions {
  readonly level: LogLevel;
  /** Other levels for loggers of components (`child({ component })`) that match; `*` and `?` as in file names. */
  readonly components?: readonly { readonly pattern: string; readonly level: LogLevel }[];
  /** Where lines go; standard error when absent (standard output belongs to a command's answer). */
  readonly destination?: DestinationStream;
}

export function createLogger(opts: LogOptions): Logger {
  const destination = opts.destination ?? pino.destination({ dest: 2, sync: true });
  const components = opts.components ?? [];
  return pino(
    {
      ...(components.length === 0 ? {} : { onChild: levelsByComponent(components) }),
      level: opts.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
}

/** The first pattern that matches counts, as in klog's vmodule. */
function levelsByComponent(components: NonNullable<LogOptions['components']>): (child: Logger) => void {
  const rules = components.map(({ pattern, level }) => ({ matches: globExpression(pattern), level }));
  return (child) => {
    const component = String(child.bindings().component ?? '');
    const rule = rules.find(({ matches }) => matches.test(component));
    if (rule !== undefined) child.level = rule.level;
  };
}

function globExpression(glob: string): RegExp {
  const escaped = glob.replace(/[.+^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`);
}

/** A logger that writes nothing, for tests. */
export const silentLog: Logger = pino({ level: 'silent' });
