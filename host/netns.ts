// Programs in a named network namespace, and the links in it.
import { AgentError } from '../core/errors.ts';
import type { Exec } from './exec.ts';

/** Runs every program inside namespace `name`, by way of `ip netns exec`. */
export function execInNetns(exec: Exec, name: string): Exec {
  return (program, args, opts) => exec('ip', ['netns', 'exec', name, program, ...args], opts);
}

/** Idempotent. */
export async function removeLink(exec: Exec, device: string, netns?: string): Promise<void> {
  const args = [...(netns === undefined ? [] : ['-n', netns]), 'link', 'delete', device];
  const r = await exec('ip', args);
  if (r.code === 0 || /Cannot find device|does not exist|Cannot open network namespace/i.test(r.stderr)) return;
  throw new AgentError(`ip ${args.join(' ')} failed: ${r.stderr.trim()}`, { code: 'EXEC_STATUS' });
}
