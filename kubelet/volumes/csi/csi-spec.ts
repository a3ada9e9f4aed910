// What a volume asks of its CSI driver, from the objects of the API. Pure; after pkg/volume/csi/csi_mounter.go,
// csi_attacher.go and csi_util.go.
import type { CSIDriver, PersistentVolume } from '../../../api/kinds.ts';
import type { Pod, Volume } from '../../../api/pod.ts';
import { AgentError } from '../../../core/errors.ts';
import type { AccessModeValue, VolumeCapability } from '../../../cri/gen/messages.ts';
import type { Init } from '../../../cri/runtime-service.ts';
import type { NodeCapability } from './csi-client.ts';
import { ephemeralHandle } from './csi-paths.ts';

export interface SecretName {
  readonly namespace: string;
  readonly name: string;
}

/** One volume of a pod that a CSI driver serves. */
export interface CsiSpec {
  /** Of the PersistentVolume or, of an inline volume, of the pod's volume. */
  readonly specName: string;
  readonly driver: string;
  readonly handle: string;
  readonly lifecycle: 'Persistent' | 'Ephemeral';
  readonly isBlock: boolean;
  readonly readOnly: boolean;
  readonly fsType: string;
  readonly attributes: Readonly<Record<string, string>>;
  /** Empty for an inline volume. */
  readonly accessModes: readonly string[];
  readonly mountOptions: readonly string[];
  readonly secrets: {
    readonly stage: SecretName | undefined;
    readonly publish: SecretName | undefined;
    readonly expand: SecretName | undefined;
  };
}

const secretName = (ref: { name?: string; namespace?: string } | undefined): SecretName | undefined =>
  ref?.name ? { namespace: ref.namespace ?? '', name: ref.name } : undefined;

export function inlineSpec(pod: Pod, volume: Volume): CsiSpec {
  const source = volume.csi!;
  const secret = secretName({ ...source.nodePublishSecretRef, namespace: pod.metadata?.namespace ?? '' });
  return {
    specName: volume.name,
    driver: source.driver,
    handle: ephemeralHandle(pod.metadata?.uid ?? '', volume.name),
    lifecycle: 'Ephemeral',
    isBlock: false,
    readOnly: source.readOnly ?? false,
    fsType: source.fsType ?? '',
    attributes: source.volumeAttributes ?? {},
    accessModes: [],
    mountOptions: [],
    secrets: { stage: undefined, publish: secret, expand: undefined },
  };
}

/** `readOnly`: what the pod says of the claim. */
export function persistentSpec(pv: PersistentVolume, readOnly: boolean): CsiSpec {
  const source = pv.spec!.csi!;
  return {
    specName: pv.metadata?.name ?? '',
    driver: source.driver,
    handle: source.volumeHandle,
    lifecycle: 'Persistent',
    isBlock: pv.spec?.volumeMode === 'Block',
    readOnly: readOnly || (source.readOnly ?? false),
    fsType: source.fsType ?? '',
    attributes: source.volumeAttributes ?? {},
    accessModes: pv.spec?.accessModes ?? [],
    mountOptions: pv.spec?.mountOptions ?? [],
    secrets: {
      stage: secretName(source.nodeStageSecretRef),
      publish: secretName(source.nodePublishSecretRef),
      expand: secretName(
        (source as { nodeExpandSecretRef?: { name?: string; namespace?: string } }).nodeExpandSecretRef,
      ),
    },
  };
}

/** @throws when the driver does not serve volumes of this life. A driver without a CSIDriver serves persistent ones. */
export function checkLifecycle(spec: CsiSpec, driver: CSIDriver | undefined): void {
  const modes: readonly string[] = driver?.spec?.volumeLifecycleModes ?? ['Persistent'];
  if (modes.includes(spec.lifecycle)) return;
  const supported = modes.map((mode) => JSON.stringify(mode)).join(' ');
  throw new AgentError(
    `volume mode "${spec.lifecycle}" not supported by driver ${spec.driver} (only supports [${supported}])`,
    { code: 'CSI_VOLUME_REFUSED' },
  );
}

/** The group that the driver itself gives the files to, where it can. */
export function driverFsGroup(pod: Pod, capabilities: ReadonlySet<NodeCapability>): string | undefined {
  const fsGroup = pod.spec?.securityContext?.fsGroup;
  return fsGroup !== undefined && capabilities.has('VOLUME_MOUNT_GROUP') ? String(fsGroup) : undefined;
}

export function capabilityOf(
  spec: CsiSpec,
  capabilities: ReadonlySet<NodeCapability>,
  mountGroup: string | undefined,
): Init<VolumeCapability> {
  const mode = accessMode(spec.accessModes[0] ?? 'ReadWriteOnce', capabilities.has('SINGLE_NODE_MULTI_WRITER'));
  if (spec.isBlock) return { block: {}, accessMode: { mode } };
  const mount = { fsType: spec.fsType, mountFlags: [...spec.mountOptions], volumeMountGroup: mountGroup ?? '' };
  return { mount, accessMode: { mode } };
}

function accessMode(mode: string, tellsWriters: boolean): AccessModeValue {
  switch (mode) {
    case 'ReadWriteOnce':
      return tellsWriters ? 'SINGLE_NODE_MULTI_WRITER' : 'SINGLE_NODE_WRITER';
    case 'ReadWriteOncePod':
      return tellsWriters ? 'SINGLE_NODE_SINGLE_WRITER' : 'SINGLE_NODE_WRITER';
    case 'ReadOnlyMany':
      return 'MULTI_NODE_READER_ONLY';
    case 'ReadWriteMany':
      return 'MULTI_NODE_MULTI_WRITER';
    default:
      return 'UNKNOWN';
  }
}

/** What a driver that asks for it is told of the pod. */
export function podInfo(pod: Pod, spec: CsiSpec, driver: CSIDriver | undefined): Record<string, string> {
  if (driver?.spec?.podInfoOnMount !== true) return {};
  return {
    'csi.storage.k8s.io/pod.name': pod.metadata?.name ?? '',
    'csi.storage.k8s.io/pod.namespace': pod.metadata?.namespace ?? '',
    'csi.storage.k8s.io/pod.uid': pod.metadata?.uid ?? '',
    'csi.storage.k8s.io/serviceAccount.name': pod.spec?.serviceAccountName ?? '',
    'csi.storage.k8s.io/ephemeral': String(spec.lifecycle === 'Ephemeral'),
  };
}

/** Access modes with one node that writes: there the group of one pod is nobody else's concern. */
const ONE_WRITER: ReadonlySet<string> = new Set(['ReadWriteOnce', 'ReadWriteOncePod']);

/** Whether the agent gives the files to the pod's fsGroup after the volume has been published. */
export function ownsByFsGroup(spec: CsiSpec, driver: CSIDriver | undefined): boolean {
  if (spec.readOnly) return false; // nothing in it can be changed
  switch (driver?.spec?.fsGroupPolicy) {
    case 'None':
      return false;
    case 'File':
      return true;
    default:
      if (spec.fsType === '') return false;
      return spec.lifecycle === 'Ephemeral' || spec.accessModes.some((mode) => ONE_WRITER.has(mode));
  }
}

export function needsAttach(spec: CsiSpec, driver: CSIDriver | undefined): boolean {
  return spec.lifecycle === 'Persistent' && driver?.spec?.attachRequired !== false;
}
