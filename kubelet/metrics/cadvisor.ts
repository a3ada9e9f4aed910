// The whole answer of /metrics/cadvisor: containers, the machine, its disks.
import path from 'node:path';
import { diskCounters, mountSourceOf } from '../../host/block-devices.ts';
import { fileSystemFigures } from '../../host/file-system-use.ts';
import type { Sample } from '../stats/sampler.ts';
import { writeContainerMetrics } from './cadvisor-metrics.ts';
import { cadvisorRows } from './cadvisor-rows.ts';
import { type MachineFigures, type NodeDisks, writeDiskMetrics, writeMachineMetrics } from './machine-metrics.ts';
import { MetricsText } from './text.ts';

export interface CadvisorFacts {
  readonly machine: () => Promise<MachineFigures>;
  /** The image of sandboxes, '' when the runtime does not say. */
  readonly pauseImage: () => Promise<string>;
  /** Directories whose file systems belong to the node: its own, the runtime's. */
  readonly directories: () => Promise<readonly string[]>;
}

/** `sample` undefined: figures could not be read. Never throws for it. */
export async function renderCadvisorMetrics(sample: Sample | undefined, facts: CadvisorFacts): Promise<string> {
  const [machine, pauseImage, disks] = await Promise.all([facts.machine(), facts.pauseImage(), nodeDisks(facts)]);
  const text = new MetricsText();
  writeMachineMetrics(text, machine);
  const rows = sample === undefined ? [] : cadvisorRows(sample, pauseImage);
  writeContainerMetrics(text, rows);
  const root = rows.find((r) => r.isRoot);
  if (root !== undefined) writeDiskMetrics(text, root.labels, disks, sample?.atMs ?? 0);
  text.family('container_scrape_error', 'gauge', '1 when containers could not be looked at, else 0');
  text.add('', sample === undefined ? 1 : 0);
  return text.toString();
}

async function nodeDisks({ directories }: CadvisorFacts): Promise<NodeDisks> {
  const fileSystems: Map<string, Awaited<ReturnType<typeof fileSystemFigures>>> = new Map();
  for (const dir of await directories()) {
    const device = await mountSourceOf(path.resolve(dir));
    if (fileSystems.has(device)) continue;
    const figures = await fileSystemFigures(dir).catch(() => undefined); // the runtime may see what is not there for us
    if (figures !== undefined) fileSystems.set(device, figures);
  }
  return { fileSystems, counters: await diskCounters() };
}
