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
  ['nfs', 'kubernetes.io/nfs'],
];

/** As metrics name the volumes of a CSI driver. */
export function csiPluginName(driver: string): string {
  return `kubernetes.io/csi:${driver}`;
}

/** Pure. What serves a claim only its PersistentVolume tells; mostly that is some CSI driver. */
export function volumePlugin(volume: Volume): string {
  if (volume.csi !== undefined) return csiPluginName(volume.csi.driver);
  return PLUGINS.find(([field]) => volume[field] !== undefined)?.[1] ?? 'kubernetes.io/csi';
}
