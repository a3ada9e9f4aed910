// Counters of network interfaces, by network namespace. After cadvisor's libcontainer handler: what only this host's
// containers hang on is left out.
import { readFileSync } from 'node:fs';

export interface InterfaceStats {
  readonly name: string;
  readonly rxBytes: number;
  readonly rxPackets: number;
  readonly rxErrors: number;
  readonly rxDropped: number;
  readonly txBytes: number;
  readonly txPackets: number;
  readonly txErrors: number;
  readonly txDropped: number;
}

const IGNORED = /^(lo|veth|docker|nerdctl)/i;

/** Interfaces as the process sees them; `self` is this one. Undefined when it has ended. */
export function networkStatsOf(pid: number | 'self'): InterfaceStats[] | undefined {
  try {
    return parseNetDev(readFileSync(`/proc/${pid}/net/dev`, 'utf8'));
  } catch {
    return undefined; // ENOENT or ESRCH, as the process may end at any time
  }
}

/** Pure: /proc/net/dev (proc(5)), whose columns are eight of what was received and eight of what was sent. */
export function parseNetDev(text: string): InterfaceStats[] {
  const found: InterfaceStats[] = [];
  for (const line of text.split('\n')) {
    const colon = line.indexOf(':');
    if (colon < 0) continue;
    const name = line.slice(0, colon).trim();
    if (IGNORED.test(name)) continue;
    const v = line
      .slice(colon + 1)
      .trim()
      .split(/\s+/)
      .map(Number);
    if (v.length < 12) continue;
    found.push({
      name,
      rxBytes: v[0]!,
      rxPackets: v[1]!,
      rxErrors: v[2]!,
      rxDropped: v[3]!,
      txBytes: v[8]!,
      txPackets: v[9]!,
      txErrors: v[10]!,
      txDropped: v[11]!,
    });
  }
  return found;
}
