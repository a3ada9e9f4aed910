// /metrics/resource: CPU, memory and swap of containers, pods and the node, as metrics-server reads them. Pure.
// After pkg/kubelet/metrics/collectors/resource_metrics.go.
import type { Row, UseSample } from '../stats/row.ts';
import type { Sample } from '../stats/sampler.ts';
import { labelText, MetricsText, type MetricType } from './text.ts';

interface Figure {
  /** What stands behind `container_`, `pod_` or `node_`. */
  readonly name: string;
  readonly type: MetricType;
  readonly help: string;
  readonly value: (use: UseSample) => number;
}

const FIGURES: readonly Figure[] = [
  {
    name: 'cpu_usage_seconds_total',
    type: 'counter',
    help: 'CPU time used since the start, in core-seconds',
    value: (use) => use.cpuNs / 1e9,
  },
  {
    name: 'memory_working_set_bytes',
    type: 'gauge',
    help: 'Memory that is in use and cannot be taken back easily, in bytes',
    value: (use) => use.memory.workingSetBytes,
  },
  {
    name: 'swap_usage_bytes',
    type: 'gauge',
    help: 'Swap in use, in bytes',
    value: (use) => use.memory.swapBytes,
  },
];

/** Undefined: the figures could not be read. */
export function renderResourceMetrics(sample: Sample | undefined): string {
  const text = new MetricsText();
  if (sample !== undefined) {
    const containers = sample.pods.flatMap(({ target, containers: rows }) =>
      rows.map((c) => ({ ...c, labels: podLabels(target, { container: c.target.name }) })),
    );
    writeFigures(text, 'container', 'of the container', containers);
    text.family('container_start_time_seconds', 'gauge', 'When the container was made, unix seconds');
    for (const { labels, target } of containers) text.add(labels, target.createdAtMs / 1000);
    text.family('container_swap_limit_bytes', 'gauge', 'Swap that the container may use, in bytes');
    for (const { labels, row } of containers) {
      const limit = row.spec?.swapLimitBytes;
      if (limit !== undefined) text.add(labels, Math.max(limit, row.use?.memory.swapBytes ?? 0), row.use?.atMs);
    }
    writeFigures(text, 'node', 'of the node', [{ labels: '', row: sample.root }]);
    const pods = sample.pods.map(({ target, row }) => ({ labels: podLabels(target, {}), row }));
    writeFigures(text, 'pod', 'of the pod', pods);
  }
  text.family('resource_scrape_error', 'gauge', '1 when the figures could not be read, else 0');
  text.add('', sample === undefined ? 1 : 0);
  return text.toString();
}

function writeFigures(
  text: MetricsText,
  prefix: string,
  ofWhat: string,
  rows: readonly { readonly labels: string; readonly row: Row | undefined }[],
): void {
  for (const { name, type, help, value } of FIGURES) {
    text.family(`${prefix}_${name}`, type, `${help}, ${ofWhat}`);
    for (const { labels, row } of rows) {
      const use = row?.use;
      if (use !== undefined) text.add(labels, value(use), use.atMs);
    }
  }
}

function podLabels({ name, namespace }: { name: string; namespace: string }, more: Record<string, string>): string {
  return labelText({ ...more, namespace, pod: name });
}
