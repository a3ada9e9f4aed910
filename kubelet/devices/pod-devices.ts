// Which devices the containers of pods hold. After pkg/kubelet/cm/devicemanager/pod_devices.go.
import type { Pod } from '../../api/pod.ts';
import { isSidecar } from '../runtime/restart-policy.ts';
import { type DeviceGrant, idsOf } from './device-types.ts';

/** By container, then by resource. */
type PodGrants = Map<string, Map<string, DeviceGrant>>;

export interface GrantEntry {
  readonly podUid: string;
  readonly container: string;
  readonly resource: string;
  readonly grant: DeviceGrant;
}

export class PodDevices {
  readonly #pods = new Map<string, PodGrants>();

  set({ podUid, container, resource, grant }: GrantEntry): void {
    const pod = this.#pods.get(podUid) ?? new Map<string, Map<string, DeviceGrant>>();
    const grants = pod.get(container) ?? new Map<string, DeviceGrant>();
    this.#pods.set(podUid, pod.set(container, grants.set(resource, grant)));
  }

  /** True when it held something. */
  delete(podUid: string): boolean {
    return this.#pods.delete(podUid);
  }

  uids(): Iterable<string> {
    return this.#pods.keys();
  }

  entries(): GrantEntry[] {
    return [...this.#pods].flatMap(([podUid, containers]) =>
      [...containers].flatMap(([container, grants]) =>
        [...grants].map(([resource, grant]) => ({ podUid, container, resource, grant })),
      ),
    );
  }

  /** By resource; empty when the container holds none. */
  ofContainer(podUid: string, container: string): ReadonlyMap<string, DeviceGrant> {
    return this.#pods.get(podUid)?.get(container) ?? NONE;
  }

  /** Undefined when the container was given nothing of the resource. */
  ids(podUid: string, container: string, resource: string): Set<string> | undefined {
    const grant = this.ofContainer(podUid, container).get(resource);
    return grant === undefined ? undefined : idsOf(grant);
  }

  /** Of all containers of the pod. */
  idsOfPod(podUid: string, resource: string): Set<string> {
    const containers = this.#pods.get(podUid)?.keys() ?? [];
    return new Set([...containers].flatMap((name) => [...(this.ids(podUid, name, resource) ?? [])]));
  }

  /** By resource: what all pods hold. Devices that init containers hand on count once. */
  held(): Map<string, Set<string>> {
    const held = new Map<string, Set<string>>();
    for (const { resource, grant } of this.entries()) {
      const ids = held.get(resource) ?? new Set<string>();
      for (const id of idsOf(grant)) ids.add(id); // a union each time would copy all of them for every pod
      held.set(resource, ids);
    }
    return held;
  }

  holders(resource: string, deviceIds: ReadonlySet<string>): Set<string> {
    const holders = this.entries().filter((e) => e.resource === resource && !idsOf(e.grant).isDisjointFrom(deviceIds));
    return new Set(holders.map((e) => e.podUid));
  }

  /**
   * What `container` may use of what earlier containers of its pod have: init containers have ended by the time it
   * starts. Sidecars go on, and what a later container has taken over is its own.
   */
  reusable(pod: Pod, container: string, resource: string): Set<string> {
    const uid = pod.metadata?.uid ?? '';
    let reusable = new Set<string>();
    const init = pod.spec?.initContainers ?? [];
    for (const earlier of [...init, ...(pod.spec?.containers ?? [])]) {
      if (earlier.name === container) break;
      const ids = this.ids(uid, earlier.name, resource) ?? new Set<string>();
      const handsOn = init.includes(earlier) && !isSidecar(earlier);
      reusable = handsOn ? reusable.union(ids) : reusable.difference(ids);
    }
    return reusable;
  }
}

const NONE: ReadonlyMap<string, DeviceGrant> = new Map();
