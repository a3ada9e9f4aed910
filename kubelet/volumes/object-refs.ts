// Which ConfigMaps and Secrets a pod needs to run: volumes, projected sources, environment, pull secrets.
import type { Pod } from '../../api/pod.ts';

export interface ObjectRef {
  readonly kind: 'ConfigMap' | 'Secret';
  readonly namespace: string;
  readonly name: string;
}

/** Pure; each object once, in the order of first mention. */
export function referencedObjects(pod: Pod): ObjectRef[] {
  const namespace = pod.metadata?.namespace ?? '';
  const found = new Map<string, ObjectRef>();
  const add = (kind: ObjectRef['kind'], name: string | undefined) => {
    if (name !== undefined && name !== '') found.set(`${kind}/${name}`, { kind, namespace, name });
  };
  for (const volume of pod.spec?.volumes ?? []) {
    add('ConfigMap', volume.configMap?.name);
    add('Secret', volume.secret?.secretName);
    add('Secret', volume.csi?.nodePublishSecretRef?.name);
    for (const source of volume.projected?.sources ?? []) {
      add('ConfigMap', source.configMap?.name);
      add('Secret', source.secret?.name);
    }
  }
  const { containers = [], initContainers = [], ephemeralContainers = [] } = pod.spec ?? {};
  for (const container of [...containers, ...initContainers, ...ephemeralContainers]) {
    for (const from of container.envFrom ?? []) {
      add('ConfigMap', from.configMapRef?.name);
      add('Secret', from.secretRef?.name);
    }
    for (const { valueFrom } of container.env ?? []) {
      add('ConfigMap', valueFrom?.configMapKeyRef?.name);
      add('Secret', valueFrom?.secretKeyRef?.name);
    }
  }
  for (const ref of pod.spec?.imagePullSecrets ?? []) add('Secret', ref.name);
  return [...found.values()];
}
