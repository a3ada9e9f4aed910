// What a pod's volume stands for once its claim and PersistentVolume are read, or why it may not be used. Pure; after
// pkg/kubelet/volumemanager/populator and pkg/volume/util (CheckNodeAffinity).
import type { Node, PersistentVolume, PersistentVolumeClaim } from '../../../api/kinds.ts';
import type { Pod, Volume } from '../../../api/pod.ts';
import { matchesNodeSelectorTerm, type NodeSelectorTerm } from '../../../api/scheduling.ts';

const PROTECTION = 'kubernetes.io/pvc-protection';

export interface ClaimRef {
  readonly name: string;
  readonly readOnly: boolean;
  /** Made for the pod by a controller (`ephemeral`): it must be the pod's own. */
  readonly isOwned: boolean;
}

/** The claim that the volume names, undefined for a volume without one. */
export function claimOf(pod: Pod, volume: Volume): ClaimRef | undefined {
  const source = volume.persistentVolumeClaim;
  if (source !== undefined) return { name: source.claimName, readOnly: source.readOnly ?? false, isOwned: false };
  if (volume.ephemeral === undefined) return undefined;
  return { name: `${pod.metadata?.name ?? ''}-${volume.name}`, readOnly: false, isOwned: true };
}

/** Why the claim cannot be used yet; undefined when its PersistentVolume may be read. */
export function claimFault(pod: Pod, ref: ClaimRef, claim: PersistentVolumeClaim): string | undefined {
  const { metadata, status, spec } = claim;
  if (ref.isOwned) {
    const owner = metadata?.ownerReferences?.find((o) => o.controller === true);
    if (owner?.uid === undefined || owner.uid !== pod.metadata?.uid) {
      const { namespace, name } = pod.metadata ?? {};
      return `PVC ${metadata?.namespace}/${metadata?.name} was not created for pod ${namespace}/${name} (pod is not owner)`;
    }
  }
  const isGoing = metadata?.deletionTimestamp !== undefined && !metadata.finalizers?.includes(PROTECTION);
  if (isGoing) return 'PVC is being deleted';
  if (status?.phase !== 'Bound') return 'PVC is not bound';
  return spec?.volumeName ? undefined : 'PVC has empty pvc.Spec.VolumeName';
}

/** Why the PersistentVolume is not the claim's. */
export function volumeFault(claim: PersistentVolumeClaim, pv: PersistentVolume): string | undefined {
  const name = pv.metadata?.name ?? '';
  const claimRef = pv.spec?.claimRef;
  if (claimRef === undefined) {
    return `found PV object ${name} but it has a nil pv.Spec.ClaimRef indicating it is not yet bound to the claim`;
  }
  const uid = claim.metadata?.uid ?? '';
  if (claimRef.uid === uid) return undefined;
  return `found PV object ${name} but its pv.Spec.ClaimRef.UID ${claimRef.uid ?? ''} does not point to claim.UID ${uid}`;
}

/** A file system cannot be used as a device, nor a device mounted. */
export function modeFault(pod: Pod, volume: string, pv: PersistentVolume): string | undefined {
  const { containers = [], initContainers = [], ephemeralContainers = [] } = pod.spec ?? {};
  const all = [...containers, ...initContainers, ...ephemeralContainers];
  if (pv.spec?.volumeMode === 'Block') {
    const isMounted = all.some((c) => c.volumeMounts?.some((m) => m.name === volume));
    return isMounted ? `volume ${volume} has volumeMode Block, but is specified in volumeMounts` : undefined;
  }
  const isDevice = all.some((c) => c.volumeDevices?.some((d) => d.name === volume));
  return isDevice ? `volume ${volume} has volumeMode Filesystem, but is specified in volumeDevices` : undefined;
}

/** Whether the PersistentVolume can be reached from this node. */
export function isReachable(pv: PersistentVolume, node: Node | undefined): boolean {
  const terms = pv.spec?.nodeAffinity?.required?.nodeSelectorTerms;
  if (terms === undefined || node === undefined) return true;
  return terms.some((term) => matchesNodeSelectorTerm(term as NodeSelectorTerm, node));
}

const GID_ANNOTATION = 'pv.beta.kubernetes.io/gid';

/** The group that may use the volume's files, as its administrator says; undefined when that is no group. */
export function groupOf(pv: PersistentVolume): number | undefined {
  const text = pv.metadata?.annotations?.[GID_ANNOTATION] ?? '';
  const gid = Number(text);
  return /^\d+$/.test(text) && gid > 0 && gid < 2 ** 32 - 1 ? gid : undefined;
}

const MOUNT_OPTIONS_ANNOTATION = 'volume.beta.kubernetes.io/mount-options';

/** How the volume is to be mounted; in-tree kinds take the annotation of old provisioners before the field. */
export function mountOptionsOf(pv: PersistentVolume): readonly string[] {
  const text = pv.metadata?.annotations?.[MOUNT_OPTIONS_ANNOTATION];
  return text === undefined ? (pv.spec?.mountOptions ?? []) : text.split(',').filter((option) => option !== '');
}
