// Commands of exec probes, run through the runtime (pkg/kubelet/prober exec, pkg/probe/exec).

import { formatGoDuration } from '../../core/go-duration.ts';
import { isCriError } from '../../cri/errors.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import type { ExecInContainer } from '../../probes/probe-manager.ts';

/** The runtime keeps the time; that it ran out is an outcome and not an error. */
export function execThrough(runtime: Pick<RuntimeService, 'execSync'>): ExecInContainer {
  return async (containerId, command, timeoutSeconds, signal) => {
    try {
      const { exitCode, stdout, stderr } = await runtime.execSync(containerId, command, timeoutSeconds, { signal });
      return { exitCode, output: Buffer.concat([stdout, stderr]) };
    } catch (err) {
      if (!isCriError(err, 'DEADLINE_EXCEEDED')) throw err;
      const after = formatGoDuration(timeoutSeconds * 1000);
      const message = `command timed out: ${JSON.stringify(command.join(' '))} timed out after ${after}`;
      return { timedOut: true, message };
    }
  };
}
