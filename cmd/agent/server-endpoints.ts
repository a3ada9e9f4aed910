// The endpoints of the node's server that are about the node itself: its logs, checkpoints, and what
// developers look at. Loaded when they are asked for.
import path from 'node:path';
import { changeLevel, levelOfVerbosity } from '../../core/log.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import { systemExecStream } from '../../host/exec-stream.ts';
import type { Handlers } from '../../kubelet/server/endpoints.ts';
import { lazyHandler } from '../../kubelet/server/lazy-handler.ts';
import { ENDPOINTS } from '../../kubelet/server/routes.ts';
import type { ServedPods } from '../../kubelet/server/served-pods.ts';
import { KUBERNETES_VERSION } from '../version.ts';
import type { AgentContext } from './shared.ts';

const NODE_LOGS = '/var/log';

export function nodeEndpoints(
  ctx: AgentContext,
  { pods, runtime }: { readonly pods: ServedPods; readonly runtime: Pick<RuntimeService, 'checkpointContainer'> },
): Handlers {
  const { config, clock, exec, log } = ctx;
  const { featureGates, server } = config;
  const isOn = (gate: string) => featureGates.get(gate) === true;
  const startedMs = clock.now();
  return {
    nodeLogs: lazyHandler(async () => {
      const { nodeLogsEndpoint } = await import('../../kubelet/server/node-logs.ts');
      const queryEnabled = server.endpoints.nodeLogQuery && isOn('NodeLogQuery');
      return nodeLogsEndpoint({ dir: NODE_LOGS, queryEnabled, exec, execStream: systemExecStream });
    }),
    profiles: lazyHandler(async () => (await import('../../kubelet/server/profiles.ts')).profilesEndpoint()),
    verbosity: lazyHandler(async () => {
      const { verbosityEndpoint } = await import('../../kubelet/server/verbosity.ts');
      return verbosityEndpoint((v) => {
        changeLevel(log, levelOfVerbosity(v));
        log.info({ verbosity: v }, 'log verbosity changed');
      });
    }),
    ...(isOn('ContainerCheckpoint') && {
      checkpoint: lazyHandler(async () => {
        const { checkpointEndpoint } = await import('../../kubelet/server/checkpoint.ts');
        return checkpointEndpoint({ dir: path.join(config.kubelet.rootDir, 'checkpoints'), pods, runtime, clock });
      }),
    }),
    ...(isOn('ComponentStatusz') && {
      statusz: lazyHandler(async () => {
        const { statuszEndpoint } = await import('../../kubelet/server/component-pages.ts');
        const paths = [...new Set(ENDPOINTS.map((e) => e.pattern.replace(/\/?\{.*/, '')))].sort();
        return statuszEndpoint(() => ({ startedMs, nowMs: clock.now(), kubernetesVersion: KUBERNETES_VERSION, paths }));
      }),
    }),
    ...(isOn('ComponentFlagz') && {
      flagz: lazyHandler(async () => {
        const { flagzEndpoint } = await import('../../kubelet/server/component-pages.ts');
        return flagzEndpoint(() => givenFlags(process.argv));
      }),
    }),
  };
}

/** Pure: what the process was started with. */
function givenFlags(argv: readonly string[]): Record<string, string> {
  const flags: Record<string, string> = {};
  for (const [i, arg] of argv.entries()) {
    const m = /^--?([a-zA-Z][\w-]*)(?:=(.*))?$/s.exec(arg);
    if (m === null) continue;
    const next = argv[i + 1] ?? '';
    flags[m[1]!] = m[2] ?? (next === '' || next.startsWith('-') ? 'true' : next);
  }
  return flags;
}
