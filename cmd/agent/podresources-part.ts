// The podresources API at its socket: what pods were given, for monitors and schedulers' helpers on the node.
import path from 'node:path';
import { aborted } from '../../core/abort.ts';
import { errorMessage } from '../../core/errors.ts';
import type { Task } from '../../core/tasks.ts';
import type { Kubelet } from '../../kubelet/kubelet.ts';
import { GrpcServer } from '../../kubelet/plugins/grpc-server.ts';
import type { ResourceReports } from '../../kubelet/podresources/pod-resources.ts';
import { PodResourcesService } from '../../kubelet/podresources/pod-resources-service.ts';
import type { AgentContext } from './shared.ts';

/** Between tries to listen, ms. The node runs pods all the same. */
const RETRY_MS = 10_000;

export function createPodResourcesPart(
  { registry, clock, log }: Pick<AgentContext, 'registry' | 'clock' | 'log'>,
  deps: { readonly rootDir: string; readonly kubelet: () => Kubelet; readonly reports: ResourceReports },
): Task {
  const { kubelet, reports } = deps;
  const service = new PodResourcesService({
    activePods: () => kubelet().activePods(),
    allPods: () => kubelet().getPods(),
    podByName: (namespace, name) => kubelet().podByName(namespace, name),
    reports,
    registry,
    clock,
  });
  const socket = path.join(deps.rootDir, 'pod-resources', 'kubelet.sock');
  return async (signal) => {
    while (!signal.aborted) {
      // A new one for each try: what listens already cannot be told to listen again.
      await using server = new GrpcServer(service.methods(), { log: log.child({ component: 'podresources' }) });
      try {
        await server.listen(socket);
        await aborted(signal);
      } catch (err) {
        log.warn({ error: errorMessage(err), retryInMs: RETRY_MS }, 'podresources API not served, will retry');
        await clock.sleep(RETRY_MS, signal);
      }
    }
  };
}
