// Metrics of the process as such, with the names that every Prometheus client gives them, and what it was built from.
import { readdirSync, readFileSync } from 'node:fs';
import { Counter, Gauge, type Registry } from '../../core/metrics.ts';
import { pageBytes } from '../../host/page-size.ts';
import { parseMaxOpenFiles } from '../../host/process-facts.ts';
import { GATES } from '../config/feature-gates.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import { registerRegisteredMetrics } from './registered-metrics.ts';

/** Nothing is read before a scrape. */
export function processMetrics(registry: Registry): void {
  const registers = [registry];
  const gauge = (name: string, help: string, read: () => number) => {
    const made: Gauge = new Gauge({ name, help, registers, collect: () => made.set(read()) });
  };
  const cpu: Counter = new Counter({
    name: 'process_cpu_seconds_total',
    help: 'CPU time of this process, seconds',
    registers,
    collect: () => {
      const { user, system } = process.cpuUsage();
      cpu.reset();
      cpu.inc((user + system) / 1e6);
    },
  });
  const startSeconds = Date.now() / 1000 - process.uptime();
  gauge('process_start_time_seconds', 'When this process started, unix seconds', () => startSeconds);
  gauge('process_resident_memory_bytes', 'Memory of this process in RAM, bytes', () => process.memoryUsage.rss());
  gauge('process_virtual_memory_bytes', 'Address space of this process, bytes', virtualBytes);
  gauge('process_open_fds', 'Open files of this process', () => readdirSync('/proc/self/fd').length);
  gauge('process_max_fds', 'Open files that this process may have', () => {
    return parseMaxOpenFiles(readFileSync('/proc/self/limits', 'utf8')) ?? Number.POSITIVE_INFINITY;
  });
}

/** First field of /proc/self/statm, in pages. */
function virtualBytes(): number {
  return Number.parseInt(readFileSync('/proc/self/statm', 'utf8'), 10) * pageBytes();
}

/** `gates` as they are in effect, by name. */
export function buildMetrics(registry: Registry, gates: ReadonlyMap<string, boolean>): void {
  registerRegisteredMetrics(registry);
  const [major = '', minor = ''] = KUBERNETES_VERSION.slice(1).split('.');
  const build = new Gauge({
    name: 'kubernetes_build_info',
    help: 'What this is built from; the value is 1',
    labelNames: [
      'major',
      'minor',
      'git_version',
      'git_commit',
      'git_tree_state',
      'build_date',
      'go_version',
      'compiler',
      'platform',
    ],
    registers: [registry],
  });
  build.set(
    {
      major,
      minor,
      git_version: KUBERNETES_VERSION,
      git_commit: '',
      git_tree_state: '',
      build_date: '',
      go_version: '', // not made with Go
      compiler: `node ${process.version}`,
      platform: `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`,
    },
    1,
  );
  const features: Gauge<'name' | 'stage'> = new Gauge({
    name: 'kubernetes_feature_enabled',
    help: '1 when the feature gate is on, else 0',
    labelNames: ['name', 'stage'],
    registers: [registry],
    collect: () => {
      for (const [name, { stage }] of GATES) {
        features.set({ name, stage: stage === 'GA' ? '' : stage.toUpperCase() }, gates.get(name) === true ? 1 : 0);
      }
    },
  });
}
