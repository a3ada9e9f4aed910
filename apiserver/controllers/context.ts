// What controllers share: a client with the controller manager's identity, one cache per kind, time and logs.

import type { Deployment, ReplicaSet } from '../../api/apps.ts';
import type { ConfigMap, EndpointSlice, Lease, Namespace, Node, Service, ServiceAccount } from '../../api/kinds.ts';
import { controllerOf, type KubeObject } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import * as resources from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { Reflector } from '../../client/reflector.ts';
import { Store } from '../../client/store.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { Task } from '../../core/tasks.ts';

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
    services: new Store<Service>({ namespace: byNamespace }),
    endpointSlices: new Store({
      service: (s) => [`${s.metadata?.namespace ?? ''}/${s.metadata?.labels?.['kubernetes.io/service-name'] ?? ''}`],
    }),
    deployments: new Store<Deployment>({ namespace: byNamespace }),
    replicaSets: new Store<ReplicaSet>({ namespace: byNamespace, owner: byOwner }),
    namespaces: new Store(),
    serviceAccounts: new Store(),
    configMaps: new Store(),
    leases: new Store(),
  };
}

/** Keeps the stores filled: one reflector per kind. */
export function reflectorTasks(ctx: ControllerContext): Record<string, Task> {
  const { client, stores, clock, log } = ctx;
  const deps = { clock, log };
  const all: readonly Reflector<never>[] = [
    new Reflector(client, resources.pods, stores.pods, {}, deps),
    new Reflector(client, resources.nodes, stores.nodes, {}, deps),
    new Reflector(client, resources.services, stores.services, {}, deps),
    new Reflector(client, resources.endpointSlices, stores.endpointSlices, {}, deps),
    new Reflector(client, resources.deployments, stores.deployments, {}, deps),
    new Reflector(client, resources.replicaSets, stores.replicaSets, {}, deps),
    new Reflector(client, resources.namespaces, stores.namespaces, {}, deps),
    new Reflector(
      client,
      resources.serviceAccounts,
      stores.serviceAccounts,
      { fieldSelector: 'metadata.name=default' },
      deps,
    ),
    new Reflector(
      client,
      resources.configMaps,
      stores.configMaps,
      { fieldSelector: 'metadata.name=kube-root-ca.crt' },
      deps,
    ),
    new Reflector(client, resources.leases, stores.leases, { namespace: 'kube-node-lease' }, deps),
  ] as unknown as readonly Reflector<never>[]; // one list of reflectors of different kinds
  return Object.fromEntries(
    all.map((reflector, i) => [`reflector-${i}`, (signal: AbortSignal) => reflector.run(signal)]),
  );
}

/** Resolves when every store named holds a whole list, or when `signal` aborts. */
export async function waitForStores(stores: readonly Store<never>[], signal: AbortSignal): Promise<void> {
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
