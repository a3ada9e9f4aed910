// Volumes that stand for something outside the pod: claims of PersistentVolumes (CSI, local, hostPath, NFS), inline CSI
// volumes and NFS exports. Claims and volumes are read when they are needed and not watched: the Node authorizer lets a node get those
// of its pods, one by one. Nothing is read for a volume that is in place, but where it may have grown.
import path from 'node:path';
import type { Node, PersistentVolume, PersistentVolumeClaim } from '../../../api/kinds.ts';
import type { Pod, Volume } from '../../../api/pod.ts';
import { persistentVolumeClaims, persistentVolumes } from '../../../api/resources.ts';
import type { ApiClient } from '../../../client/api-client.ts';
import type { EventRecorder } from '../../../client/event-recorder.ts';
import type { ReadonlyStore } from '../../../client/store.ts';
import type { Clock } from '../../../core/clock.ts';
import { DueQueue } from '../../../core/due-queue.ts';
import { errorMessage } from '../../../core/errors.ts';
import type { Logger } from '../../../core/log.ts';
import type { Mounter, MountPoint } from '../../../host/mounts.ts';
import { podReference } from '../../runtime/runtime-deps.ts';
import { asCsiVolume } from '../csi/csi-migration.ts';
import type { CsiRecords } from '../csi/csi-records.ts';
import { type CsiSpec, inlineSpec, persistentSpec } from '../csi/csi-spec.ts';
import type { CsiVolumes, PublishedVolume } from '../csi/csi-volumes.ts';
import { prepareHostPath } from '../host-path.ts';
import { inStep, VolumeStepError } from '../volume-error.ts';
import type { MountedVolume } from '../volume-manager.ts';
import { VolumePaths } from '../volume-paths.ts';
import { csiPluginName } from '../volume-plugin.ts';
import { ClaimExpander, type Claimed, type Grow } from './claim-expander.ts';
import {
  type ClaimRef,
  claimFault,
  claimOf,
  groupOf,
  isReachable,
  modeFault,
  mountOptionsOf,
  volumeFault,
} from './claim-rules.ts';
import { LocalDisks } from './local-volume.ts';
import { NFS_PLUGIN, type NfsExport, setUpNfs } from './nfs-volume.ts';

export interface ClaimVolumesDeps {
  readonly client: ApiClient;
  readonly ownNode: ReadonlyStore<Node>;
  readonly csi: Pick<CsiVolumes, 'mount' | 'unmountPod' | 'expand'>;
  readonly attachments: { forgetPod(podUid: string): void };
  readonly records: CsiRecords;
  readonly mounter: Mounter;
  readonly events: EventRecorder;
  readonly notifyPod: (podUid: string) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

/** How often volumes are looked at that may have grown, or that their driver wants to be published again, ms. */
const REFRESH_MS = 75_000;

interface Mounted {
  readonly volume: MountedVolume;
  readonly published: PublishedVolume | undefined;
  /** Its file system grows when its PersistentVolume has grown. */
  readonly canGrow: boolean;
}

function withGroup(mounted: Mounted, pv: PersistentVolume | undefined): Mounted {
  const gid = pv === undefined ? undefined : groupOf(pv);
  return gid === undefined ? mounted : { ...mounted, volume: { ...mounted.volume, gid } };
}

export class ClaimVolumes implements Disposable {
  readonly #nodeName: string;
  readonly #deps: ClaimVolumesDeps;
  readonly #log: Logger;
  readonly #paths: VolumePaths;
  readonly #disks: LocalDisks;
  readonly #expander: ClaimExpander;
  /** By pod, then by volume. */
  readonly #mounted = new Map<string, Map<string, Mounted>>();
  readonly #refresh: DueQueue<string>;
  readonly #due = new Set<string>();

