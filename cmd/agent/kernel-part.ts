// What the kubelet asks of the kernel before anything runs: parameters of the host (pkg/kubelet/cm
// container_manager_linux.go setupKernelTunables), and limits of its own process.
import { AgentError, errorMessage } from '../../core/errors.ts';
import { setOomScore, setOpenFiles } from '../../host/process-limits.ts';
import type { Sysctl } from '../../host/sysctl.ts';
import type { AgentContext } from './shared.ts';

/** A node that ran out of memory, or whose kernel is broken, shall restart rather than hang. */
export const KERNEL_PARAMETERS: Readonly<Record<string, string>> = {
  'vm/overcommit_memory': '1',
  'vm/panic_on_oom': '0',
  'kernel/panic': '10',
  'kernel/panic_on_oops': '1',
  'kernel/keys/root_maxkeys': '1000000',
  'kernel/keys/root_maxbytes': '25000000',
};

/** @throws {AgentError} KERNEL_PARAMETERS, SYSCTL_REFUSED. A limit that is refused is logged and left. */
export async function prepareKernel({ config, exec, sysctl, log }: AgentContext): Promise<void> {
  const { kernelParameters, maxOpenFiles, oomScoreAdj } = config.process;
  try {
    if (kernelParameters === 'check') await checkParameters(sysctl);
    if (kernelParameters === 'set') await setParameters(sysctl);
  } catch (err) {
    if (config.featureGates.get('KubeletInUserNamespace') !== true) throw err;
    log.info({ cause: errorMessage(err) }, 'kernel parameters cannot be set in a user namespace');
  }
  for (const limit of [() => setOpenFiles(maxOpenFiles, exec), () => setOomScore(oomScoreAdj)]) {
    await limit().catch((err: unknown) => log.info({ cause: errorMessage(err) }, 'a limit of the process is left'));
  }
}

export async function checkParameters(sysctl: Pick<Sysctl, 'read'>): Promise<void> {
  const faults: string[] = [];
  for (const [name, wanted] of Object.entries(KERNEL_PARAMETERS)) {
    const actual = await sysctl.read(name);
    if (actual !== wanted)
      faults.push(`invalid kernel flag: ${name}, expected value: ${wanted}, actual value: ${actual ?? 'none'}`);
  }
  if (faults.length === 0) return;
  throw new AgentError(faults.join('; '), {
    code: 'KERNEL_PARAMETERS',
    hint: 'set them (nodelet doctor has the commands), or let the agent do it with protectKernelDefaults: false',
  });
}

/** A parameter that this kernel does not have is left out. @throws {AgentError} SYSCTL_REFUSED */
export async function setParameters(sysctl: Pick<Sysctl, 'set'>): Promise<void> {
  for (const [name, wanted] of Object.entries(KERNEL_PARAMETERS)) {
    try {
      await sysctl.set(name, wanted);
    } catch (cause) {
      throw new AgentError(errorMessage(cause), {
        code: 'SYSCTL_REFUSED',
        cause,
        hint: 'set it on the host, or leave it with kernelParameters: leave in a NodeletConfiguration',
      });
    }
  }
}
