// Gauges of volumes and logs: how full claims are, how many volumes there are (pkg/kubelet/metrics/collectors,
// pkg/kubelet/volumemanager/metrics).
import type { Pod } from '../../api/pod.ts';
import { Gauge, type Registry } from '../../core/metrics.ts';
import type { PodVolumes, VolumeFigures } from '../stats/volume-meter.ts';
import { usedVolumes } from '../volumes/pod-volumes.ts';
import type { MountedVolume } from '../volumes/volume-manager.ts';
import { volumePlugin } from '../volumes/volume-plugin.ts';

export interface VolumeGaugesDeps {
  readonly pods: () => readonly Pod[];
  /** Figures of the pods' volumes, as old as they may be. */
  readonly volumes: (pods: readonly Pod[]) => Promise<(podUid: string) => PodVolumes | undefined>;
  /** Volumes that are mounted for the pod, by name. */
  readonly mounted: (podUid: string) => ReadonlyMap<string, Pick<MountedVolume, 'plugin'>> | undefined;
}

const CLAIM_FIGURES = [
  ['kubelet_volume_stats_capacity_bytes', 'Size of the volume, bytes', 'capacityBytes'],
  ['kubelet_volume_stats_available_bytes', 'Bytes left on the volume', 'availableBytes'],
  ['kubelet_volume_stats_used_bytes', 'Bytes in use on the volume', 'usedBytes'],
  ['kubelet_volume_stats_inodes', 'Inodes of the volume', 'inodes'],
  ['kubelet_volume_stats_inodes_free', 'Inodes left on the volume', 'inodesFree'],
  ['kubelet_volume_stats_inodes_used', 'Inodes in use on the volume', 'inodesUsed'],
] as const;

/** Nothing is looked at before a scrape, and only where a pod has a claim. */
export function registerVolumeGauges(registry: Registry, deps: VolumeGaugesDeps): void {
  const registers = [registry];
  const labelNames = ['namespace', 'persistentvolumeclaim'] as const;
  let asked: Promise<readonly VolumeFigures[]> | undefined;
  // The gauges of one scrape are collected within one turn of the event loop, and share one answer.
  const claims = () => {
    if (asked === undefined) {
      asked = claimsOf(deps);
      queueMicrotask(() => {
        asked = undefined;
      });
    }
    return asked;
  };
  for (const [name, help, field] of CLAIM_FIGURES) {
    const gauge: Gauge<'namespace' | 'persistentvolumeclaim'> = new Gauge({
      name,
      help,
      labelNames,
      registers,
      collect: async () => {
        const figures = await claims();
        gauge.reset();
        for (const { claim, ...values } of figures) gauge.set(labelsOf(claim!), values[field]!);
      },
    });
  }
  const abnormal: Gauge<'namespace' | 'persistentvolumeclaim'> = new Gauge({
    name: 'kubelet_volume_stats_health_status_abnormal',
    help: '1 when the driver says that the volume is not well, else 0',
    labelNames,
    registers,
    collect: async () => {
      const figures = await claims();
      abnormal.reset();
      for (const v of figures) if (v.abnormal !== undefined) abnormal.set(labelsOf(v.claim!), v.abnormal ? 1 : 0);
    },
  });
  const total: Gauge<'plugin_name' | 'state'> = new Gauge({
    name: 'volume_manager_total_volumes',
    help: 'Volumes of the pods of this node: those there should be, and those there are',
    labelNames: ['plugin_name', 'state'],
    registers,
    collect: () => {
      total.reset();
      for (const pod of deps.pods()) {
        const mounted = deps.mounted(pod.metadata?.uid ?? '');
        for (const volume of usedVolumes(pod)) {
          const known = mounted?.get(volume.name);
          const plugin_name = known?.plugin ?? volumePlugin(volume);
          total.inc({ plugin_name, state: 'desired_state_of_world' });
          if (known !== undefined) total.inc({ plugin_name, state: 'actual_state_of_world' });
        }
      }
    },
  });
}

function labelsOf(claim: { readonly name: string; readonly namespace: string }) {
  return { namespace: claim.namespace, persistentvolumeclaim: claim.name };
}

/** Each claim once, where its volume has figures: all six then. */
async function claimsOf({ pods, volumes }: VolumeGaugesDeps): Promise<readonly VolumeFigures[]> {
  const users = pods().filter((pod) => pod.spec?.volumes?.some((v) => v.persistentVolumeClaim ?? v.ephemeral));
  if (users.length === 0) return [];
  const known = await volumes(users);
  const found = new Map<string, VolumeFigures>();
  for (const pod of users) {
    for (const volume of known(pod.metadata?.uid ?? '')?.volumes ?? []) {
      const { claim } = volume;
      if (claim === undefined || CLAIM_FIGURES.some(([, , field]) => volume[field] === undefined)) continue;
      const key = `${claim.namespace}/${claim.name}`;
      if (!found.has(key)) found.set(key, volume);
    }
  }
  return [...found.values()];
}
