// Structured logs: pino, JSON lines on a file descriptor, one child per component. No transport threads: they cost
// 10 MB of RSS each; a terminal is served by a small formatter in cmd/.
import { type DestinationStream, type Logger as PinoLogger, pino, stdTimeFunctions } from 'pino';

export type Logger = PinoLogger;

/** kubelet-style verbosity: --v=0..1 info, 2..3 info, 4..5 debug, 6 and more trace. */
export function levelOfVerbosity(v: number): 'info' | 'debug' | 'trace' {
  if (v >= 6) return 'trace';
  return v >= 4 ? 'debug' : 'info';
}

export interface LogOptions {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';
  /** Where lines go; standard error when absent (standard output belongs to a command's answer). */
  readonly destination?: DestinationStream;
}

export function createLogger(opts: LogOptions): Logger {
  const destination = opts.destination ?? pino.destination({ dest: 2, sync: true });
  return pino(
    {
      level: opts.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
}

/** A logger that writes nothing, for tests. */
export const silentLog: Logger = pino({ level: 'silent' });
