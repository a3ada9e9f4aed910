// What the kernel keeps for the proxy: its table of connections, and the process itself when memory runs out.
import { availableParallelism } from 'node:os';
import { aborted } from '../../core/abort.ts';
import { errorMessage } from '../../core/errors.ts';
import type { Task } from '../../core/tasks.ts';
import { setOomScore } from '../../host/process-limits.ts';
import { procSysctl } from '../../host/sysctl.ts';
import { setConntrackSysctls } from '../../proxy/conntrack-sysctls.ts';
import type { AgentContext } from './shared.ts';

type Context = Pick<AgentContext, 'config' | 'sysctl' | 'log'>;

/**
 * Idempotent. What is refused is logged and left. Where the kernel has yet to track connections, returns the task that makes
 * up for it once rules are in place (`synced`).
 */
export async function setProxyLimits(ctx: Context): Promise<((synced: Promise<void>) => Task) | undefined> {
  const isTracking = await limitConnections(ctx);
  await limitProcess(ctx);
  if (isTracking) return undefined;
  return (synced) => async (signal) => {
    await Promise.race([synced, aborted(signal)]);
    if (!signal.aborted && (await limitConnections(ctx)))
      ctx.log.info('limits of connection tracking set, with rules that use it');
    await aborted(signal);
  };
}

async function limitConnections({ config, sysctl, log }: Context): Promise<boolean> {
  const moduleParameters = procSysctl('/sys/module/nf_conntrack/parameters');
  const deps = { cpus: availableParallelism(), sysctl, moduleParameters, log };
  return await setConntrackSysctls(config.proxy.conntrack, deps);
}

async function limitProcess({ config, log }: Context): Promise<void> {
  if (config.parts.has('kubelet')) return; // the process is the kubelet's, which has a setting of its own
  try {
    await setOomScore(config.proxy.oomScoreAdj);
  } catch (err) {
    log.info({ cause: errorMessage(err) }, 'a limit of the process is left');
  }
}
