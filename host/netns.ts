// Named network namespaces, and what joins them: veth pairs and bridges.
import { AgentError } from '../core/errors.ts';
import type { Exec } from './exec.ts';
import { ipBatch } from './ip-batch.ts';

/** Runs every program inside namespace `name`, by way of `ip netns exec`. */
export function execInNetns(exec: Exec, name: string): Exec {
  return (program, args, opts) => exec('ip', ['netns', 'exec', name, program, ...args], opts);
}

export async function createNetns(exec: Exec, name: string, signal?: AbortSignal): Promise<void> {
  const opts = signal === undefined ? {} : { signal };
  await ipBatch(exec, [`netns add ${name}`], opts);
  await ipBatch(exec, ['link set lo up'], { netns: name, ...opts });
}

/** Idempotent. Links inside go with it; processes inside do not. */
export async function removeNetns(exec: Exec, name: string): Promise<void> {
  await deleteIfThere(exec, ['netns', 'delete', name]);
}

/** Idempotent. */
export async function removeLink(exec: Exec, device: string, netns?: string): Promise<void> {
  await deleteIfThere(exec, [...(netns === undefined ? [] : ['-n', netns]), 'link', 'delete', device]);
}

export interface VethEnd {
  readonly netns: string;
  readonly device: string;
  /** With prefix length, e.g. `192.0.2.1/24`. */
  readonly address?: string;
  /** A bridge in the same namespace that the end is plugged into. */
  readonly master?: string;
}

/** A veth pair with both ends up. */
export async function createVeth(exec: Exec, a: VethEnd, b: VethEnd): Promise<void> {
  await ipBatch(exec, [`link add ${a.device} type veth peer name ${b.device} netns ${b.netns}`], { netns: a.netns });
  for (const end of [a, b]) {
    const lines = [`link set ${end.device}${end.master === undefined ? '' : ` master ${end.master}`} up`];
    if (end.address !== undefined) lines.unshift(`address add ${end.address} dev ${end.device}`);
    await ipBatch(exec, lines, { netns: end.netns });
  }
}

export async function createBridge(exec: Exec, netns: string, device: string, address?: string): Promise<void> {
  const lines = [`link add ${device} type bridge`, `link set ${device} up`];
  if (address !== undefined) lines.push(`address add ${address} dev ${device}`);
  await ipBatch(exec, lines, { netns });
}

async function deleteIfThere(exec: Exec, args: readonly string[]): Promise<void> {
  const r = await exec('ip', args);
  if (r.code === 0 || /Cannot find device|No such file|does not exist|Cannot open network namespace/i.test(r.stderr))
    return;
  throw new AgentError(`ip ${args.join(' ')} failed: ${r.stderr.trim()}`, { code: 'EXEC_STATUS' });
}
