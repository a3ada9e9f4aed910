// What an agent asks of others, read off its own metrics and the kernel's account of its writes.
import { readFile } from 'node:fs/promises';
import type { RestClient } from '../../client/rest.ts';
import { NODE } from '../pod-start/bench-lab.ts';
import { cpuSecondsOf } from '../process-facts.ts';

export interface Traffic {
  /** Requests to the API server by method. */
  readonly api: ReadonlyMap<string, number>;
  /** Calls of the runtime by upstream's name of the operation. */
  readonly cri: ReadonlyMap<string, number>;
  /** Handed to a block device's file system, bytes. */
  readonly diskBytes: number;
  readonly cpuSeconds: number;
  /** How late timers were since the time before that somebody asked, 99th percentile, ms. */
  readonly loopP99Ms: number;
}

export async function readTraffic(client: RestClient, pid: number): Promise<Traffic> {
  const { body } = await client.raw('GET', `/api/v1/nodes/${NODE}/proxy/metrics`);
  const text = body.toString('utf8');
  const io = await readFile(`/proc/${pid}/io`, 'utf8');
  return {
    api: counters(text, 'rest_client_requests_total', 'method'),
    cri: counters(text, 'kubelet_runtime_operations_total', 'operation_type'),
    diskBytes: Number(/^write_bytes: (\d+)/m.exec(io)?.[1]),
    cpuSeconds: await cpuSecondsOf(pid),
    loopP99Ms: Number(/^nodejs_eventloop_lag_p99_seconds (\S+)/m.exec(text)?.[1]) * 1000,
  };
}

/** The samples of one metric, summed by one of its labels. Pure. */
export function counters(text: string, metric: string, label: string): Map<string, number> {
  const sums = new Map<string, number>();
  for (const line of text.split('\n')) {
    if (!line.startsWith(`${metric}{`)) continue;
    const name = new RegExp(`[{,]${label}="([^"]*)"`).exec(line)?.[1] ?? '';
    sums.set(name, (sums.get(name) ?? 0) + Number(line.slice(line.lastIndexOf(' ') + 1)));
  }
  return sums;
}

/** What came to each counter, without those that stood still. */
export function increase(before: ReadonlyMap<string, number>, after: ReadonlyMap<string, number>): Map<string, number> {
  const all = [...after].map(([name, n]): [string, number] => [name, n - (before.get(name) ?? 0)]);
  return new Map(all.filter(([, n]) => n > 0));
}