  constructor(opts: { readonly nodeName: string; readonly rootDir: string }, deps: ClaimVolumesDeps) {
    this.#nodeName = opts.nodeName;
    this.#paths = new VolumePaths(opts.rootDir);
    this.#disks = new LocalDisks({ ...deps, paths: this.#paths });
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'claims' });
    this.#expander = new ClaimExpander(opts.nodeName, { ...deps, log: this.#log });
    this.#refresh = new DueQueue<string>(deps.clock, (podUid) => {
      this.#due.add(podUid);
      deps.notifyPod(podUid);
    });
  }

  /** Whether the volume is of a kind that `setUp` takes. */
  serves(volume: Volume): boolean {
    const { csi, persistentVolumeClaim, ephemeral, nfs } = volume;
    return (csi ?? persistentVolumeClaim ?? ephemeral ?? nfs) !== undefined;
  }

  /** To be called before the volumes of a pod are set up: what has fallen due is looked at this time. */
  startRound(podUid: string): { readonly isDue: boolean } {
    return { isDue: this.#due.delete(podUid) };
  }

  /** Idempotent. @throws {VolumeStepError} */
  async setUp(
    pod: Pod,
    volume: Volume,
    round: { readonly isDue: boolean },
    signal: AbortSignal,
  ): Promise<MountedVolume> {
    const podUid = pod.metadata?.uid ?? '';
    const known = this.#mounted.get(podUid)?.get(volume.name);
    if (known !== undefined && known.published?.requiresRepublish !== true) {
      if (round.isDue) await this.#lookForGrowth(pod, volume, known, signal);
      return known.volume;
    }
    const claimed = await this.#claimed(pod, volume, signal);
    let mounted = withGroup(await this.#mount(pod, volume, claimed, signal), claimed?.pv);
    if (claimed !== undefined && known === undefined) mounted = await this.#grown(pod, claimed, mounted, signal);
    const ofPod = this.#mounted.get(podUid) ?? new Map<string, Mounted>();
    ofPod.set(volume.name, mounted);
    this.#mounted.set(podUid, ofPod);
    if (known === undefined && mounted.volume.isBlock === true) this.#tellMapped(pod, mounted.volume.hostPath);
    if (mounted.published?.requiresRepublish || mounted.canGrow) this.#refresh.setEarlier(podUid, REFRESH_MS);
    return mounted.volume;
  }

  /** Has the drivers take their volumes back. Bind mounts of local volumes are left to the caller. Idempotent. */
  async unmountPod(podUid: string, signal: AbortSignal): Promise<void> {
    this.#mounted.delete(podUid);
    this.#refresh.delete(podUid);
    this.#due.delete(podUid);
    await this.#deps.csi.unmountPod(podUid, signal);
    this.#deps.attachments.forgetPod(podUid);
  }

  /** To be called when a pod's mounts have gone, with what is mounted now: unmounts what only that pod used. */
  async releaseDisks(mounts: readonly MountPoint[], signal: AbortSignal): Promise<void> {
    await this.#disks.release(mounts, signal);
  }

  [Symbol.dispose](): void {
    this.#refresh[Symbol.dispose]();
  }

  async #mount(pod: Pod, volume: Volume, claimed: Claimed | undefined, signal: AbortSignal): Promise<Mounted> {
    const { name } = volume;
    if (claimed === undefined && volume.nfs !== undefined) {
      const { readOnly = false } = volume.nfs;
      const from = { ...volume.nfs, readOnly, mountOptions: [] };
      const hostPath = await inStep('SetUp', name, () => this.#mountNfs(pod, name, from, signal));
      return { volume: { name, hostPath, readOnly, selinuxRelabel: false }, published: undefined, canGrow: false };
    }
    if (claimed === undefined) return await this.#mountCsi(pod, name, inlineSpec(pod, volume), signal);
    const { pv, readOnly } = claimed;
    const specName = pv.metadata?.name ?? '';
    if (!isReachable(pv, this.#deps.ownNode.get(this.#nodeName))) {
      throw new VolumeStepError('NodeAffinity check', specName, 'no matching NodeSelectorTerms');
    }
    if (pv.spec?.csi !== undefined) return await this.#mountCsi(pod, name, persistentSpec(pv, readOnly), signal);
    const isBlock = pv.spec?.volumeMode === 'Block';
    const at = async (plugin: string, work: () => Promise<string>, canGrow = false): Promise<Mounted> => {
      const hostPath = await inStep('SetUp', specName, work);
      const volume = { name, plugin, hostPath, readOnly, selinuxRelabel: false, isBlock };
      return { volume, published: undefined, canGrow };
    };
    const { hostPath, local, nfs } = pv.spec ?? {};
    if (hostPath !== undefined) return await at('kubernetes.io/host-path', () => prepareHostPath(hostPath));
    if (local !== undefined) {
      return await at('kubernetes.io/local-volume', () => this.#disks.setUp(pod, pv, readOnly, signal), true);
    }
    if (nfs !== undefined) {
      const from = { ...nfs, readOnly: readOnly || (nfs.readOnly ?? false), mountOptions: mountOptionsOf(pv) };
      return await at('kubernetes.io/nfs', () => this.#mountNfs(pod, specName, from, signal));
    }
    throw new VolumeStepError('FindPluginBySpec', specName, 'no volume plugin matched');
  }

  #mountNfs(pod: Pod, specName: string, from: NfsExport, signal: AbortSignal): Promise<string> {
    const dir = this.#paths.volumeDir(pod.metadata?.uid ?? '', NFS_PLUGIN, specName);
    return setUpNfs(from, dir, this.#deps.mounter, signal);
  }

  async #mountCsi(pod: Pod, name: string, spec: CsiSpec, signal: AbortSignal): Promise<Mounted> {
    await this.#refuseSecondUser(pod, spec);
    const published = await this.#deps.csi.mount(pod, spec, signal);
    const { hostPath } = published;
    const { readOnly, isBlock, lifecycle } = spec;
    const plugin = csiPluginName(spec.driver);
    const canGrow = published.canExpand && lifecycle === 'Persistent';
    return { volume: { name, plugin, hostPath, readOnly, selinuxRelabel: false, isBlock }, published, canGrow };
  }

  async #refuseSecondUser(pod: Pod, spec: CsiSpec): Promise<void> {
    if (!spec.accessModes.includes('ReadWriteOncePod')) return;
    await this.#deps.records.load();
    const others = this.#deps.records.usersOf(spec.driver, spec.handle).filter((uid) => uid !== pod.metadata?.uid);
    if (others.length === 0) return;
    const text = 'volume uses the ReadWriteOncePod access mode and is already in use by another pod';
    throw new VolumeStepError('SetUp', spec.specName, text);
  }

  /** The claim and its PersistentVolume; undefined for an inline volume. */
  async #claimed(pod: Pod, volume: Volume, signal: AbortSignal): Promise<Claimed | undefined> {
    const ref = claimOf(pod, volume);
    if (ref === undefined) return undefined;
    const namespace = pod.metadata?.namespace ?? '';
    const prefix = `error processing PVC ${namespace}/${ref.name}: `;
    const step = <T>(work: () => Promise<T>) =>
      inStep('process', volume.name, work, (err) => prefix + errorMessage(err));
    const fault = (text: string | undefined) => {
      if (text !== undefined) throw new VolumeStepError('process', volume.name, prefix + text);
    };
    const claim = await step(() => this.#getClaim(namespace, ref, signal));
    fault(claimFault(pod, ref, claim));
    const pv = await step(async () => asCsiVolume(await this.#getVolume(claim.spec?.volumeName ?? '', signal)));
    fault(volumeFault(claim, pv));
    const wrongMode = modeFault(pod, volume.name, pv);
    if (wrongMode !== undefined) throw new VolumeStepError('process', volume.name, wrongMode);
    return { claim, pv, readOnly: ref.readOnly };
  }

  async #getClaim(namespace: string, { name }: ClaimRef, signal: AbortSignal): Promise<PersistentVolumeClaim> {
    try {
      return await this.#deps.client.get(persistentVolumeClaims, { namespace, name }, { signal });
    } catch (cause) {
      throw new Error(`failed to fetch PVC from API server: ${errorMessage(cause)}`, { cause });
    }
  }

  async #getVolume(name: string, signal: AbortSignal): Promise<PersistentVolume> {
    try {
      return await this.#deps.client.get(persistentVolumes, { name }, { signal });
    } catch (cause) {
      throw new Error(`failed to fetch PV ${name} from API server: ${errorMessage(cause)}`, { cause });
    }
  }

  /** `link`: to the device, named like the PersistentVolume. */
  #tellMapped(pod: Pod, link: string): void {
    const text = `MapVolume.MapPodDevice succeeded for volume "${path.basename(link)}" volumeMapPath "${path.dirname(link)}"`;
    this.#deps.events.event(podReference(pod), 'Normal', 'SuccessfulMountVolume', text);
  }

  /** A volume that is in place stays in use whatever comes of this. */
  async #lookForGrowth(pod: Pod, volume: Volume, mounted: Mounted, signal: AbortSignal): Promise<void> {
    if (!mounted.canGrow) return;
    const podUid = pod.metadata?.uid ?? '';
    this.#refresh.setEarlier(podUid, REFRESH_MS);
    try {
      const claimed = await this.#claimed(pod, volume, signal);
      if (claimed === undefined) return;
      const grown = await this.#grown(pod, claimed, mounted, signal);
      this.#mounted.get(podUid)?.set(volume.name, grown);
    } catch (err) {
      this.#log.warn({ err, pod: podReference(pod).name, volume: volume.name }, 'volume not expanded, will retry');
      if (!(err instanceof VolumeStepError) || err.step !== 'NodeExpandVolume') return;
      const text = `NodeExpandVolume.NodeExpandVolume failed for volume "${err.volume}" : ${err.message}`;
      this.#deps.events.event(podReference(pod), 'Warning', 'VolumeResizeFailed', text);
    }
  }

  /** The volume once its file system has grown, where it is to; one that cannot while it is in use is left alone. */
  async #grown(pod: Pod, claimed: Claimed, mounted: Mounted, signal: AbortSignal): Promise<Mounted> {
    if (!mounted.canGrow) return mounted;
    const { published } = mounted;
    const { pv, readOnly } = claimed;
    const grow: Grow =
      published === undefined
        ? () => this.#disks.grow(pv)
        : (bytes, s) => this.#deps.csi.expand(pod, persistentSpec(pv, readOnly), published, bytes, s);
    return (await this.#expander.expand(pod, claimed, grow, signal)) ? mounted : { ...mounted, canGrow: false };
  }
}
