// What the runtime says about pods, in the kubelet's terms, with as few calls as will do.
import { isIP } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { isCriError } from '../../cri/errors.ts';
import type {
  Container,
  ContainerState,
  ContainerStatus,
  PodSandbox,
  PodSandboxStatus,
} from '../../cri/gen/messages.ts';
import type { CriCallOptions, RuntimeService } from '../../cri/runtime-service.ts';
import { POD_UID_LABEL, parseContainerMeta } from './labels.ts';
import { lastWords } from './last-words.ts';
import type { PodRuntimeStatus, RuntimeContainer, RuntimePod } from './pod-runtime-status.ts';
import type { RuntimeDeps } from './runtime-deps.ts';
import type { ReadStatusOptions } from './runtime-manager.ts';

/** A ready sandbox's addresses do not change; asking again now and then finds a network that somebody took away. */
const SANDBOX_STATUS_MAX_AGE_MS = 30_000;

export const SIGKILL_EXIT_CODE = 137;
/** As CRI names it. */
const OOM_KILLED = 'OOMKilled';
/** How long after a kill the runtime may still find out that memory had run out. */
const LATE_REASON_MS = 10_000;
/** A runtime that told of a lack of memory itself is asked again so soon, ms, doubling, and for so long in all. */
const FIRST_ASK_MS = 5;
const ASK_LIMIT_MS = 1_000;
/** Notices of containers that nobody has asked about yet. */
const MAX_NOTICES = 1_000;

interface Remembered {
  /** Ended containers: the runtime will never say anything else about them. */
  readonly ended: ReadonlyMap<string, RuntimeContainer>;
  /** Ids of the other containers. */
  readonly alive: ReadonlySet<string>;
  /** Ready ones with an address. */
  readonly sandboxes: ReadonlyMap<string, { readonly status: PodSandboxStatus; readonly atMs: number }>;
  /** There was nothing else when the pod was read, and what we have added since is among it. */
  readonly isWhole: boolean;
}

const NOTHING: Remembered = { ended: new Map(), alive: new Set(), sandboxes: new Map(), isWhole: true };

/** Answers about containers that were asked for before a list told that they are there, by id. */
type Early = ReadonlyMap<string, Promise<ContainerStatus | undefined>>;

/** All that there is of a pod. */
interface Found {
  readonly sandboxes: PodSandboxStatus[];
  readonly containers: RuntimeContainer[];
}

export interface StatusReaderDeps extends Pick<RuntimeDeps, 'tailLog'> {
  readonly runtime: RuntimeService;
  readonly clock: Clock;
  readonly log: Logger;
}

export class PodStatusReader {
  readonly #deps: StatusReaderDeps;
  readonly #remembered = new Map<string, Remembered>();
  /** Containers that ran out of memory, by the runtime's notice, and whose status has not been seen to say so. */
  readonly #ranOut = new Set<string>();

  constructor(deps: StatusReaderDeps) {
    this.#deps = deps;
  }

