// The runtime says who makes its cgroups (RuntimeConfig, containerd 2.0 and later); what it says wins over the
// configuration, since two managers that disagree make trees that the other does not know. After
// cmd/kubelet/app/server.go getCgroupDriverFromCRI.
import { Gauge, type Registry } from 'prom-client';
import type { Clock } from '../../core/clock.ts';
import { errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { isCriError } from '../../cri/errors.ts';
import { connectRuntime } from '../../cri/remote-runtime.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import type { AgentConfig } from '../config/agent-config.ts';

export interface SettledDriver {
  readonly config: AgentConfig;
  /** The runtime does not know the question: upstream's next version would not start with it. */
  readonly isRuntimeOld: boolean;
}

/** The configuration with the runtime's driver. A runtime that does not answer changes nothing: what needs it will say so. */
export async function withRuntimeDriver(config: AgentConfig, clock: Clock, log: Logger): Promise<SettledDriver> {
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
): Promise<SettledDriver> {
  const configured = config.kubelet.cgroupDriver;
  let cgroupDriver: typeof configured;
  try {
    const { linux } = await runtime.runtimeConfig();
    if (linux === undefined) return { config, isRuntimeOld: false };
    cgroupDriver = linux.cgroupDriver === 'SYSTEMD' ? 'systemd' : 'cgroupfs';
  } catch (err) {
    const isRuntimeOld = isCriError(err, 'UNIMPLEMENTED');
    if (!isRuntimeOld) log.warn({ cause: errorMessage(err) }, 'the cgroup driver is as configured');
    return { config, isRuntimeOld };
  }
  if (cgroupDriver === configured) return { config, isRuntimeOld: false };
  log.info({ configured, cgroupDriver }, 'the cgroup driver is that of the runtime');
  const adopted = {
    ...config,
    kubelet: { ...config.kubelet, cgroupDriver },
    configz: { ...config.configz, cgroupDriver },
  };
  return { config: adopted, isRuntimeOld: false };
}

export function registerOldRuntime(registry: Registry): void {
  const gauge = new Gauge({
    name: 'kubelet_cri_losing_support',
    help: 'The version of the kubelet that would no longer work with this container runtime.',
    labelNames: ['version'],
    registers: [registry],
  });
  gauge.set({ version: '1.37.0' }, 1);
}
