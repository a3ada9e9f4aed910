// Durations as Go prints them (time.Duration.String): the form in which Kubernetes messages carry them.

/** E.g. 80,000 → `1m20s`, 1,500 → `1.5s`, 250 → `250ms`, 0 → `0s`. Finer than a microsecond is cut. */
export function formatGoDuration(ms: number): string {
  const sign = ms < 0 ? '-' : '';
  const us = Math.trunc(Math.abs(ms) * 1000 + 1e-6); // 1.001 * 1000 is a little less than 1001
  if (us === 0) return '0s';
  if (us < 1000) return `${sign}${us}µs`;
  if (us < 1_000_000) return `${sign}${us / 1000}ms`;
  const hours = Math.trunc(us / 3_600_000_000);
  const minutes = Math.trunc(us / 60_000_000) % 60;
  const seconds = (us % 60_000_000) / 1_000_000;
  const h = hours > 0 ? `${hours}h` : '';
  const m = hours > 0 || minutes > 0 ? `${minutes}m` : '';
  return `${sign}${h}${m}${seconds}s`;
}
