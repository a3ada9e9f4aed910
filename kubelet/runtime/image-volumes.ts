// Images mounted as volumes (KEP-4639): pulled before the pod's containers start, as the image of a container is, and
// mounted by the runtime. What fails is the start of the containers that mount the volume.
import type { Pod } from '../../api/pod.ts';
import type { ImageSpec, PodSandboxConfig } from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';
import type { ImagePuller } from './image-puller.ts';
import type { AnyContainer } from './labels.ts';
import type { CredentialLookup } from './registry-auth.ts';
import { podReference } from './runtime-deps.ts';

export interface ImageVolumeFailure {
  /** Of `state.waiting`. */
  readonly reason: string;
  readonly message: string;
  readonly retryAtMs?: number;
}

export type ImageVolume = { readonly spec: Init<ImageSpec> } | ImageVolumeFailure;

/** Why the runtime cannot mount images, or a sub-path of one; undefined when it can. */
export type ImageVolumesMissing = (withSubPath: boolean) => string | undefined;

export interface ImageVolumeDeps {
  readonly puller: ImagePuller;
  readonly keyring: (pod: Pod) => Promise<CredentialLookup>;
  readonly missing: ImageVolumesMissing;
}

const NONE: ReadonlyMap<string, ImageVolume> = new Map();

/** By name of the volume. Never throws for what an image or a registry can cause. */
export async function pullImageVolumes(
  pod: Pod,
  sandboxConfig: Init<PodSandboxConfig>,
  deps: ImageVolumeDeps,
  signal: AbortSignal,
): Promise<ReadonlyMap<string, ImageVolume>> {
  const volumes = (pod.spec?.volumes ?? []).filter((v) => v.image !== undefined);
  if (volumes.length === 0) return NONE;
  const missing = deps.missing(false);
  const pulled = new Map<string, ImageVolume>();
  for (const { name, image } of volumes) {
    if (missing !== undefined) {
      pulled.set(name, cannotMount(name, missing));
      continue;
    }
    const reference = image?.reference ?? '';
    const result = await deps.puller.ensureImage({
      pod,
      about: podReference(pod),
      image: reference,
      pullPolicy: image?.pullPolicy,
      sandboxConfig,
      keyring: () => deps.keyring(pod),
      signal,
    });
    const annotations = pod.metadata?.annotations ?? {};
    pulled.set(
      name,
      'reason' in result ? result : { spec: { image: result.imageRef, userSpecifiedImage: reference, annotations } },
    );
  }
  return pulled;
}

/** What the container mounts of them, and the last failure among those, which keeps it from starting. */
export function imagesOf(
  container: AnyContainer,
  volumes: ReadonlyMap<string, ImageVolume>,
  missing: ImageVolumesMissing,
): { readonly images: ReadonlyMap<string, Init<ImageSpec>>; readonly failures: readonly ImageVolumeFailure[] } {
  const images = new Map<string, Init<ImageSpec>>();
  const failures: ImageVolumeFailure[] = [];
  if (volumes.size === 0) return { images, failures };
  for (const { name, subPath, subPathExpr } of container.volumeMounts ?? []) {
    const volume = volumes.get(name);
    if (volume === undefined) continue;
    const why = subPath || subPathExpr ? missing(true) : undefined;
    if ('reason' in volume) failures.push(volume);
    else if (why !== undefined) failures.push(cannotMount(name, why));
    else images.set(name, volume.spec);
  }
  return { images, failures };
}

function cannotMount(volume: string, why: string): ImageVolumeFailure {
  return { reason: 'CreateContainerConfigError', message: `image volume "${volume}" cannot be mounted: ${why}` };
}

/**
 * Images as volumes came with containerd 2.1, where an older one would mount an empty path; sub-paths with 2.2, where
 * 2.1 would show the whole image and say nothing. Pure.
 */
export function imageVolumesMissing(
  runtimeName: string,
  runtimeVersion: string,
  withSubPath: boolean,
): string | undefined {
  const version = /^v?(\d+)\.(\d+)/.exec(runtimeVersion);
  if (runtimeName !== 'containerd' || version === null) return undefined;
  const [major, minor] = [Number(version[1]), Number(version[2])];
  const [needed, what] = withSubPath ? [2, 'sub-paths of images'] : [1, 'images'];
  if (major > 2 || (major === 2 && minor >= needed)) return undefined;
  return `containerd ${runtimeVersion} does not mount ${what}, containerd 2.${needed} and later do`;
}
