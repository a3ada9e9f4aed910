// The network configuration in etcd: awaited at the start, and looked at when it changes.
import { Backoff } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import { errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { type NetConf, parseNetConf } from '../net-conf.ts';
import type { EtcdKv } from './kv.ts';

export function netConfKey(prefix: string): string {
  return `${prefix}/config`;
}

/** Waits for the configuration in etcd; undefined when `signal` aborts first. A faulty one is told and awaited anew. */
export async function waitForNetConf(
  kv: EtcdKv,
  prefix: string,
  deps: { readonly clock: Clock; readonly log: Logger },
  signal: AbortSignal,
): Promise<NetConf | undefined> {
  const backoff = new Backoff({ initialMs: 1_000, maxMs: 30_000 });
  while (!signal.aborted) {
    try {
      const entry = await kv.get(netConfKey(prefix), signal);
      if (entry !== undefined) return parseNetConf(entry.value, netConfKey(prefix));
      deps.log.warn({ key: netConfKey(prefix) }, 'there is no network configuration in etcd yet');
    } catch (err) {
      if (signal.aborted) return undefined;
      deps.log.error({ err }, 'cannot read the network configuration from etcd, will retry');
    }
    await deps.clock.sleep(backoff.next(), signal);
  }
  return undefined;
}

/** Another configuration is taken at the next start: changing the network under running pods would cut them off. */
export function tellNetConfChange(text: string, prefix: string, running: NetConf, log: Logger): void {
  try {
    if (showConf(parseNetConf(text, netConfKey(prefix))) === showConf(running)) return;
    log.error('the network configuration in etcd changed: this node goes on with the old one until it restarts');
  } catch (err) {
    log.error({ reason: errorMessage(err) }, 'the network configuration in etcd cannot be used, the old one stays');
  }
}

function showConf(conf: NetConf): string {
  return JSON.stringify(conf, (_key, value) => (typeof value === 'bigint' ? String(value) : value));
}
