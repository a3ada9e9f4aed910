// Has the file systems of claims grow, and tells the claim, its resizer and users how that went. After
// pkg/volume/util/operationexecutor/node_expander.go.
import type { ObjectReference, PersistentVolume, PersistentVolumeClaim } from '../../../api/kinds.ts';
import type { Pod } from '../../../api/pod.ts';
import { persistentVolumeClaims } from '../../../api/resources.ts';
import type { ApiClient } from '../../../client/api-client.ts';
import type { EventRecorder } from '../../../client/event-recorder.ts';
import type { Clock } from '../../../core/clock.ts';
import { errorMessage } from '../../../core/errors.ts';
import type { Logger } from '../../../core/log.ts';
import { isCriError } from '../../../cri/errors.ts';
import { podReference } from '../../runtime/runtime-deps.ts';
import { isFinal } from '../csi/csi-client.ts';
import { inStep } from '../volume-error.ts';
import { type Expansion, expandedStatus, expansionOf, failedStatus, startedStatus } from './expansion-rules.ts';

export interface ClaimExpanderDeps {
  readonly client: ApiClient;
  readonly events: EventRecorder;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A claim of a pod with the PersistentVolume that it is bound to. */
export interface Claimed {
  readonly claim: PersistentVolumeClaim;
  readonly pv: PersistentVolume;
  readonly readOnly: boolean;
}

/** Has the file system grow to `bytes`. Idempotent. @throws an error caused by what the driver said, where there is one */
export type Grow = (bytes: number, signal: AbortSignal) => Promise<void>;

type PatchType = 'merge' | 'strategic';

/** Codes by which a driver says that it will never do this. */
const INFEASIBLE = new Set(['INVALID_ARGUMENT', 'OUT_OF_RANGE', 'NOT_FOUND']);

export class ClaimExpander {
  readonly #nodeName: string;
  readonly #deps: ClaimExpanderDeps;
  /** PersistentVolumes whose driver has refused to grow them. */
  readonly #refused = new Set<string>();

  constructor(nodeName: string, deps: ClaimExpanderDeps) {
    this.#nodeName = nodeName;
    this.#deps = deps;
  }

  /**
   * Grows the file system when the volume has grown. False when the driver does not while the volume is in use: it is
   * not to be asked again as long as it is. @throws {VolumeStepError} NodeExpandVolume
   */
  async expand(pod: Pod, claimed: Claimed, grow: Grow, signal: AbortSignal): Promise<boolean> {
    const { pv, readOnly } = claimed;
    const expansion = expansionOf(claimed.claim, pv);
    if (expansion === undefined || readOnly || pv.spec?.csi?.readOnly === true) return true;
    const name = pv.metadata?.name ?? '';
    return await inStep('NodeExpandVolume', name, async () => {
      let { claim } = claimed;
      if (expansion.isTracked) claim = await this.#tell(claim, 'merge', startedStatus(claim), signal);
      try {
        await grow(expansion.bytes, signal);
      } catch (err) {
        const cause = (err as Error).cause;
        if (expansion.isTracked && !signal.aborted) await this.#tellFailure(claim, expansion, err, signal);
        if (isCriError(cause) && cause.grpcCode === 'FAILED_PRECONDITION') return false;
        throw err;
      }
      this.#refused.delete(name);
      await this.#tell(claim, 'merge', expandedStatus(claim, expansion.size), signal);
      this.#tellSuccess(pod, claim, name);
      return true;
    });
  }

  /** What the driver may still be doing is no failure yet. */
  async #tellFailure(claim: PersistentVolumeClaim, expansion: Expansion, err: unknown, signal: AbortSignal) {
    const cause = (err as Error).cause;
    if (!isFinal(cause)) return;
    const volume = claim.spec?.volumeName ?? '';
    const isInfeasible =
      (isCriError(cause) && INFEASIBLE.has(cause.grpcCode)) || (expansion.isOutdated && this.#refused.has(volume));
    this.#refused.add(volume);
    const patch = failedStatus(claim, errorMessage(err), isInfeasible, this.#deps.clock.now());
    await this.#tell(claim, 'strategic', patch, signal).catch((failure: unknown) => {
      this.#deps.log.warn({ err: failure, volume }, 'the claim of a volume that does not grow could not be told');
    });
  }

  #tellSuccess(pod: Pod, claim: PersistentVolumeClaim, volume: string): void {
    const { namespace = '', name = '', uid = '' } = claim.metadata ?? {};
    const claimReference: ObjectReference = { apiVersion: 'v1', kind: 'PersistentVolumeClaim', namespace, name, uid };
    const text = `MountVolume.NodeExpandVolume succeeded for volume "${volume}" ${this.#nodeName}`;
    for (const about of [podReference(pod), claimReference]) {
      this.#deps.events.event(about, 'Normal', 'FileSystemResizeSuccessful', text);
    }
  }

  /** The claim as it is afterwards. */
  async #tell(
    claim: PersistentVolumeClaim,
    type: PatchType,
    body: object | undefined,
    signal: AbortSignal,
  ): Promise<PersistentVolumeClaim> {
    if (body === undefined) return claim;
    const { namespace = '', name = '' } = claim.metadata ?? {};
    const opts = { subresource: 'status', signal };
    return await this.#deps.client.patch(persistentVolumeClaims, { namespace, name }, { type, body }, opts);
  }
}
