// Names under in-addr.arpa and ip6.arpa (RFC 1035 section 3.5, RFC 3596 section 2.5).
import { formatIp, isIp, parseIp } from '../../api/cidr.ts';

/** The address that a whole reverse name stands for, in canonical text; undefined for other names and for parts. */
export function addressOfReverseName(labels: readonly string[]): string | undefined {
  const [kind, arpa] = labels.slice(-2);
  if (arpa !== 'arpa') return undefined;
  const parts = labels.slice(0, -2).reverse();
  if (kind === 'in-addr' && parts.length === 4) return canonical(parts.join('.'));
  if (kind !== 'ip6' || parts.length !== 32 || !parts.every((p) => /^[0-9a-f]$/.test(p))) return undefined;
  return canonical(parts.join('').replace(/(.{4})(?!$)/g, '$1:'));
}

function canonical(text: string): string | undefined {
  return isIp(text) ? formatIp(parseIp(text)) : undefined;
}
