// The seam between pods and what is mounted for them (pkg/kubelet/volumemanager). Implemented by LocalVolumes
// (local-volumes.ts).
import type { Pod } from '../../api/pod.ts';

/** Where a volume of a pod is on the host, for the container's mounts. */
export interface MountedVolume {
  readonly name: string;
  /** Upstream's name of what serves it, for metrics; told of every volume that a VolumeManager hands out. */
  readonly plugin?: string;
  readonly hostPath: string;
  /** The volume itself may only be read (configMap, secret, downwardAPI, projected, read-only CSI). */
  readonly readOnly: boolean;
  readonly selinuxRelabel: boolean;
  /** `hostPath` leads to a device, for `volumeDevices`; else to files, for `volumeMounts`. */
  readonly isBlock?: boolean;
  /** Group that the pod's containers need beside their own to use the files. */
  readonly gid?: number;
}

export interface VolumeManager {
  /**
   * Brings every volume of the pod up to date: mounts what is missing, refreshes what the API changed. Idempotent. What
   * cannot be refreshed, because its object has gone or its driver refuses, stays as it is, and is tried again.
   * @throws {AgentError} VOLUME_MOUNT_FAILED; each failing volume has already been reported as a FailedMount Event.
   * VOLUME_ATTACHMENT_LIMIT when a volume cannot be attached to this node any more: the pod is to be rejected.
   */
  mountPod(pod: Pod, signal: AbortSignal): Promise<ReadonlyMap<string, MountedVolume>>;
  /** Unmounts and removes the pod's volumes. Idempotent. @throws when something is still mounted. */
  unmountPod(podUid: string, signal: AbortSignal): Promise<void>;
  /** `unmountPod`, then removes all else in the pod's directory (termination logs, hosts file). Idempotent. */
  removePodDir(podUid: string, signal: AbortSignal): Promise<void>;
  /** Volumes of a mounted pod, undefined before `mountPod` succeeded. */
  volumesOf(podUid: string): ReadonlyMap<string, MountedVolume> | undefined;
  /** Pods whose configMap or secret volumes must be refreshed now (a referenced object changed). */
  onPodVolumesChanged(handler: (podUid: string) => void): Disposable;
  /** Uids of all pod directories under the root directory, for orphan clean-up. */
  listPodDirs(): Promise<string[]>;
  /** Stops watching the objects that the pod refers to. */
  forgetPod(podUid: string): void;
}
