// What the kernel keeps for the proxy: its table of connections, and the process itself when memory runs out.
import { writeFile } from 'node:fs/promises';
import { availableParallelism } from 'node:os';
import { errorMessage } from '../../core/errors.ts';
import { procSysctl } from '../../host/sysctl.ts';
import { setConntrackSysctls } from '../../proxy/conntrack-sysctls.ts';
import type { AgentContext } from './shared.ts';

/** Idempotent. What is refused is logged and left. */
export async function setProxyLimits({ config, sysctl, log }: AgentContext): Promise<void> {
  const moduleParameters = procSysctl('/sys/module/nf_conntrack/parameters');
  await setConntrackSysctls(config.proxy.conntrack, { cpus: availableParallelism(), sysctl, moduleParameters, log });
  if (config.parts.has('kubelet')) return; // the process is the kubelet's, which has a setting of its own
  try {
    await writeFile('/proc/self/oom_score_adj', String(config.proxy.oomScoreAdj));
  } catch (err) {
    log.info({ cause: errorMessage(err) }, 'the score for when memory runs out cannot be set');
  }
}
