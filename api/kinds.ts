// Types of the kinds the node and the proxy read and write, besides Pod. From kubernetes-types; what v1.36 adds to
// them is added here, so that the rest of the code has one place to import from.

import type { ObjectMeta } from 'kubernetes-types/meta/v1.js';

export type { TokenRequest } from 'kubernetes-types/authentication/v1.js';
export type { Lease } from 'kubernetes-types/coordination/v1.js';
export type {
  ConfigMap,
  CSIPersistentVolumeSource,
  CSIVolumeSource,
  Event as CoreEvent,
  Namespace,
  Node,
  NodeAddress,
  NodeCondition,
  NodeSpec,
  NodeStatus,
  ObjectReference,
  PersistentVolume,
  PersistentVolumeClaim,
  Secret,
  SecretReference,
  Service,
  ServiceAccount,
  ServicePort,
  ServiceSpec,
  Taint,
} from 'kubernetes-types/core/v1.js';
export type { Endpoint, EndpointPort, EndpointSlice } from 'kubernetes-types/discovery/v1.js';
export type { RuntimeClass } from 'kubernetes-types/node/v1.js';
export type { CSIDriver, CSINode, VolumeAttachment } from 'kubernetes-types/storage/v1.js';

/** networking.k8s.io/v1 since 1.33; not in the package of types yet. */
export interface ServiceCIDR {
  apiVersion?: string;
  kind?: string;
  metadata?: ObjectMeta;
  spec?: { cidrs?: string[] };
}
