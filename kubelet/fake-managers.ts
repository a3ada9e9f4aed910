// Small fakes of what stands beside the pod pipeline: volumes, probes, events.
import type { ObjectReference } from '../api/kinds.ts';
import type { Pod, PodStatus } from '../api/pod.ts';
import type { EventRecorder, EventType } from '../client/event-recorder.ts';
import { aborted } from '../core/abort.ts';
import type { ProbeChange, ProbeKind, ProbeManager, ProbeVerdict } from '../probes/probe-manager.ts';
import type { MountedVolume, VolumeManager } from './volumes/volume-manager.ts';

export class FakeVolumes implements VolumeManager {
  readonly mounted = new Map<string, Pod>();
  readonly unmounts: string[] = [];
  dirs: string[] = [];
  mountCalls = 0;
  mountError: Error | undefined;
  unmountError: Error | undefined;

  async mountPod(pod: Pod, signal: AbortSignal): Promise<ReadonlyMap<string, MountedVolume>> {
    signal.throwIfAborted();
    this.mountCalls++;
    if (this.mountError !== undefined) throw this.mountError;
    this.mounted.set(pod.metadata?.uid ?? '', pod);
    return new Map();
  }

  async unmountPod(podUid: string): Promise<void> {
    if (this.unmountError !== undefined) throw this.unmountError;
    this.unmounts.push(podUid);
    this.mounted.delete(podUid);
  }

  async removePodDir(podUid: string): Promise<void> {
    await this.unmountPod(podUid);
    this.dirs = this.dirs.filter((d) => d !== podUid);
  }

  volumesOf(podUid: string): ReadonlyMap<string, MountedVolume> | undefined {
    return this.mounted.has(podUid) ? new Map() : undefined;
  }

  readonly #handlers = new Set<(podUid: string) => void>();

  onPodVolumesChanged(handler: (podUid: string) => void): Disposable {
    this.#handlers.add(handler);
    return { [Symbol.dispose]: () => void this.#handlers.delete(handler) };
  }

  /** As when an object changed, or a driver came. */
  change(podUid: string): void {
    for (const handler of this.#handlers) handler(podUid);
  }

  async listPodDirs(): Promise<string[]> {
    return this.dirs;
  }

  forgetPod(): void {}
}

export class FakeProbes implements ProbeManager {
  readonly verdicts = new Map<string, ProbeVerdict>();
  readonly pods = new Map<string, Pod>();
  readonly #told = new Map<string, PodStatus | undefined>();
  readonly #handlers = new Set<(change: ProbeChange) => void>();

  addPod(pod: Pod, status?: PodStatus): void {
    const uid = pod.metadata?.uid ?? '';
    if (!this.pods.has(uid)) this.#told.set(uid, status);
    this.pods.set(uid, pod);
  }

  updatePodStatus(podUid: string, status: PodStatus): void {
    if (this.pods.has(podUid)) this.#told.set(podUid, status); // others it does not know yet
  }

  /** What it knows of the pod's status: without it nothing is probed. */
  told(podUid: string): PodStatus | undefined {
    return this.#told.get(podUid);
  }

  stopLivenessAndStartup(): void {}

  removePod(podUid: string): void {
    this.pods.delete(podUid);
  }

  verdict(kind: ProbeKind, containerId: string): ProbeVerdict | undefined {
    return this.verdicts.get(`${kind} ${containerId}`);
  }

  hasProbe(podUid: string, container: string, kind: ProbeKind): boolean {
    const spec = this.pods.get(podUid)?.spec?.containers.find((c) => c.name === container);
    return spec?.[`${kind}Probe`] !== undefined;
  }

  onChange(handler: (change: ProbeChange) => void): Disposable {
    this.#handlers.add(handler);
    return { [Symbol.dispose]: () => void this.#handlers.delete(handler) };
  }

  /** Stores a verdict and tells everybody. */
  report(change: ProbeChange): void {
    this.verdicts.set(`${change.kind} ${change.containerId}`, change.verdict);
    for (const handler of this.#handlers) handler(change);
  }

  async run(signal: AbortSignal): Promise<void> {
    await aborted(signal);
  }
}

export class FakeEvents implements EventRecorder {
  readonly events: { readonly type: EventType; readonly reason: string; readonly message: string }[] = [];

  event(_about: ObjectReference, type: EventType, reason: string, message: string): void {
    this.events.push({ type, reason, message });
  }

  reasons(): string[] {
    return this.events.map((e) => e.reason);
  }
}
