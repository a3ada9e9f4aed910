// All controllers together, as kube-controller-manager runs them.
import type { ResourceType } from '../../api/resources.ts';
import { runTasks } from '../../core/tasks.ts';
import { CertificatesController, type CertificatesOptions } from './certificates.ts';
import { type Controller, type ControllerContext, reflectorTasks } from './context.ts';
import { DeploymentController } from './deployment.ts';
import { DisruptionController } from './disruption.ts';
import { EndpointSliceController } from './endpointslice.ts';
import { GarbageCollector } from './garbage-collector.ts';
import { NamespaceContentController, NamespaceDeletionController } from './namespace.ts';
import { NodeIpamController } from './node-ipam.ts';
import { NodeLifecycleController } from './node-lifecycle.ts';
import { PodGcController } from './pod-gc.ts';
import { ReplicaSetController } from './replicaset.ts';
import { ResourceQuotaController } from './resource-quota.ts';
import { TaintEvictionController } from './taint-eviction.ts';

export interface ControllerManagerOptions {
  readonly clusterCidr: string;
  readonly nodeMaskSize: number;
  /** Blocks for nodes are taken outside of it. */
  readonly serviceCidr?: string;
  readonly nodeMonitorGracePeriodMs: number;
  readonly nodeStartupGracePeriodMs: number;
  readonly terminatedPodThreshold: number;
  /** PEM bundle for the ConfigMap kube-root-ca.crt of every namespace. */
  readonly rootCaPem: string;
  readonly certificates: CertificatesOptions;
  /** Every kind served that can be listed, watched and deleted. */
  readonly resources: readonly ResourceType[];
}

export class ControllerManager {
  readonly #ctx: ControllerContext;
  readonly #controllers: readonly Controller[];

  constructor(ctx: ControllerContext, opts: ControllerManagerOptions) {
    this.#ctx = ctx;
    this.#controllers = [
      new NamespaceContentController(ctx, opts.rootCaPem),
      new NamespaceDeletionController(ctx, opts.resources),
      new NodeIpamController(ctx, opts),
      new NodeLifecycleController(ctx, {
        gracePeriodMs: opts.nodeMonitorGracePeriodMs,
        startupGracePeriodMs: opts.nodeStartupGracePeriodMs,
      }),
      new TaintEvictionController(ctx),
      new EndpointSliceController(ctx),
      new ReplicaSetController(ctx),
      new DeploymentController(ctx),
      new DisruptionController(ctx),
      new PodGcController(ctx, { terminatedThreshold: opts.terminatedPodThreshold }),
      new ResourceQuotaController(ctx, opts.resources),
      new CertificatesController(ctx, opts.certificates),
      new GarbageCollector(ctx, opts.resources),
    ];
  }

  /** Runs until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    const controllers = this.#controllers.map((c) => [c.name, (s: AbortSignal) => c.run(s)] as const);
    await runTasks(signal, { ...reflectorTasks(this.#ctx), ...Object.fromEntries(controllers) });
  }

  /** Resolves when the caches that controllers decide on hold their first lists. */
  async waitForSync(signal: AbortSignal): Promise<void> {
    await Promise.all(Object.values(this.#ctx.stores).map((store) => store.waitForSync(signal)));
  }
}
