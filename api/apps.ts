// Workload kinds, as the controllers use them. The pod template is ours (pod.ts), with the fields v1.36 has.
import type * as apps from 'kubernetes-types/apps/v1.js';
import type { KubeObject, LabelSelector, ObjectMeta } from './meta.ts';
import type { PodSpec } from './pod.ts';

export interface PodTemplateSpec {
  metadata?: ObjectMeta;
  spec?: PodSpec;
}

export type DeploymentCondition = apps.DeploymentCondition;
export type ReplicaSetCondition = apps.ReplicaSetCondition;

export interface DeploymentSpec extends Omit<apps.DeploymentSpec, 'template' | 'selector'> {
  selector: LabelSelector;
  template: PodTemplateSpec;
}

export interface DeploymentStatus extends apps.DeploymentStatus {
  /** KEP-3973. */
  terminatingReplicas?: number;
}

export interface Deployment extends KubeObject {
  metadata?: ObjectMeta;
  spec?: DeploymentSpec;
  status?: DeploymentStatus;
}

export interface ReplicaSetSpec extends Omit<apps.ReplicaSetSpec, 'template' | 'selector'> {
  selector: LabelSelector;
  template?: PodTemplateSpec;
}

export interface ReplicaSetStatus extends apps.ReplicaSetStatus {
  terminatingReplicas?: number;
}

export interface ReplicaSet extends KubeObject {
  metadata?: ObjectMeta;
  spec?: ReplicaSetSpec;
  status?: ReplicaSetStatus;
}
