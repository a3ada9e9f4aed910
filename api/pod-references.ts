// What a pod needs of the API besides itself. A static pod must run without an API server, and its mirror is refused when
// it names anything there. After pkg/api/pod HasAPIObjectReference.
import type { Container, EphemeralContainer, PodSpec, Volume } from './pod.ts';

/** The kind of object that such a pod needs, as refusals name it; undefined for none. */
export function apiReference(spec: PodSpec): string | undefined {
  if (spec.serviceAccountName || spec.serviceAccount) return 'serviceaccounts';
  const volumes = spec.volumes ?? [];
  const containers = [...(spec.initContainers ?? []), ...(spec.containers ?? []), ...(spec.ephemeralContainers ?? [])];
  const sources = volumes.flatMap((v) => v.projected?.sources ?? []);
  const isPulledWithSecret = (spec.imagePullSecrets?.length ?? 0) > 0;
  const isSecret = (v: Volume) => v.secret !== undefined || v.csi?.nodePublishSecretRef !== undefined;
  if (isPulledWithSecret || containers.some((c) => takesFrom(c, 'secret')) || volumes.some(isSecret)) return 'secrets';
  if (sources.some((s) => s.secret !== undefined)) return 'secrets';
  if (containers.some((c) => takesFrom(c, 'configMap'))) return 'configmaps';
  if ([...volumes, ...sources].some((v) => v.configMap !== undefined)) return 'configmaps';
  if ((spec.resourceClaims?.length ?? 0) > 0) return 'resourceclaims';
  for (const volume of volumes) {
    const kind = volumeReference(volume);
    if (kind !== undefined) return kind;
  }
  return undefined;
}

function takesFrom({ env = [], envFrom = [] }: Container | EphemeralContainer, what: 'secret' | 'configMap'): boolean {
  const [all, key] = [`${what}Ref`, `${what}KeyRef`] as const;
  return envFrom.some((from) => from[all] !== undefined) || env.some(({ valueFrom }) => valueFrom?.[key] !== undefined);
}

function volumeReference(volume: Volume): string | undefined {
  if (volume.csi !== undefined) return 'csidrivers (via CSI volumes)';
  if (volume.glusterfs !== undefined) return 'endpoints (via glusterFS volumes)';
  if (volume.persistentVolumeClaim !== undefined) return 'persistentvolumeclaims';
  if (volume.ephemeral !== undefined) return 'persistentvolumeclaims (via ephemeral volumes)';
  if (volume.azureFile !== undefined) return 'secrets (via azureFile volumes)';
  for (const source of volume.projected?.sources ?? []) {
    if (source.serviceAccountToken !== undefined) return 'serviceaccounts (via projected volumes)';
    if (source.clusterTrustBundle !== undefined) return 'clustertrustbundles';
    if ((source as { readonly podCertificate?: object }).podCertificate !== undefined) return 'podcertificates';
  }
  return undefined;
}
