// What controllers share: a client with the controller manager's identity, one cache per kind, time and logs.
import type { PodDisruptionBudget } from 'kubernetes-types/policy/v1.js';
import type { Deployment, ReplicaSet } from '../../api/apps.ts';
import type { ConfigMap, EndpointSlice, Lease, Namespace, Node, Service, ServiceAccount } from '../../api/kinds.ts';
import { controllerOf, type KubeObject } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import * as resources from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { Reflector, type ReflectorOptions } from '../../client/reflector.ts';
import { Store } from '../../client/store.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { Task } from '../../core/tasks.ts';
import { serviceIndexes, sliceIndexes } from '../dns/indexes.ts';

/** The ConfigMap with the cluster's CA that every namespace has. */
export const ROOT_CA = 'kube-root-ca.crt';

export interface ControllerContext {
  readonly client: ApiClient;
  readonly stores: ControllerStores;
  /** A recorder whose Events say that they come from `component`. */
  readonly recorder: (component: string) => EventRecorder;
  readonly clock: Clock;
  readonly log: Logger;
}

/** A part of the control plane that runs until its signal aborts. */
export interface Controller {
  readonly name: string;
  run(signal: AbortSignal): Promise<void>;
}

export interface ControllerStores {
  readonly pods: Store<Pod>;
  readonly nodes: Store<Node>;
  readonly services: Store<Service>;
  readonly endpointSlices: Store<EndpointSlice>;
  readonly deployments: Store<Deployment>;
  readonly replicaSets: Store<ReplicaSet>;
  readonly namespaces: Store<Namespace>;
  readonly serviceAccounts: Store<ServiceAccount>;
  readonly configMaps: Store<ConfigMap>;
  readonly leases: Store<Lease>;
  readonly podDisruptionBudgets: Store<PodDisruptionBudget>;
}

const byNamespace = (object: KubeObject): readonly string[] => [object.metadata?.namespace ?? ''];
const byOwner = (object: KubeObject): readonly string[] => {
  const owner = controllerOf(object);
  return owner === undefined ? [] : [owner.uid];
};

export function createStores(): ControllerStores {
  return {
    pods: new Store<Pod>({ namespace: byNamespace, owner: byOwner, node: (pod) => [pod.spec?.nodeName ?? ''] }),
    nodes: new Store(),
    services: new Store<Service>({ namespace: byNamespace, ...serviceIndexes }),
    endpointSlices: new Store(sliceIndexes),
    deployments: new Store<Deployment>({ namespace: byNamespace }),
    replicaSets: new Store<ReplicaSet>({ namespace: byNamespace, owner: byOwner }),
    namespaces: new Store(),
    serviceAccounts: new Store(),
    configMaps: new Store(),
    leases: new Store(),
    podDisruptionBudgets: new Store<PodDisruptionBudget>({ namespace: byNamespace }),
  };
}

/** Keeps the stores filled: one reflector per kind. */
export function reflectorTasks(ctx: ControllerContext): Record<string, Task> {
  const { client, stores, clock, log } = ctx;
  const reflect = <T extends KubeObject>(
    type: resources.ResourceType<T>,
    store: Store<T>,
    opts: ReflectorOptions<T> = {},
  ): Task => {
    const reflector = new Reflector(client, type, store, opts, { clock, log });
    return (signal) => reflector.run(signal);
  };
  return {
    'reflect pods': reflect(resources.pods, stores.pods),
    'reflect nodes': reflect(resources.nodes, stores.nodes),
    'reflect services': reflect(resources.services, stores.services),
    'reflect endpointslices': reflect(resources.endpointSlices, stores.endpointSlices),
    'reflect deployments': reflect(resources.deployments, stores.deployments),
    'reflect replicasets': reflect(resources.replicaSets, stores.replicaSets),
    'reflect namespaces': reflect(resources.namespaces, stores.namespaces),
    'reflect serviceaccounts': reflect(resources.serviceAccounts, stores.serviceAccounts, named('default')),
    'reflect configmaps': reflect(resources.configMaps, stores.configMaps, named(ROOT_CA)),
    'reflect leases': reflect(resources.leases, stores.leases, { namespace: 'kube-node-lease' }),
    'reflect poddisruptionbudgets': reflect(resources.podDisruptionBudgets, stores.podDisruptionBudgets),
  };
}

const named = (name: string): { fieldSelector: string } => ({ fieldSelector: `metadata.name=${name}` });

/** Resolves when every store named holds a whole list, or when `signal` aborts. */
export async function waitForStores(
  stores: readonly Pick<Store<KubeObject>, 'waitForSync'>[],
  signal: AbortSignal,
): Promise<void> {
  await Promise.all(stores.map((store) => store.waitForSync(signal)));
}

/** The reference that Events carry about `object`. */
export function referenceTo(
  object: KubeObject,
  type: resources.ResourceType,
): {
  kind: string;
  apiVersion: string;
  name: string;
  namespace?: string;
  uid: string;
  resourceVersion?: string;
} {
  const { name = '', namespace, uid = '', resourceVersion } = object.metadata ?? {};
  return {
    kind: type.kind,
    apiVersion: resources.apiVersionOf(type),
    name,
    uid,
    ...(namespace === undefined ? {} : { namespace }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
  };
}
