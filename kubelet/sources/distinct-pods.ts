// Which of the pods that static sources have may run beside each other. Names are looked at within a source, as upstream
// does (filterInvalidPods of pkg/kubelet/config); uids over all of them: who copies a manifest with its `metadata.uid`
// makes two pods that would be taken for one, and take each other's place without a word.
import { type Pod, podDescription, podFullName } from '../../api/pod.ts';

export type StaticSource = 'file' | 'http';

export interface RefusedPod {
  readonly pod: Pod;
  /** For an Event and the log. */
  readonly why: string;
  /** It was refused for the same reason when its source was looked at before. */
  readonly isKnown: boolean;
}

export class DistinctPods {
  /** By source: the uids that count, with the full name of their pod. */
  readonly #uids = new Map<StaticSource, ReadonlyMap<string, string>>();
  readonly #told = new Map<StaticSource, ReadonlySet<string>>();

  /** `pods`: the complete set of `source`, of which the earlier one counts. */
  pick(source: StaticSource, pods: readonly Pod[]): { readonly kept: Pod[]; readonly refused: RefusedPod[] } {
    const kept: Pod[] = [];
    const refused: RefusedPod[] = [];
    const names = new Set<string>();
    const uids = new Map<string, string>();
    const told = new Set<string>();
    const elsewhere = [...this.#uids].filter(([other]) => other !== source).map(([, known]) => known);
    for (const pod of pods) {
      const [name, uid] = [podFullName(pod), pod.metadata?.uid ?? ''];
      const holder = uids.get(uid) ?? elsewhere.map((known) => known.get(uid)).find((found) => found !== undefined);
      const fault = names.has(name)
        ? `duplicate pod name "${pod.metadata?.name}"`
        : holder && `duplicate pod uid "${uid}", which is that of ${holder}`;
      if (fault === undefined) {
        names.add(name);
        uids.set(uid, name);
        kept.push(pod);
        continue;
      }
      const why = `Error validating pod ${podDescription(pod)} from ${source} due to ${fault}, ignoring`;
      told.add(why);
      refused.push({ pod, why, isKnown: this.#told.get(source)?.has(why) === true });
    }
    this.#uids.set(source, uids);
    this.#told.set(source, told);
    return { kept, refused };
  }
}
