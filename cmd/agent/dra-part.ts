// Dynamic resources of the node: the drivers that register here and the claims of its pods.
import { existsSync } from 'node:fs';
import path from 'node:path';
import type { Pod, ResourceStatus } from '../../api/pod.ts';
import { aborted } from '../../core/abort.ts';
import type { Task } from '../../core/tasks.ts';
import { LazyClaims, STATE_FILE } from '../../kubelet/dra/lazy-claims.ts';
import { wipeSlices } from '../../kubelet/dra/slice-wiper.ts';
import type { AgentContext } from './shared.ts';

export interface DraPart {
  readonly claims: LazyClaims;
  /** To be run once the Node is registered. */
  readonly task: Task;
}

/** @throws {AgentError} DRA_STATE_UNREADABLE */
export async function createDraPart(
  ctx: AgentContext,
  deps: { readonly rootDir: string; readonly retryPod: (podUid: string) => void },
): Promise<DraPart> {
  const { config, client, clock, log, registry } = ctx;
  const { nodeName } = config;
  const shared = { nodeName, client, clock, log };
  let lifetime = new AbortController().signal;
  const claims = new LazyClaims(async () => {
    const { createDynamicResources } = await import('../../kubelet/dra/dynamic-resources.ts');
    const showsHealth = config.featureGates.get('ResourceHealthStatus') !== false;
    return createDynamicResources({ ...shared, ...deps, showsHealth, registry }, () => lifetime);
  });
  if (existsSync(path.join(deps.rootDir, STATE_FILE))) await claims.load();
  return {
    claims,
    task: async (signal) => {
      lifetime = signal;
      // No driver has registered yet, and none may: pods that are scheduled for what they advertise would wait here.
      await wipeSlices(shared, undefined, signal);
      await aborted(signal);
    },
  };
}

/** How well devices of both kinds are that a container has; undefined when it has none. */
export function healthOf(
  devices: (podUid: string, container: string) => ResourceStatus[] | undefined,
  claims: LazyClaims,
): (pod: Pod, container: string) => ResourceStatus[] | undefined {
  return (pod, container) => {
    const ofPlugins = devices(pod.metadata?.uid ?? '', container);
    const ofClaims = claims.health(pod, container);
    return ofPlugins === undefined ? ofClaims : [...ofPlugins, ...(ofClaims ?? [])];
  };
}
