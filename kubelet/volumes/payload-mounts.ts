// Volumes in memory as a kubelet has them, which mounts a tmpfs for each where we have one for all (docs/decisions/0010). A
// container sees the mount that it was started with and no other; so on a node that goes from a kubelet to us, or back,
// whoever comes next must find that mount and write there, or running pods would keep their old secrets and tokens.
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import type { Mounter, MountPoint } from '../../host/mounts.ts';
import type { VolumePaths } from './volume-paths.ts';

const PLUGINS: ReadonlySet<string> = new Set([
  'kubernetes.io~secret',
  'kubernetes.io~projected',
  'kubernetes.io~downward-api',
]);

export class PayloadMounts {
  readonly #paths: VolumePaths;
  readonly #adopted = new Set<string>();

  constructor(paths: VolumePaths) {
    this.#paths = paths;
  }

  /** Finds what a kubelet has left in the mount table; what we have handed over ourselves is ours still. */
  adopt(mounts: readonly MountPoint[]): void {
    const shared = mounts.find((m) => m.mountPoint === this.#paths.volatileDir)?.device;
    for (const { mountPoint, device } of mounts) {
      if (device !== shared && this.#isPayload(mountPoint)) this.#adopted.add(mountPoint);
    }
  }

  /** A kubelet mounted a volume at `dir`, and containers that it started see that. */
  isAdopted(dir: string): boolean {
    return this.#adopted.has(dir);
  }

  /** They are unmounted. */
  forgetPod(podUid: string): void {
    const prefix = `${this.#paths.podDir(podUid)}/`;
    for (const dir of this.#adopted) if (dir.startsWith(prefix)) this.#adopted.delete(dir);
  }

  /**
   * Shows what lies in our tmpfs where a kubelet looks for it, so that one that comes after us writes there. Idempotent.
   * `hostPaths` are those of all volumes. @throws {AgentError} MOUNT_FAILED when some could not be shown.
   */
  async handOver(hostPaths: Iterable<string>, mounter: Pick<Mounter, 'list' | 'bindAll'>): Promise<void> {
    const { volatileDir } = this.#paths;
    const mounted = new Set((await mounter.list()).map((m) => m.mountPoint));
    const binds: [string, string][] = [];
    for (const source of hostPaths) {
      if (!source.startsWith(`${volatileDir}/`)) continue;
      const [podUid = '', ...volume] = path.relative(volatileDir, source).split('/');
      const target = path.join(this.#paths.podDir(podUid), 'volumes', ...volume);
      if (!mounted.has(target)) binds.push([source, target]);
    }
    if (binds.length === 0) return;
    await Promise.all(binds.map(([, target]) => mkdir(target, { recursive: true, mode: 0o750 })));
    await mounter.bindAll(binds, path.join(volatileDir, 'handed-over'));
  }

  #isPayload(mountPoint: string): boolean {
    const [, volumes, plugin = '', ...name] = path.relative(this.#paths.podsDir, mountPoint).split('/');
    return volumes === 'volumes' && PLUGINS.has(plugin) && name.length === 1;
  }
}
