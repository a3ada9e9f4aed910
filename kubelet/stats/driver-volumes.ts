// Asks CSI drivers how full their volumes are from time to time, whether or not anybody looks: drivers count on being
// asked, and who looks then need not wait for them. After pkg/kubelet/server/stats/fs_resource_analyzer.go, which does
// so for all volumes; those of the node itself cost a walk here, and are measured when somebody looks.
import type { Pod } from '../../api/pod.ts';
import { aborted } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import type { MountedVolume } from '../volumes/volume-manager.ts';

export interface DriverVolumesDeps {
  /** volumeStatsAggPeriod, ms; drivers are not asked when it is not above 0. */
  readonly periodMs: number;
  readonly pods: () => readonly Pod[];
  readonly volumesOf: (podUid: string) => ReadonlyMap<string, MountedVolume> | undefined;
  /** Measures what has not been measured within the period. Must not throw. */
  readonly measure: (pods: readonly Pod[]) => Promise<unknown>;
}

/** Works until `signal` aborts. */
export async function pollDriverVolumes(deps: DriverVolumesDeps, clock: Clock, signal: AbortSignal): Promise<void> {
  const { periodMs, pods, volumesOf, measure } = deps;
  if (periodMs <= 0) return await aborted(signal);
  const isServed = ({ metadata }: Pod) =>
    [...(volumesOf(metadata?.uid ?? '')?.values() ?? [])].some((v) => v.hostPath.includes('/kubernetes.io~csi/'));
  for (;;) {
    await clock.sleep(periodMs, signal);
    if (signal.aborted) return;
    const served = pods().filter(isServed);
    if (served.length > 0) await measure(served);
  }
}
