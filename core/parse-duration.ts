// Durations as Go reads them (time.ParseDuration): `1h30m`, `1.5s`, `-2ms`, `0`.

const UNIT_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  μs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};
const PATTERN = /^[+-]?(?:0|(?:(?:\d+(?:\.\d*)?|\.\d+)(?:ns|us|µs|μs|ms|s|m|h))+)$/;
/** Go keeps int64 nanoseconds: about 292 years. */
const MAX_MS = 2 ** 63 / 1e6;

/** Milliseconds, undefined when `text` is not a duration. */
export function parseGoDuration(text: string): number | undefined {
  if (text.length > 100 || !PATTERN.test(text)) return undefined;
  let ms = 0;
  for (const [, number, unit] of text.matchAll(/([\d.]+)([a-zµμ]+)/g)) ms += Number(number) * UNIT_MS[unit!]!;
  if (ms >= MAX_MS) return undefined;
  return text.startsWith('-') && ms !== 0 ? -ms : ms;
}
