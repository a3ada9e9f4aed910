// Amounts of CPU in the kernel's words. Pure. After pkg/kubelet/cm/helpers_linux.go MilliCPUToShares, MilliCPUToQuota.

/** What the kernel makes of less. */
export const MIN_SHARES = 2;
const MAX_SHARES = 262_144;
const MIN_QUOTA_US = 1000;

/** The weight against others when there is not enough: 1000 → 1024; nothing asked for is the least there is. */
export function cpuShares(millis: number): number {
  return Math.min(MAX_SHARES, Math.max(MIN_SHARES, Math.trunc((millis * 1024) / 1000)));
}

/** µs of CPU time per period; 0 is no limit. */
export function cpuQuotaUs(millis: number, periodUs: number): number {
  return millis === 0 ? 0 : Math.max(MIN_QUOTA_US, Math.trunc((millis * periodUs) / 1000));
}