  /** Two calls, whatever the number of pods. */
  async listPods(signal?: AbortSignal): Promise<RuntimePod[]> {
    const opts = signal === undefined ? {} : { signal };
    const { runtime } = this.#deps;
    const [sandboxes, containers] = await Promise.all([
      runtime.listPodSandboxes(undefined, opts),
      runtime.listContainers(undefined, opts),
    ]);
    const pods = groupByPod(sandboxes, containers);
    for (const uid of this.#remembered.keys()) if (!pods.has(uid)) this.#remembered.delete(uid);
    return [...pods.values()];
  }

  /** A container was created in the pod: it is asked about together with the next list, not after it. */
  expectContainer(uid: string, id: string): void {
    const memory = this.#remembered.get(uid) ?? NOTHING;
    this.#remembered.set(uid, { ...memory, alive: new Set(memory.alive).add(id) });
  }

  /** Its end is asked about again until it says why, even where it has been seen already. */
  memoryRanOut(containerId: string): void {
    for (const oldest of this.#ranOut) {
      if (this.#ranOut.size < MAX_NOTICES) break;
      this.#ranOut.delete(oldest);
    }
    this.#ranOut.add(containerId);
  }

  /** What the runtime has just said of a sandbox of the pod. */
  expectSandbox(uid: string, status: PodSandboxStatus): void {
    if (!hasAddress(status)) return;
    const memory = this.#remembered.get(uid) ?? NOTHING;
    const sandboxes = new Map(memory.sandboxes).set(status.id, { status, atMs: this.#deps.clock.monotonicMs() });
    this.#remembered.set(uid, { ...memory, sandboxes });
  }

  /**
   * One status call per container that has not been seen ended, and two list calls with them, all at once when it is
   * known. `onlyAdded`: all that has happened to the pod since it was last read are our own additions; then the lists
   * would tell nothing.
   */
  async getPodStatus(
    uid: string,
    name: string,
    namespace: string,
    { onlyAdded = false, ...opts }: ReadStatusOptions = {},
  ): Promise<PodRuntimeStatus> {
    const observedAtMs = this.#deps.clock.monotonicMs();
    const before = this.#remembered.get(uid);
    const early = this.#askEarly(before, opts);
    const found =
      (onlyAdded ? await withAdditions(before, early) : undefined) ?? (await this.#listed(uid, before, early, opts));
    const status = assemble(uid, name, namespace, observedAtMs, found.sandboxes, found.containers);
    this.#remember(status, before);
    return status;
  }

  async #listed(uid: string, before: Remembered | undefined, early: Early, opts: CriCallOptions): Promise<Found> {
    const filter = { labelSelector: { [POD_UID_LABEL]: uid } };
    const [sandboxList, containerList] = await Promise.all([
      this.#deps.runtime.listPodSandboxes(filter, opts),
      this.#deps.runtime.listContainers(filter, opts),
    ]);
    const [sandboxes, containers] = await Promise.all([
      Promise.all(sandboxList.map((s) => this.#sandboxStatus(s, before, opts))),
      Promise.all(containerList.map((c) => this.#containerStatus(c, before, early, opts))),
    ]);
    return { sandboxes: sandboxes.filter(isPresent), containers: containers.filter(isPresent) };
  }

  forget(uid: string): void {
    this.#remembered.delete(uid);
  }

  #remember(status: PodRuntimeStatus, before: Remembered | undefined): void {
    if (status.sandboxes.length === 0 && status.containers.length === 0) {
      this.#remembered.delete(status.uid);
      return;
    }
    const nowMs = this.#deps.clock.monotonicMs();
    const wallMs = this.#deps.clock.now();
    const ended = new Map(status.containers.filter((c) => hasEndedForGood(c, wallMs)).map((c) => [c.id, c]));
    const alive = new Set(status.containers.filter((c) => !ended.has(c.id)).map((c) => c.id));
    const withAddress = status.sandboxes.filter(hasAddress);
    const sandboxes = new Map(
      withAddress.map((s) => {
        const old = before?.sandboxes.get(s.id);
        return [s.id, old?.status === s ? old : { status: s, atMs: nowMs }];
      }),
    );
    const hasGrown = this.#remembered.get(status.uid) !== before; // while the runtime was asked
    const isWhole = !hasGrown && sandboxes.size === status.sandboxes.length;
    this.#remembered.set(status.uid, { ended, alive, sandboxes, isWhole });
  }

  #askEarly(before: Remembered | undefined, opts: CriCallOptions): Early {
    const early = [...(before?.alive ?? [])].map((id) => {
      const answer = goneIsUndefined(this.#deps.runtime.containerStatus(id, opts));
      answer.catch(() => {}); // thrown where it is awaited; one that is not listed any more is nobody's concern
      return [id, answer] as const;
    });
    return new Map(early);
  }

  /** Only of a ready sandbox is more wanted than the list tells. Undefined when it is gone by now. */
  async #sandboxStatus(
    listed: PodSandbox,
    before: Remembered | undefined,
    opts: CriCallOptions,
  ): Promise<PodSandboxStatus | undefined> {
    const { runtimeHandler, id, metadata, state, createdAt, labels, annotations } = listed;
    if (state !== 'SANDBOX_READY') return { id, metadata, state, createdAt, labels, annotations, runtimeHandler };
    const known = before?.sandboxes.get(id);
    if (known !== undefined && this.#deps.clock.monotonicMs() - known.atMs < SANDBOX_STATUS_MAX_AGE_MS) {
      return known.status;
    }
    return goneIsUndefined(this.#deps.runtime.podSandboxStatus(id, opts));
  }

  async #containerStatus(
    listed: Container,
    before: Remembered | undefined,
    early: Early,
    opts: CriCallOptions,
  ): Promise<RuntimeContainer | undefined> {
    const known = before?.ended.get(listed.id);
    const mayBeNews = this.#ranOut.has(listed.id);
    if (known !== undefined && listed.state === 'CONTAINER_EXITED' && !mayBeNews) return known;
    let cri = await early.get(listed.id);
    // The list may be the newer of the two answers.
    if (cri?.state !== listed.state) cri = await goneIsUndefined(this.#deps.runtime.containerStatus(listed.id, opts));
    if (mayBeNews && cri?.state === 'CONTAINER_EXITED') cri = await this.#untilReason(cri, opts);
    if (cri === undefined) return undefined;
    const container = toRuntimeContainer(cri, listed.podSandboxId);
    return container.state === 'exited' ? { ...container, message: await lastWords(cri, this.#deps) } : container;
  }

  /**
   * containerd sends its notice to everybody at once, its own CRI service among them, which takes a moment to note it
   * down. An end that was told without its cause would stay so where it is final.
   */
  async #untilReason(
    ended: ContainerStatus,
    opts: { readonly signal?: AbortSignal },
  ): Promise<ContainerStatus | undefined> {
    const { clock, runtime } = this.#deps;
    const endMs = clock.monotonicMs() + ASK_LIMIT_MS;
    const signal = opts.signal ?? new AbortController().signal;
    let cri: ContainerStatus | undefined = ended;
    for (let waitMs = FIRST_ASK_MS; cri !== undefined && cri.reason !== OOM_KILLED; waitMs *= 2) {
      if (signal.aborted || clock.monotonicMs() + waitMs > endMs) break;
      await clock.sleep(waitMs, signal);
      cri = await goneIsUndefined(runtime.containerStatus(ended.id, opts));
    }
    this.#ranOut.delete(ended.id);
    return cri;
  }
}

/**
 * The pod as it was before, with the containers that were added. Undefined where the lists have to tell: something is
 * not as it would be after additions alone.
 */
async function withAdditions(before: Remembered | undefined, early: Early): Promise<Found | undefined> {
  const [sandbox, ...others] = before?.sandboxes.values() ?? [];
  if (before?.isWhole !== true || sandbox === undefined || others.length > 0) return undefined;
  const running: RuntimeContainer[] = [];
  for (const answer of early.values()) {
    const cri = await answer;
    if (cri?.state !== 'CONTAINER_RUNNING') return undefined;
    running.push(toRuntimeContainer(cri, sandbox.status.id));
  }
  return { sandboxes: [sandbox.status], containers: [...before.ended.values(), ...running] };
}

function toRuntimeContainer(cri: ContainerStatus, sandboxId: string): RuntimeContainer {
  const meta = parseContainerMeta(cri.labels, cri.annotations);
  return {
    id: cri.id,
    name: meta.containerName || (cri.metadata?.name ?? ''),
    sandboxId,
    state: stateOf(cri.state),
    createdAtMs: toMs(cri.createdAt),
    startedAtMs: toMs(cri.startedAt),
    finishedAtMs: toMs(cri.finishedAt),
    exitCode: cri.exitCode,
    reason: cri.reason,
    message: cri.message,
    restartCount: meta.restartCount,
    hash: meta.hash,
    cri,
  };
}

function groupByPod(sandboxes: readonly PodSandbox[], containers: readonly Container[]): Map<string, RuntimePod> {
  type Building = {
    -readonly [K in keyof RuntimePod]: RuntimePod[K] extends readonly (infer E)[] ? E[] : RuntimePod[K];
  };
  const pods = new Map<string, Building>();
  const podOf = (uid: string, name: string, namespace: string) => {
    const pod = pods.get(uid) ?? { uid, name, namespace, sandboxes: [], containers: [] };
    pods.set(uid, pod);
    return pod;
  };
  for (const s of sandboxes) {
    const { uid = '', name = '', namespace = '' } = s.metadata ?? {};
    if (uid === '') continue; // not made by a kubelet
    podOf(uid, name, namespace).sandboxes.push({
      id: s.id,
      ready: s.state === 'SANDBOX_READY',
      createdAtMs: toMs(s.createdAt),
    });
  }
  for (const c of containers) {
    const meta = parseContainerMeta(c.labels, c.annotations);
    if (meta.podUid === '') continue;
    podOf(meta.podUid, meta.podName, meta.podNamespace).containers.push({
      id: c.id,
      name: meta.containerName || (c.metadata?.name ?? ''),
      sandboxId: c.podSandboxId,
      state: stateOf(c.state),
      createdAtMs: toMs(c.createdAt),
    });
  }
  return pods;
}

function assemble(
  uid: string,
  name: string,
  namespace: string,
  observedAtMs: number,
  sandboxes: PodSandboxStatus[],
  containers: RuntimeContainer[],
): PodRuntimeStatus {
  sandboxes.sort(
    (a, b) =>
      (b.metadata?.attempt ?? 0) - (a.metadata?.attempt ?? 0) ||
      compare(b.createdAt, a.createdAt) ||
      compare(a.id, b.id),
  );
  containers.sort((a, b) => compare(b.cri.createdAt, a.cri.createdAt) || b.restartCount - a.restartCount);
  const network = sandboxes.find((s) => s.state === 'SANDBOX_READY')?.network;
  const ips = network === undefined ? [] : [network.ip, ...network.additionalIps.map((a) => a.ip)];
  const valid = ips.every((ip) => isIP(ip) !== 0);
  return { uid, name, namespace, ips: valid ? ips : [], sandboxes, containers, observedAtMs };
}

function compare<T extends bigint | string>(a: T, b: T): number {
  return a < b ? -1 : a > b ? 1 : 0;
}

export function stateOf(state: ContainerState): RuntimeContainer['state'] {
  if (state === 'CONTAINER_CREATED') return 'created';
  if (state === 'CONTAINER_RUNNING') return 'running';
  return state === 'CONTAINER_EXITED' ? 'exited' : 'unknown';
}

/** CRI times are ns; what has not happened is 0 (or, from some runtimes, long before the epoch). */
function toMs(ns: bigint): number {
  return ns <= 0n ? 0 : Number(ns / 1_000_000n);
}

/** Removed between list and status: as if it had not been listed. */
async function goneIsUndefined<T>(call: Promise<T>): Promise<T | undefined> {
  try {
    return await call;
  } catch (err) {
    if (isCriError(err, 'NOT_FOUND')) return undefined;
    throw err;
  }
}

/** containerd learns of an OOM kill apart from the exit, at times after it: until then a killed process just failed. */
function hasEndedForGood({ state, exitCode, reason, finishedAtMs }: RuntimeContainer, wallMs: number): boolean {
  if (state !== 'exited') return false;
  const mayChange = exitCode === SIGKILL_EXIT_CODE && reason !== OOM_KILLED;
  return !mayChange || wallMs - finishedAtMs > LATE_REASON_MS;
}

function hasAddress(sandbox: PodSandboxStatus): boolean {
  return sandbox.state === 'SANDBOX_READY' && Boolean(sandbox.network?.ip);
}

function isPresent<T>(value: T | undefined): value is T {
  return value !== undefined;
}
