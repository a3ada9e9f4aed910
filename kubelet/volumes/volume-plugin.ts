// Upstream's names of the plugins that serve volumes, for metrics.
import type { Volume } from '../../api/pod.ts';

const PLUGINS: readonly (readonly [field: keyof Volume, plugin: string])[] = [
  ['configMap', 'kubernetes.io/configmap'],
  ['secret', 'kubernetes.io/secret'],
  ['projected', 'kubernetes.io/projected'],
  ['downwardAPI', 'kubernetes.io/downward-api'],
  ['emptyDir', 'kubernetes.io/empty-dir'],
  ['hostPath', 'kubernetes.io/host-path'],
  ['image', 'kubernetes.io/image'],
];

/** Pure. A claim may be a local volume too, but that only its PersistentVolume tells. */
export function volumePlugin(volume: Volume): string {
  return PLUGINS.find(([field]) => volume[field] !== undefined)?.[1] ?? 'kubernetes.io/csi';
}
