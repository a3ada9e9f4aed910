// Where pods come from. Every source says what its complete set is, or what changed in it; the merge turns that into
// operations for the agent. A static file or URL source plugs in with `snapshot`; the API source also reports single
// changes, so that one pod's event does not make all pods be compared. After pkg/kubelet/config.
import { isDeepStrictEqual } from 'node:util';
import { MIRROR_ANNOTATION, type Pod, podFullName } from '../api/pod.ts';
import type { ReadonlyStore } from '../client/store.ts';
import { aborted } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import type { StaticPodSettings } from './config.ts';
import { SEEN_ANNOTATION, SOURCE_ANNOTATION } from './pod-manager.ts';

export type PodSourceName = 'file' | 'http' | 'api';
export type PodOperation = 'ADD' | 'UPDATE' | 'DELETE' | 'RECONCILE' | 'REMOVE';

export interface PodChange {
  readonly op: PodOperation;
  /** The newest state; of REMOVE the last known one. */
  readonly pod: Pod;
}

export interface PodSourceHandler {
  /** What changed, removals first, additions by creation time. Must not throw. */
  handle(changes: readonly PodChange[], source: PodSourceName): void;
}

/** The sources of a node; one without an API server has its static pods alone. */
export function sourceNames({ path, url }: StaticPodSettings, standalone: boolean): PodSourceName[] {
  const names: PodSourceName[] = standalone ? [] : ['api'];
  if (path !== '') names.push('file');
  if (url !== '') names.push('http');
  return names;
}

/** The agent's own annotations: a change in them alone is none. */
const LOCAL_ANNOTATIONS = [SOURCE_ANNOTATION, MIRROR_ANNOTATION, SEEN_ANNOTATION] as const;
const ORDER: readonly PodOperation[] = ['REMOVE', 'ADD', 'UPDATE', 'DELETE', 'RECONCILE'];

export class PodSources {
  readonly #handler: PodSourceHandler;
  readonly #clock: Clock;
  readonly #known = new Map<PodSourceName, Map<string, Pod>>();
  readonly #seen = new Set<PodSourceName>();
  readonly #ready = Promise.withResolvers<void>();

  /** `names`: the sources that are configured. */
  constructor(names: readonly PodSourceName[], handler: PodSourceHandler, deps: { readonly clock: Clock }) {
    this.#handler = handler;
    this.#clock = deps.clock;
    for (const name of names) this.#known.set(name, new Map());
  }

  /** Every source has said once what its pods are. Before that, that a pod is missing means nothing. */
  get allReady(): boolean {
    return this.#seen.size === this.#known.size;
  }

  /** Resolves when `allReady` becomes true. */
  get whenReady(): Promise<void> {
    return this.#ready.promise;
  }

  /** `pods` is the complete set of `source`. */
  snapshot(source: PodSourceName, pods: readonly Pod[]): void {
    const known = this.#knownOf(source);
    const incoming = new Map(pods.map((p) => [p.metadata?.uid ?? '', p]));
    const changes: PodChange[] = [];
    for (const [uid, pod] of known) {
      // A static pod's author may give it the uid of one that is gone: it does not become that one under another name.
      if (incoming.has(uid) && podFullName(incoming.get(uid)!) === podFullName(pod)) continue;
      known.delete(uid);
      changes.push({ op: 'REMOVE', pod });
    }
    for (const pod of incoming.values()) {
      const change = this.#merge(source, pod);
      if (change !== undefined) changes.push(change);
    }
    this.#handler.handle(changes.sort(byOperationAndAge), source);
    this.#seen.add(source);
    if (this.allReady) this.#ready.resolve();
  }

  /** One pod of `source` is new or changed. */
  upsert(source: PodSourceName, pod: Pod): void {
    const change = this.#merge(source, pod);
    if (change !== undefined) this.#handler.handle([change], source);
  }

