// A container's mounts: its volumes, /etc/hosts and the termination log (pkg/kubelet/kubelet_pods.go makeMounts). Pure:
// host paths of sub-paths are prepared by sub-path.ts and handed in.
import path from 'node:path';
import type { VolumeMount } from '../../api/pod.ts';
import type { Device, ImageSpec, Mount } from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';
import type { MountedVolume } from '../volumes/volume-manager.ts';
import { ContainerConfigError } from './config-error.ts';
import { expandVariables } from './expand.ts';
import { type AnyContainer, DEFAULT_TERMINATION_PATH } from './labels.ts';

export interface MountInput {
  readonly container: AnyContainer;
  readonly volumes: ReadonlyMap<string, MountedVolume>;
  readonly env: ReadonlyMap<string, string>;
  /** Index of a volume mount → where its sub-path is mounted on the host. */
  readonly subPaths: ReadonlyMap<number, string>;
  /** Volumes that the runtime mounts itself, by name; absent: none. */
  readonly images?: ReadonlyMap<string, Init<ImageSpec>>;
  readonly etcHostsFile: string;
  readonly terminationLogFile: string;
  /** The runtime handler can make a mount read-only with everything below it. */
  readonly supportsRecursiveReadOnly: boolean;
}

export interface SubPathRequest {
  /** Of the mount in `volumeMounts`. */
  readonly index: number;
  readonly volume: MountedVolume;
  /** Relative, without `..`, not empty. */
  readonly subPath: string;
}

/** The sub-paths that must be prepared before `makeMounts`. @throws {ContainerConfigError} */
export function subPathRequests(
  container: AnyContainer,
  volumes: ReadonlyMap<string, MountedVolume>,
  env: ReadonlyMap<string, string>,
  images: ReadonlyMap<string, unknown> = new Map(),
): SubPathRequest[] {
  const requests: SubPathRequest[] = [];
  for (const [index, mount] of (container.volumeMounts ?? []).entries()) {
    if (images.has(mount.name)) continue; // the runtime looks for it in the image
    const subPath = resolveSubPath(mount, env);
    if (subPath !== '') requests.push({ index, volume: volumeOf(mount, container, volumes), subPath });
  }
  return requests;
}

/** @throws {ContainerConfigError} */
export function makeMounts(input: MountInput): Init<Mount>[] {
  const { container } = input;
  const mounts = (container.volumeMounts ?? []).map((m, index) => volumeMount(m, index, input));
  const paths = new Set((container.volumeMounts ?? []).map((m) => path.posix.resolve(absolute(m.mountPath))));
  if (!paths.has('/etc/hosts')) mounts.push(plainMount('/etc/hosts', input.etcHostsFile));
  mounts.push(plainMount(container.terminationMessagePath || DEFAULT_TERMINATION_PATH, input.terminationLogFile));
  return mounts;
}

/** Block volumes; what is not mounted as a device yet is left out, as the pod's volumes have been waited for before. */
export function makeDevices(container: AnyContainer, volumes: ReadonlyMap<string, MountedVolume>): Init<Device>[] {
  return (container.volumeDevices ?? []).flatMap(({ name, devicePath }) => {
    const volume = volumes.get(name);
    if (volume?.isBlock !== true) return [];
    return [{ containerPath: devicePath, hostPath: volume.hostPath, permissions: volume.readOnly ? 'r' : 'mrw' }];
  });
}

function volumeMount(mount: VolumeMount, index: number, input: MountInput): Init<Mount> {
  const image = input.images?.get(mount.name);
  if (image !== undefined) return imageMount(mount, image, input.env);
  const volume = volumeOf(mount, input.container, input.volumes);
  const readonly = mount.readOnly === true || volume.readOnly;
  return {
    containerPath: absolute(mount.mountPath),
    hostPath: input.subPaths.get(index) ?? volume.hostPath,
    readonly,
    selinuxRelabel: volume.selinuxRelabel,
    propagation: propagation(mount),
    recursiveReadOnly: recursiveReadOnly(mount, readonly, input.supportsRecursiveReadOnly),
  };
}

/** Nothing of it is on a path of the host; an image is never written to. */
function imageMount(mount: VolumeMount, image: Init<ImageSpec>, env: ReadonlyMap<string, string>): Init<Mount> {
  return {
    containerPath: absolute(mount.mountPath),
    hostPath: '',
    readonly: true,
    propagation: propagation(mount),
    image,
    imageSubPath: resolveSubPath(mount, env),
  };
}

function volumeOf(
  mount: VolumeMount,
  container: AnyContainer,
  volumes: ReadonlyMap<string, MountedVolume>,
): MountedVolume {
  const volume = volumes.get(mount.name);
  if (volume !== undefined) return volume;
  throw new ContainerConfigError(`cannot find volume "${mount.name}" to mount into container "${container.name}"`);
}

function resolveSubPath(mount: VolumeMount, env: ReadonlyMap<string, string>): string {
  const subPath = mount.subPathExpr ? expandSubPath(mount.subPathExpr, env) : (mount.subPath ?? '');
  if (path.posix.isAbsolute(subPath)) {
    throw new ContainerConfigError(`error SubPath \`${subPath}\` must not be an absolute path`);
  }
  if (subPath.split('/').includes('..')) {
    throw new ContainerConfigError(`unable to provision SubPath \`${subPath}\`: must not contain '..'`);
  }
  const normal = path.posix.normalize(subPath || '.').replace(/\/$/, '');
  return normal === '.' ? '' : normal;
}

/** Unlike elsewhere, a variable that is not set is an error: it would name another directory than the one meant. */
function expandSubPath(expression: string, env: ReadonlyMap<string, string>): string {
  const missing: string[] = [];
  const expanded = expandVariables(expression, (name) => {
    const value = env.get(name);
    if (!value) missing.push(name);
    return value;
  });
  if (missing.length > 0) throw new ContainerConfigError(`missing value for ${missing.join(', ')}`);
  return expanded;
}

function propagation(mount: VolumeMount): Mount['propagation'] {
  if (mount.mountPropagation === 'HostToContainer') return 'PROPAGATION_HOST_TO_CONTAINER';
  return mount.mountPropagation === 'Bidirectional' ? 'PROPAGATION_BIDIRECTIONAL' : 'PROPAGATION_PRIVATE';
}

function recursiveReadOnly(mount: VolumeMount, readonly: boolean, supported: boolean): boolean {
  const mode = (mount as { recursiveReadOnly?: string }).recursiveReadOnly ?? 'Disabled';
  if (mode === 'Disabled') return false;
  const asked = `volume "${mount.name}" requested recursive read-only mode`;
  if (!readonly) throw new ContainerConfigError(`${asked}, but it is not read-only`);
  if ((mount.mountPropagation ?? 'None') !== 'None') {
    throw new ContainerConfigError(`${asked}, but it is not compatible with propagation ${mount.mountPropagation}`);
  }
  if (mode === 'Enabled' && !supported) {
    throw new ContainerConfigError(`${asked}, but it is not supported by the runtime`);
  }
  return supported;
}

function plainMount(containerPath: string, hostPath: string): Init<Mount> {
  return { containerPath, hostPath, readonly: false, propagation: 'PROPAGATION_PRIVATE' };
}

function absolute(mountPath: string): string {
  return path.posix.isAbsolute(mountPath) ? mountPath : `/${mountPath}`;
}
