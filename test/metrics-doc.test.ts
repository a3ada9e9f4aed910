import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { documentedMetrics, servedMetrics } from './harness/metrics-doc.ts';

const ROOT = path.resolve(import.meta.dirname, '..');
const ROOMS = ['cmd', 'client', 'cni', 'core', 'cri', 'host', 'kubelet', 'probes', 'proxy'];
/** A string of its own that looks like a metric's name. */
const METRIC =
  /'((?:kubelet|kubeproxy|rest_client|storage|volume_manager|csi|process|nodejs|prober|kubernetes|machine|container|resource|cadvisor)_[a-z0-9_]+_(?:total|seconds|bytes|count|errors|info|enabled|name|pods|containers|containers_total|evictions|resources|version|provider|requests|cores|sockets|failcnt|rss|cache|swap|volumes|abnormal|used|free|inodes))'/g;

test('docs/metrics.md names every metric of the agent', async () => {
  const doc = documentedMetrics(await readFile(path.join(ROOT, 'docs/metrics.md'), 'utf8'));
  const known = new Set([...doc.values()].flatMap((names) => [...names.keys()]));
  const files = (await Promise.all(ROOMS.map((room) => sources(path.join(ROOT, room))))).flat();
  const found = new Set<string>();
  for (const file of files) {
    const text = await readFile(file, 'utf8');
    if (!/Counter\(|Gauge\(|Histogram\(|counter\(|gauge\(/.test(text)) continue;
    for (const [, name] of text.matchAll(METRIC)) found.add(name!);
  }
  expect(found.size).toBeGreaterThan(80);
  expect([...found].filter((name) => !known.has(name))).toEqual([]);
});

async function sources(dir: string): Promise<string[]> {
  const entries = await readdir(dir, { recursive: true });
  return entries.filter((f) => f.endsWith('.ts') && !/test\.ts$|fake-/.test(f)).map((f) => path.join(dir, f));
}

test('a family without samples is not served; a table row without a word is always there', () => {
  const text = '# HELP a x\n# TYPE a counter\n\n# TYPE b histogram\nb_bucket{le="1"} 1\nb_count 1\n';
  expect([...servedMetrics(text)]).toEqual(['b']);
  const doc = documentedMetrics(
    '## `/metrics`\n\n| name | type | labels | there |\n|---|---|---|---|\n| `a` | c | x | later |\n| `b` | h |  |  |\n',
  );
  expect(doc.get('/metrics')).toEqual(
    new Map([
      ['a', 'later'],
      ['b', ''],
    ]),
  );
});
