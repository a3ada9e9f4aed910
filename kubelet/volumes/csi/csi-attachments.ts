// Volumes that a controller attaches to the node: the agent says in node.status.volumesInUse which it uses or wants,
// and waits until node.status.volumesAttached and the VolumeAttachment say that they are there. After
// pkg/kubelet/volumemanager (ReportedInUse) and pkg/volume/csi/csi_attacher.go.
import type { Node } from '../../../api/kinds.ts';
import { volumeAttachments } from '../../../api/resources.ts';
import type { ApiClient } from '../../../client/api-client.ts';
import { isNotFound } from '../../../client/errors.ts';
import type { ReadonlyStore } from '../../../client/store.ts';
import { errorMessage } from '../../../core/errors.ts';
import { AttachLimitError, VolumeStepError } from '../volume-error.ts';
import { attachmentName, driverOf, uniqueVolumeName } from './csi-paths.ts';
import type { CsiRecords } from './csi-records.ts';
import type { CsiSpec } from './csi-spec.ts';

export interface CsiAttachmentsDeps {
  readonly client: ApiClient;
  readonly ownNode: ReadonlyStore<Node>;
  readonly records: CsiRecords;
  /** What `volumesInUse` answers has changed: report it soon. */
  readonly onInUseChanged: () => void;
  /** A pod that waits should try again. */
  readonly notifyPod: (podUid: string) => void;
  /** The driver takes fewer volumes than the node shows. */
  readonly onLimitReached: (driver: string) => void;
}

/** gRPC's number for RESOURCE_EXHAUSTED, in `status.attachError.errorCode`. */
const RESOURCE_EXHAUSTED = 8;

export class CsiAttachments implements Disposable {
  readonly #nodeName: string;
  readonly #deps: CsiAttachmentsDeps;
  /** Names of volumes that need attaching, as far as it is known, while pods use them or want to. */
  readonly #attachable = new Set<string>();
  /** Pods that use them or want to, by name of the volume. */
  readonly #wanted = new Map<string, Set<string>>();
  readonly #waiting = new Set<string>();
  /** Drivers whose CSIDriver says that nobody attaches their volumes, perhaps since pods use some that were. */
  readonly #unattached = new Set<string>();
  readonly #onNode: Disposable;
  #isLoaded = false;
  /** The node's lists when pods were last told, to pass over heartbeats. */
  #seen = '';

  constructor(nodeName: string, deps: CsiAttachmentsDeps) {
    this.#nodeName = nodeName;
    this.#deps = deps;
    const look = () => this.#nodeChanged();
    this.#onNode = deps.ownNode.subscribe({ onAdd: look, onUpdate: look, onDelete: () => {} });
  }

  /** For node.status.volumesInUse; undefined until it is known what an earlier agent left. */
  async volumesInUse(): Promise<readonly string[] | undefined> {
    const node = this.#node();
    if (node === undefined) return undefined;
    await this.#deps.records.load();
    if (!this.#isLoaded) {
      const { volumesInUse = [], volumesAttached = [] } = node.status ?? {};
      for (const name of [...volumesInUse, ...volumesAttached.map((v) => v.name)]) this.#attachable.add(name);
      this.#isLoaded = true;
    }
    const used = new Set([...this.#deps.records.volumeNames(), ...this.#wanted.keys()]);
    for (const name of this.#attachable) if (!used.has(name)) this.#attachable.delete(name);
    return [...this.#attachable].filter((name) => !this.#unattached.has(driverOf(name))).sort();
  }

  /**
   * What the driver's CSIDriver says now. From `false` on the controller detaches what it has attached before, as soon as
   * the node does not call it in use any more, and pods wait no more.
   */
  setAttachRequired(driver: string, isRequired: boolean): void {
    if (this.#unattached.has(driver) === !isRequired) return;
    if (isRequired) this.#unattached.delete(driver);
    else this.#unattached.add(driver);
    this.volumeReleased();
    for (const podUid of this.#waiting) this.#deps.notifyPod(podUid);
  }

  /** The pod is to have the volume, which a controller must attach first. */
  want(name: string, podUid: string): void {
    this.#attachable.add(name);
    const pods = this.#wanted.get(name);
    if (pods !== undefined) {
      pods.add(podUid);
      return;
    }
    this.#wanted.set(name, new Set([podUid]));
    this.#deps.onInUseChanged();
  }

  /** The pod wants nothing any more. What is still mounted stays in use. */
  forgetPod(podUid: string): void {
    this.#waiting.delete(podUid);
    let isReleased = false;
    for (const [name, pods] of this.#wanted) {
      if (!pods.delete(podUid) || pods.size > 0) continue;
      this.#wanted.delete(name);
      isReleased = true;
    }
    if (isReleased) this.volumeReleased(); // what the pod used was perhaps taken back before
  }

  /** A volume that no pod uses any more is not staged any more either: it may be detached. */
  volumeReleased(): void {
    if (this.#attachable.size > 0) this.#deps.onInUseChanged();
  }

  /** What the attaching controller tells the driver. @throws {VolumeStepError} while the volume is not attached. */
  async publishContext(spec: CsiSpec, podUid: string, signal: AbortSignal): Promise<Record<string, string>> {
    const name = uniqueVolumeName(spec.driver, spec.handle);
    const { volumesInUse = [], volumesAttached = [] } = this.#node()?.status ?? {};
    const wait = (text: string) => new VolumeStepError('attach', spec.specName, text);
    this.#waiting.add(podUid); // first: the node may change while the attachment is read
    if (!volumesInUse.includes(name)) {
      throw wait("Volume has not been added to the list of VolumesInUse in the node's volume status");
    }
    const isShown = volumesAttached.some((v) => v.name === name);
    const { isAttached, metadata, error, isLimit } = await this.#attachment(spec, signal);
    if (!isAttached && isLimit) {
      this.#deps.onLimitReached(spec.driver);
      throw new AttachLimitError('attach', spec.specName, error ?? '');
    }
    if (!isShown) throw wait('Volume not attached according to node status');
    if (!isAttached && error !== undefined) throw new VolumeStepError('WaitForAttach', spec.specName, error);
    if (!isAttached) throw wait('Volume not attached according to its VolumeAttachment');
    this.#waiting.delete(podUid);
    return metadata;
  }

  [Symbol.dispose](): void {
    this.#onNode[Symbol.dispose]();
  }

  async #attachment(spec: CsiSpec, signal: AbortSignal) {
    const name = attachmentName(spec.handle, spec.driver, this.#nodeName);
    try {
      const { status } = await this.#deps.client.get(volumeAttachments, { name }, { signal });
      const isAttached = status?.attached === true;
      const failure: { message?: string; errorCode?: number } | undefined = status?.attachError;
      const isLimit = failure?.errorCode === RESOURCE_EXHAUSTED;
      return { isAttached, metadata: status?.attachmentMetadata ?? {}, error: failure?.message, isLimit };
    } catch (err) {
      const text = isNotFound(err) ? `volume attachment ${name} not found` : errorMessage(err);
      return {
        isAttached: false,
        metadata: {},
        error: `failed to get VolumeAttachment ${name}: ${text}`,
        isLimit: false,
      };
    }
  }

  #node(): Node | undefined {
    return this.#deps.ownNode.get(this.#nodeName);
  }

  #nodeChanged(): void {
    const { volumesInUse = [], volumesAttached = [] } = this.#node()?.status ?? {};
    const lists = JSON.stringify([volumesInUse, volumesAttached]);
    if (lists === this.#seen) return;
    this.#seen = lists;
    for (const podUid of this.#waiting) this.#deps.notifyPod(podUid);
  }
}
