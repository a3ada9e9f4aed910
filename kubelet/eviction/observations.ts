// What is left of each resource that a threshold can be about, read from what the node uses now.
import { quantityOf } from '../../api/quantity.ts';
import type { FsUse, ImageFsUse, UsageSource } from '../stats/usage.ts';
import type { Signal } from './signals.ts';

export interface Observation {
  /** Bytes, inodes or processes. */
  readonly available: number;
  readonly capacity: number;
}

export type Observations = ReadonlyMap<Signal, Observation>;

export type ObservedUse = Pick<UsageSource, 'nodeMemory' | 'allPodsMemory' | 'nodeProcesses' | 'nodeFs' | 'imageFs'>;

export interface ObserveOptions {
  /** Only these: each costs a look at the kernel. */
  readonly signals: ReadonlySet<Signal>;
  /** How old what the runtime says about its file system may be, ms. */
  readonly maxAgeMs: number;
  /** Of a signal that cannot be read; it is left out. */
  readonly onFailure: (what: string, err: unknown) => void;
}

/** Never throws: what cannot be read gives no observation, and a threshold without one is not met. */
export async function observe(use: ObservedUse, opts: ObserveOptions): Promise<Observations> {
  const found = new Map<Signal, Observation>();
  const wants = (prefix: string) => [...opts.signals].some((s) => s.startsWith(prefix));
  const attempt = async (what: string, read: () => void | Promise<void>) => {
    try {
      await read();
    } catch (err) {
      opts.onFailure(what, err);
    }
  };
  if (wants('memory.')) await attempt('memory', () => put(found, 'memory.available', memory(use.nodeMemory())));
  if (wants('allocatableMemory.')) {
    await attempt('memory of pods', () => put(found, 'allocatableMemory.available', memory(use.allPodsMemory())));
  }
  if (wants('pid.')) {
    await attempt('processes', () => {
      const { max, current } = use.nodeProcesses();
      put(found, 'pid.available', { available: max - current, capacity: max });
    });
  }
  if (wants('nodefs.') || wants('imagefs.')) {
    await attempt('nodefs', async () => putFs(found, 'nodefs', await use.nodeFs()));
  }
  if (wants('imagefs.') || wants('containerfs.')) {
    await attempt('imagefs', async () => putImageFs(found, await use.imageFs(opts.maxAgeMs)));
  }
  return found;
}

function memory(use: ReturnType<ObservedUse['allPodsMemory']>): Observation | undefined {
  if (use?.availableBytes === undefined) return undefined;
  return { available: use.availableBytes, capacity: use.availableBytes + use.workingSetBytes };
}

/** On the node's own file system there is as much left as was just seen there, which may be newer. */
function putImageFs(found: Map<Signal, Observation>, { imageFs, containerFs, isDedicated }: ImageFsUse): void {
  putFs(found, 'imagefs', imageFs);
  putFs(found, 'containerfs', containerFs);
  for (const figure of ['available', 'inodesFree'] as const) {
    const seen = found.get(`nodefs.${figure}`);
    if (isDedicated || seen === undefined) continue;
    put(found, `imagefs.${figure}`, seen);
    put(found, `containerfs.${figure}`, seen);
  }
}

function putFs(found: Map<Signal, Observation>, name: 'nodefs' | 'imagefs' | 'containerfs', fs: FsUse): void {
  put(found, `${name}.available`, { available: fs.availableBytes, capacity: fs.capacityBytes });
  put(found, `${name}.inodesFree`, { available: fs.inodesFree, capacity: fs.inodes });
}

function put(found: Map<Signal, Observation>, signal: Signal, observation: Observation | undefined): void {
  if (observation !== undefined) found.set(signal, observation);
}

/** Of what is left, as it stands in messages. */
export function availableQuantity(signal: Signal, available: number) {
  const isCount = signal.endsWith('.inodesFree') || signal === 'pid.available';
  return quantityOf(available, isCount ? 'DecimalSI' : 'BinarySI');
}