  /** One pod of `source` is gone. */
  remove(source: PodSourceName, uid: string): void {
    const known = this.#knownOf(source);
    const pod = known.get(uid);
    if (pod === undefined) return;
    known.delete(uid);
    this.#handler.handle([{ op: 'REMOVE', pod }], source);
  }

  #knownOf(source: PodSourceName): Map<string, Pod> {
    const known = this.#known.get(source);
    if (known === undefined) throw new Error(`pod source ${source} is not configured`);
    return known;
  }

  #merge(source: PodSourceName, incoming: Pod): PodChange | undefined {
    const known = this.#knownOf(source);
    const uid = incoming.metadata?.uid ?? '';
    const old = known.get(uid);
    if (old !== undefined && old.metadata?.resourceVersion === incoming.metadata?.resourceVersion && source === 'api') {
      return undefined; // replayed
    }
    const seen = old?.metadata?.annotations?.[SEEN_ANNOTATION] ?? new Date(this.#clock.now()).toISOString();
    const pod = withLocalAnnotations(incoming, source, seen);
    if (old === undefined) {
      known.set(uid, pod);
      return { op: 'ADD', pod };
    }
    const op = operationFor(old, pod);
    if (op === undefined) return undefined;
    known.set(uid, pod);
    return { op, pod };
  }
}

/** What the difference between two states of one pod asks for, undefined for none. Pure. */
function operationFor(old: Pod, incoming: Pod): PodOperation | undefined {
  const [a, b] = [old.metadata ?? {}, incoming.metadata ?? {}];
  const differs =
    String(a.deletionTimestamp ?? '') !== String(b.deletionTimestamp ?? '') ||
    a.deletionGracePeriodSeconds !== b.deletionGracePeriodSeconds ||
    !isDeepStrictEqual(a.labels ?? {}, b.labels ?? {}) ||
    !isDeepStrictEqual(foreignAnnotations(a.annotations), foreignAnnotations(b.annotations)) ||
    !isDeepStrictEqual(old.spec, incoming.spec);
  if (differs) return b.deletionTimestamp === undefined ? 'UPDATE' : 'DELETE';
  // Also when only resourceVersion moved: the newest copy is what the next status patch is computed against.
  return a.resourceVersion !== b.resourceVersion || !isDeepStrictEqual(old.status, incoming.status)
    ? 'RECONCILE'
    : undefined;
}

function foreignAnnotations(annotations: Readonly<Record<string, string>> = {}): Record<string, string> {
  const rest = { ...annotations };
  for (const key of LOCAL_ANNOTATIONS) delete rest[key];
  return rest;
}

/** In memory only: what a downward API volume and static pod checks read. */
function withLocalAnnotations(pod: Pod, source: PodSourceName, seen: string): Pod {
  const annotations = { ...pod.metadata?.annotations, [SOURCE_ANNOTATION]: source, [SEEN_ANNOTATION]: seen };
  return { ...pod, metadata: { ...pod.metadata, annotations } };
}

function byOperationAndAge(a: PodChange, b: PodChange): number {
  const order = ORDER.indexOf(a.op) - ORDER.indexOf(b.op);
  if (order !== 0) return order;
  return createdAtMs(a.pod) - createdAtMs(b.pod);
}

function createdAtMs(pod: Pod): number {
  const created = pod.metadata?.creationTimestamp;
  return created === undefined ? 0 : Date.parse(String(created));
}

/** Feeds the pods of an informer's store into `sources` until `signal` aborts. */
export async function runApiSource(sources: PodSources, store: ReadonlyStore<Pod>, signal: AbortSignal): Promise<void> {
  await store.waitForSync(signal);
  if (signal.aborted) return;
  sources.snapshot('api', store.list());
  // The replay of what is there already is recognised by its resourceVersion.
  using _subscription = store.subscribe({
    onAdd: (pod) => sources.upsert('api', pod),
    onUpdate: (_, pod) => sources.upsert('api', pod),
    onDelete: (pod) => sources.remove('api', pod.metadata?.uid ?? ''),
  });
  await aborted(signal);
}
