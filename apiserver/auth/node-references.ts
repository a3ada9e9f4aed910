// Which Secrets, ConfigMaps, claims and accounts the pods of a node name: what the node may read. After plugin/pkg/
// auth/authorizer/node/graph.go, computed from the pods of one namespace when asked instead of kept as a graph.
import { isMirrorPod, type Pod } from '../../api/pod.ts';
import { claimsOfPod } from '../../api/resource-claims.ts';
import { persistentVolumes, pods, volumeAttachments } from '../../api/resources.ts';
import type { ObjectReader } from '../registry/reader.ts';

export type ReferencedResource =
  | 'secrets'
  | 'configmaps'
  | 'persistentvolumeclaims'
  | 'serviceaccounts'
  | 'resourceclaims';

/** Whether a pod bound to `node` in `namespace` names the object, or uses a volume that needs it. */
export function isReferenced(
  reader: ObjectReader,
  node: string,
  resource: ReferencedResource,
  namespace: string,
  name: string,
): boolean {
  // A mirror shows what the node runs anyway: it gives access to nothing.
  const isNamed = reader
    .list<Pod>(pods, namespace)
    .some((pod) => pod.spec?.nodeName === node && !isMirrorPod(pod) && referencesOf(pod, resource).includes(name));
  return isNamed || (resource === 'secrets' && isSecretOfVolume(reader, node, namespace, name));
}

/** Secrets of a volume that the node mounts or grows; those for its making and attaching are the controllers'. */
function isSecretOfVolume(reader: ObjectReader, node: string, namespace: string, name: string): boolean {
  return reader.list(persistentVolumes).some(({ metadata, spec }) => {
    const { nodePublishSecretRef, nodeStageSecretRef, nodeExpandSecretRef } = spec?.csi ?? {};
    const refs = [nodePublishSecretRef, nodeStageSecretRef, nodeExpandSecretRef];
    const names = refs.some((ref) => ref?.name === name && ref.namespace === namespace);
    return names && isVolumeInUse(reader, node, metadata?.name ?? '');
  });
}

/** Whether a pod bound to `node` uses the claim that this volume is bound to. */
export function isVolumeInUse(reader: ObjectReader, node: string, name: string): boolean {
  const claim = reader.get(persistentVolumes, { name })?.spec?.claimRef;
  if (!claim?.name || !claim.namespace) return false;
  return isReferenced(reader, node, 'persistentvolumeclaims', claim.namespace, claim.name);
}

export function isAttachedTo(reader: ObjectReader, node: string, name: string): boolean {
  return reader.get(volumeAttachments, { name })?.spec.nodeName === node;
}

/** Pure: names of this kind that a pod mentions anywhere in its spec. */
export function referencesOf(pod: Pod, resource: ReferencedResource): string[] {
  const spec = pod.spec;
  switch (resource) {
    case 'serviceaccounts':
      return [spec?.serviceAccountName ?? 'default'];
    case 'persistentvolumeclaims':
      return volumes(pod).flatMap((v) =>
        v.ephemeral ? [`${pod.metadata?.name}-${v.name}`] : (v.persistentVolumeClaim?.claimName ?? []),
      );
    case 'secrets':
      return secretNames(pod);
    case 'configmaps':
      return configMapNames(pod);
    case 'resourceclaims':
      return resourceClaimNames(pod);
  }
}

const volumes = (pod: Pod) => pod.spec?.volumes ?? [];

const containers = (pod: Pod) => [
  ...(pod.spec?.initContainers ?? []),
  ...(pod.spec?.containers ?? []),
  ...(pod.spec?.ephemeralContainers ?? []),
];

function secretNames(pod: Pod): string[] {
  const names = [
    ...(pod.spec?.imagePullSecrets ?? []).map((s) => s.name),
    ...volumes(pod).flatMap((v) => [
      v.secret?.secretName,
      v.csi?.nodePublishSecretRef?.name,
      ...(v.projected?.sources ?? []).map((s) => s.secret?.name),
    ]),
    ...containers(pod).flatMap((c) => [
      ...(c.env ?? []).map((e) => e.valueFrom?.secretKeyRef?.name),
      ...(c.envFrom ?? []).map((e) => e.secretRef?.name),
    ]),
  ];
  return names.filter((n) => n !== undefined);
}

function configMapNames(pod: Pod): string[] {
  const names = [
    ...volumes(pod).flatMap((v) => [v.configMap?.name, ...(v.projected?.sources ?? []).map((s) => s.configMap?.name)]),
    ...containers(pod).flatMap((c) => [
      ...(c.env ?? []).map((e) => e.valueFrom?.configMapKeyRef?.name),
      ...(c.envFrom ?? []).map((e) => e.configMapRef?.name),
    ]),
  ];
  return names.filter((n) => n !== undefined);
}

function resourceClaimNames(pod: Pod): string[] {
  const { entries, statuses, extended } = claimsOfPod(pod);
  const named = [...entries, ...statuses, ...(extended === undefined ? [] : [extended])];
  return named.flatMap((c) => c.resourceClaimName ?? []);
}
