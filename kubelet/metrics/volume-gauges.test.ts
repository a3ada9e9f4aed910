import { expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { Registry } from '../../core/metrics.ts';
import { registerVolumeGauges } from './volume-gauges.ts';

const POD: Pod = {
  metadata: { uid: 'u', name: 'p', namespace: 'n' },
  spec: {
    containers: [
      {
        name: 'c',
        volumeMounts: ['data', 'db', 'inline'].map((name) => ({ name, mountPath: `/${name}` })),
      },
    ],
    volumes: [
      { name: 'data', emptyDir: {} },
      { name: 'db', persistentVolumeClaim: { claimName: 'claim' } },
      { name: 'inline', csi: { driver: 'other.test' } },
      { name: 'unused', emptyDir: {} },
    ],
  },
};

async function scraped(volumes: readonly object[]): Promise<string> {
  const registry = new Registry();
  const known = { atMs: 0, volumes } as never;
  registerVolumeGauges(registry, {
    pods: () => [POD],
    volumes: async () => () => known,
    mounted: () =>
      new Map([
        ['db', { plugin: 'kubernetes.io/csi:dir.test' }],
        ['data', {}],
      ]),
  });
  return await registry.metrics();
}

test('volumes that containers use are counted by who serves them, wanted and there', async () => {
  const text = await scraped([]);
  const counts = [...text.matchAll(/^volume_manager_total_volumes\{plugin_name="(.*)",state="(\w+)_state.*\} (\d)$/gm)];
  expect(counts.map(([, plugin, state, n]) => `${plugin} ${state} ${n}`).sort()).toEqual([
    'kubernetes.io/csi:dir.test actual 1',
    'kubernetes.io/csi:dir.test desired 1',
    'kubernetes.io/csi:other.test desired 1',
    'kubernetes.io/empty-dir actual 1',
    'kubernetes.io/empty-dir desired 1',
  ]);
});

test('a claim has its six figures', async () => {
  const figures = { availableBytes: 1, usedBytes: 2, inodes: 0, inodesFree: 0, inodesUsed: 0 };
  const claim = { name: 'claim', namespace: 'n' };
  const text = await scraped([{ name: 'db', claim, capacityBytes: 3, ...figures }]);
  expect(text).toContain('kubelet_volume_stats_capacity_bytes{namespace="n",persistentvolumeclaim="claim"} 3\n');
  expect(text).toContain('kubelet_volume_stats_inodes{namespace="n",persistentvolumeclaim="claim"} 0\n');
});
