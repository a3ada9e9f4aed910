// Static pods that run when the agent starts. Their uids come from their manifests, but a kubelet that was here before us
// made them in another way: by ours alone each would be ended and started anew, the control plane of its cluster among
// them. A pod whose manifest has not been touched since its sandbox was made is that of the manifest, whatever its uid.
import type { RuntimePod } from '../runtime/pod-runtime-status.ts';

/** What uids of static pods look like; those of the API's pods have dashes. */
const MADE_FROM_CONTENT = /^[0-9a-f]{32}$/;

interface Running {
  readonly uid: string;
  /** Of its newest sandbox. */
  readonly createdAtMs: number;
}

export class RunningStaticPods {
  /** By `NAME_NAMESPACE`. */
  readonly #running = new Map<string, Running[]>();
  /** What was said for the first content of each, so that it holds as long as the content does. */
  readonly #said = new Map<string, { readonly contentUid: string; readonly uid: string }>();

  constructor(pods: readonly RuntimePod[]) {
    for (const { uid, name, namespace, sandboxes } of pods) {
      const ready = sandboxes.filter((s) => s.ready);
      if (ready.length === 0 || !MADE_FROM_CONTENT.test(uid)) continue;
      const running = { uid, createdAtMs: Math.max(...ready.map((s) => s.createdAtMs)) };
      const fullName = `${name}_${namespace}`;
      this.#running.set(fullName, [...(this.#running.get(fullName) ?? []), running]);
    }
  }

  /**
   * The uid of the pod in a manifest: `contentUid`, or that of the pod which runs of it. `changedAtMs` is when anything of
   * the file was changed last, wall ms.
   */
  uidOf(fullName: string, contentUid: string, changedAtMs: number): string {
    const before = this.#said.get(fullName);
    if (before !== undefined) return before.contentUid === contentUid ? before.uid : contentUid;
    const running = this.#running.get(fullName) ?? [];
    const isOurs = running.some(({ uid }) => uid === contentUid);
    const [only] = running.length === 1 && !isOurs ? running : [];
    const uid = only !== undefined && changedAtMs < only.createdAtMs ? only.uid : contentUid;
    this.#said.set(fullName, { contentUid, uid });
    return uid;
  }
}
