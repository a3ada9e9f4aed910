// The runtime says who makes its cgroups (RuntimeConfig, containerd 2.0 and later); what it says wins over the
// configuration, since two managers that disagree make trees that the other does not know. After
// cmd/kubelet/app/server.go getCgroupDriverFromCRI.
import type { Clock } from '../../core/clock.ts';
import { errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { isCriError } from '../../cri/errors.ts';
import { connectRuntime } from '../../cri/remote-runtime.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import type { AgentConfig } from '../config/agent-config.ts';

/** The configuration with the runtime's driver. A runtime that does not answer changes nothing: what needs it will say so. */
export async function withRuntimeDriver(config: AgentConfig, clock: Clock, log: Logger): Promise<AgentConfig> {
  const { kubelet } = config;
  const { runtime, close } = connectRuntime(
    { endpoint: kubelet.containerRuntimeEndpoint, requestTimeoutMs: kubelet.runtimeRequestTimeoutMs },
    () => {},
    clock,
  );
  try {
    return await adoptDriver(config, runtime, log);
  } finally {
    close();
  }
}

export async function adoptDriver(
  config: AgentConfig,
  runtime: Pick<RuntimeService, 'runtimeConfig'>,
  log: Logger,
): Promise<AgentConfig> {
  const configured = config.kubelet.cgroupDriver;
  let cgroupDriver: typeof configured;
  try {
    const { linux } = await runtime.runtimeConfig();
    if (linux === undefined) return config;
    cgroupDriver = linux.cgroupDriver === 'SYSTEMD' ? 'systemd' : 'cgroupfs';
  } catch (err) {
    if (!isCriError(err, 'UNIMPLEMENTED')) log.warn({ cause: errorMessage(err) }, 'the cgroup driver is as configured');
    return config;
  }
  if (cgroupDriver === configured) return config;
  log.info({ configured, cgroupDriver }, 'the cgroup driver is that of the runtime');
  return { ...config, kubelet: { ...config.kubelet, cgroupDriver }, configz: { ...config.configz, cgroupDriver } };
}
