// Structured logs: pino, JSON lines on a file descriptor, one child per component. No transport threads: they cost
// 10 MB of RSS each; who wants klog's form instead hands in the destination of text-log.ts.
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
  const family = new LogFamily(opts.components ?? []);
  const root = pino(
    {
      onChild: (child) => family.add(child),
      level: opts.level,
      base: null,
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    destination,
  );
  families.set(root, family);
  return root;
}

/** Changes the level of what `createLogger` made and of all its children, but those that have one of their own. */
export function changeLevel(root: Logger, level: LogLevel): void {
  root.level = level;
  families.get(root)?.changeLevel(level);
}

/** Children take their level when they are made: to change it later, they have to be known. */
class LogFamily {
  readonly #rules: readonly { readonly matches: RegExp; readonly level: LogLevel }[];
  #children: WeakRef<Logger>[] = [];
  #tidyAt = 256;

  constructor(components: NonNullable<LogOptions['components']>) {
    this.#rules = components.map(({ pattern, level }) => ({ matches: globExpression(pattern), level }));
  }

  /** The first pattern that matches counts, as in klog's vmodule. */
  add(child: Logger): void {
    const component = String(child.bindings().component ?? '');
    const rule = this.#rules.find(({ matches }) => matches.test(component));
    if (rule !== undefined) {
      child.level = rule.level;
      return;
    }
    this.#children.push(new WeakRef(child));
    if (this.#children.length < this.#tidyAt) return;
    this.#children = this.#children.filter((ref) => ref.deref() !== undefined);
    this.#tidyAt = this.#children.length * 2 + 256;
  }

  changeLevel(level: LogLevel): void {
    for (const ref of this.#children) {
      const child = ref.deref();
      if (child !== undefined) child.level = level;
    }
  }
}

const families = new WeakMap<Logger, LogFamily>();

function globExpression(glob: string): RegExp {
  const escaped = glob.replace(/[.+^${}()|[\]\\]/g, '\\$&');
  return new RegExp(`^${escaped.replaceAll('*', '.*').replaceAll('?', '.')}$`);
}

/** A logger that writes nothing, for tests. */
export const silentLog: Logger = pino({ level: 'silent' });
