// Defaults of the smaller kinds, one function each. Sources: pkg/apis/*/v1/defaults.go.
import type { HorizontalPodAutoscaler } from 'kubernetes-types/autoscaling/v2.js';
import type {
  Endpoints,
  LimitRange,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  Secret,
} from 'kubernetes-types/core/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import type { IngressClass, NetworkPolicy } from 'kubernetes-types/networking/v1.js';
import type { RoleBinding } from 'kubernetes-types/rbac/v1.js';
import type { CSIDriver, StorageClass } from 'kubernetes-types/storage/v1.js';
import type { AnyObject, Mutable } from '../definition.ts';

const RBAC_GROUP = 'rbac.authorization.k8s.io';

export function defaultSecret(object: AnyObject): void {
  const secret = object as Secret;
  secret.type ||= 'Opaque';
  if (secret.stringData === undefined) return;
  for (const [key, text] of Object.entries(secret.stringData)) {
    secret.data = { ...secret.data, [key]: Buffer.from(text).toString('base64') };
  }
  delete secret.stringData;
}

export function defaultNode(object: AnyObject): void {
  const { status } = object as Node;
  if (status?.capacity !== undefined && status.allocatable === undefined) status.allocatable = { ...status.capacity };
}

export function defaultPersistentVolume(object: AnyObject): void {
  const volume = object as Mutable<PersistentVolume>;
  if (volume.spec !== undefined) {
    volume.spec.persistentVolumeReclaimPolicy ||= 'Retain';
    volume.spec.volumeMode ||= 'Filesystem';
  }
  volume.status = { ...volume.status, phase: volume.status?.phase || 'Pending' };
}

export function defaultPersistentVolumeClaim(object: AnyObject): void {
  const claim = object as Mutable<PersistentVolumeClaim>;
  if (claim.spec !== undefined) claim.spec.volumeMode ||= 'Filesystem';
  claim.status = { ...claim.status, phase: claim.status?.phase || 'Pending' };
}

export function defaultEndpoints(object: AnyObject): void {
  for (const subset of (object as Endpoints).subsets ?? []) {
    for (const port of subset.ports ?? []) port.protocol ||= 'TCP';
  }
}

export function defaultEndpointSlice(object: AnyObject): void {
  for (const port of (object as EndpointSlice).ports ?? []) {
    port.name ??= '';
    port.protocol ||= 'TCP';
  }
}

export function defaultAutoscaler(object: AnyObject): void {
  const { spec } = object as HorizontalPodAutoscaler;
  if (spec === undefined) return;
  spec.minReplicas ??= 1;
  if ((spec.metrics?.length ?? 0) > 0) return;
  const target = { type: 'Utilization', averageUtilization: 80 };
  spec.metrics = [{ type: 'Resource', resource: { name: 'cpu', target } }];
}

export function defaultNetworkPolicy(object: AnyObject): void {
  const { spec } = object as NetworkPolicy;
  if (spec === undefined) return;
  spec.policyTypes ??= (spec.egress?.length ?? 0) > 0 ? ['Ingress', 'Egress'] : ['Ingress'];
  for (const rule of [...(spec.ingress ?? []), ...(spec.egress ?? [])]) {
    for (const port of rule.ports ?? []) port.protocol ||= 'TCP';
  }
}

export function defaultIngressClass(object: AnyObject): void {
  const parameters = (object as IngressClass).spec?.parameters;
  if (parameters !== undefined) parameters.scope ||= 'Cluster';
}

export function defaultStorageClass(object: AnyObject): void {
  const storageClass = object as unknown as StorageClass;
  storageClass.reclaimPolicy ||= 'Delete';
  storageClass.volumeBindingMode ||= 'Immediate';
}

export function defaultCsiDriver(object: AnyObject): void {
  const { spec } = object as CSIDriver;
  if (spec === undefined) return;
  spec.attachRequired ??= true;
  spec.podInfoOnMount ??= false;
  spec.storageCapacity ??= false;
  spec.fsGroupPolicy ||= 'ReadWriteOnceWithFSType';
  if ((spec.volumeLifecycleModes?.length ?? 0) === 0) spec.volumeLifecycleModes = ['Persistent'];
  spec.requiresRepublish ??= false;
  spec.seLinuxMount ??= false;
}

export function defaultRoleBinding(object: AnyObject): void {
  const binding = object as unknown as RoleBinding;
  if (binding.roleRef !== undefined) binding.roleRef.apiGroup ||= RBAC_GROUP;
  for (const subject of binding.subjects ?? []) {
    if (subject.kind === 'ServiceAccount') subject.apiGroup ??= '';
    else subject.apiGroup ||= RBAC_GROUP;
    if (subject.apiGroup === '') delete subject.apiGroup;
  }
}

export function defaultPriorityClass(object: AnyObject): void {
  const priorityClass = object as { preemptionPolicy?: string };
  priorityClass.preemptionPolicy ||= 'PreemptLowerPriority';
}

export function defaultLimitRange(object: AnyObject): void {
  for (const item of (object as LimitRange).spec?.limits ?? []) {
    if (item.type !== 'Container') continue;
    if (item.max !== undefined) item.default = { ...item.max, ...item.default };
    if (item.default !== undefined) item.defaultRequest = { ...item.default, ...item.defaultRequest };
    if (item.min !== undefined) item.defaultRequest = { ...item.min, ...item.defaultRequest };
  }
}
