// The state files of managers that are switched off: they say so, and a file that says something else means containers
// that are tied to CPUs or memory still, which nobody would look after. After the none policies of pkg/kubelet/cm.
import path from 'node:path';
import { writeFileAtomic } from '../../host/files.ts';
import { readState, refuseOtherPolicy } from './state-file.ts';

interface NoneState {
  readonly manager: 'CPU' | 'memory';
  readonly name: string;
  readonly policy: string;
  /** As upstream writes it, with its checksum. */
  readonly text: string;
}

export const NONE_CPU_STATE: NoneState = {
  manager: 'CPU',
  name: 'cpu_manager_state',
  policy: 'none',
  text: '{"policyName":"none","defaultCpuSet":"","checksum":1353318690}',
};

export const NONE_MEMORY_STATE: NoneState = {
  manager: 'memory',
  name: 'memory_manager_state',
  policy: 'None',
  text: '{"policyName":"None","machineState":{},"checksum":4236770233}',
};

/** Writes the file where there is none. @throws {AgentError} MANAGER_STATE_INVALID for one of another policy */
export async function keepNoneState(rootDir: string, { manager, name, policy, text }: NoneState): Promise<void> {
  const file = path.join(rootDir, name);
  const stored = readState(file, manager, (found) => {
    const { policyName } = (JSON.parse(found) ?? {}) as { policyName?: unknown };
    refuseOtherPolicy(policy, policyName);
    return found;
  });
  if (stored === undefined) await writeFileAtomic(file, text, 0o600, { durable: false });
}
