// How many connections the kernel remembers, and for how long: set once at the start, after kube-proxy's
// pkg/proxy/conntrack/sysctls.go. What the kernel refuses is told and left: in a network namespace of its own the size of
// the table is the host's, and a smaller table is no reason not to serve. (Upstream ends.)
import { errorMessage } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { Sysctl } from '../host/sysctl.ts';

/** Times in ms; 0 leaves the kernel's own value. */
export interface ConntrackSettings {
  /** Connections for each CPU; 0 leaves the size of the table alone. */
  readonly maxPerCore: number;
  readonly min: number;
  readonly tcpEstablishedTimeoutMs: number;
  readonly tcpCloseWaitTimeoutMs: number;
  readonly tcpBeLiberal: boolean;
  readonly udpTimeoutMs: number;
  readonly udpStreamTimeoutMs: number;
}

export interface ConntrackDeps {
  readonly cpus: number;
  readonly sysctl: Sysctl;
  /** Parameters of the module nf_conntrack, by name. */
  readonly moduleParameters: Sysctl;
  readonly log: Logger;
}

/** More per CPU than this is a mistake on machines with very many of them (upstream's bound). */
const LARGEST_SCALED = 1_048_576;
/** Buckets of the hash table: each holds so many connections when the table is full. */
const ENTRIES_PER_BUCKET = 4;

/** Pure: entries of the table; undefined leaves it alone. */
export function conntrackMax(
  settings: Pick<ConntrackSettings, 'maxPerCore' | 'min'>,
  cpus: number,
): number | undefined {
  if (settings.maxPerCore <= 0) return undefined;
  const scaled = Math.min(settings.maxPerCore * cpus, LARGEST_SCALED);
  return Math.max(scaled, settings.min);
}

/**
 * Idempotent. Never throws: each refusal is logged. False when the kernel tracks no connections: as a module, that comes
 * with the first rule which asks for it.
 */
export async function setConntrackSysctls(settings: ConntrackSettings, deps: ConntrackDeps): Promise<boolean> {
  const { sysctl, moduleParameters, log } = deps;
  const set = async (to: Sysctl, name: string, value: number | undefined): Promise<void> => {
    if (value === undefined || value <= 0) return;
    try {
      await to.set(name, String(value));
    } catch (err) {
      log.info({ name, value, cause: errorMessage(err) }, 'a limit of connection tracking is left as it is');
    }
  };
  const parameter = (name: string) => `net/netfilter/nf_conntrack_${name}`;
  if ((await sysctl.read(parameter('max'))) === undefined) return false;
  const seconds = (ms: number) => Math.round(ms / 1000);
  const max = conntrackMax(settings, deps.cpus);
  await set(sysctl, parameter('max'), max);
  if (max !== undefined) {
    const wanted = Math.floor(max / ENTRIES_PER_BUCKET);
    const present = Number(await moduleParameters.read('hashsize').catch(() => undefined));
    if (present < wanted) await set(moduleParameters, 'hashsize', wanted); // not when there is none: NaN
  }
  await set(sysctl, parameter('tcp_timeout_established'), seconds(settings.tcpEstablishedTimeoutMs));
  await set(sysctl, parameter('tcp_timeout_close_wait'), seconds(settings.tcpCloseWaitTimeoutMs));
  await set(sysctl, parameter('tcp_be_liberal'), settings.tcpBeLiberal ? 1 : undefined);
  await set(sysctl, parameter('udp_timeout'), seconds(settings.udpTimeoutMs));
  await set(sysctl, parameter('udp_timeout_stream'), seconds(settings.udpStreamTimeoutMs));
  return true;
}
