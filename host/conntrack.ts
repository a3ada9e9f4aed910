// The kernel's table of connections, through the conntrack program: UDP flows as far as address translation goes.
import { AgentError } from '../core/errors.ts';
import type { Exec, ExecResult } from './exec.ts';
import type { IptablesFamily } from './iptables-restore.ts';

/** All flows between one address that clients sent to and one that answers. Addresses as the kernel prints them. */
export interface UdpFlowGroup {
  /** What clients sent to, before translation. */
  readonly originalIp: string;
  readonly originalPort: number;
  /** What answers: another one than the above when the flow is translated. */
  readonly replyIp: string;
  readonly replyPort: number;
}

/** 1,000 flows are about 170 KiB; a full table of 262,144 is read as a whole. */
const MAX_LIST_BYTES = 64 << 20;

type Options = { readonly family: IptablesFamily; readonly signal: AbortSignal };

/** @throws {AgentError} EXEC_NOT_FOUND without the program, CONNTRACK_FAILED. */
export async function listUdpFlows(exec: Exec, { family, signal }: Options): Promise<readonly UdpFlowGroup[]> {
  const args = ['-L', '-f', familyName(family), '-p', 'udp'];
  const r = await exec('conntrack', args, { maxOutputBytes: MAX_LIST_BYTES, signal });
  if (r.code !== 0) throw failed(args, r);
  return parseUdpFlows(r.stdout);
}

/** Pure: the output of `conntrack -L -p udp`, flows of the same group folded. */
export function parseUdpFlows(text: string): readonly UdpFlowGroup[] {
  const groups = new Map<string, UdpFlowGroup>();
  // Both directions of a flow are printed alike, the original one first.
  const direction = / src=\S+ dst=(\S+) sport=\d+ dport=(\d+).*? src=(\S+) dst=\S+ sport=(\d+) dport=\d+/;
  for (const line of text.split('\n')) {
    const m = direction.exec(line);
    if (!line.startsWith('udp ') || m === null) continue;
    const [, originalIp, originalPort, replyIp, replyPort] = m as unknown as [string, string, string, string, string];
    const group = { originalIp, originalPort: Number(originalPort), replyIp, replyPort: Number(replyPort) };
    groups.set(Object.values(group).join(' '), group);
  }
  return [...groups.values()];
}

/** How many were deleted. Idempotent: flows that are gone already are no failure. @throws {AgentError} CONNTRACK_FAILED. */
export async function deleteUdpFlows(exec: Exec, flows: UdpFlowGroup, { family, signal }: Options): Promise<number> {
  const to = ['--orig-dst', flows.originalIp, '--orig-port-dst', String(flows.originalPort)];
  const from = ['--reply-src', flows.replyIp, '--reply-port-src', String(flows.replyPort)];
  const args = ['-D', '-f', familyName(family), '-p', 'udp', ...to, ...from];
  const r = await exec('conntrack', args, { signal });
  const count = /\b(\d+) flow entries/.exec(r.stderr)?.[1];
  if (r.code !== 0 && count !== '0') throw failed(args, r);
  return Number(count ?? 0);
}

function familyName(family: IptablesFamily): string {
  return family === 6 ? 'ipv6' : 'ipv4';
}

function failed(args: readonly string[], r: ExecResult): AgentError {
  return new AgentError(
    `conntrack ${args.join(' ')} failed (${r.signal ?? `exit ${r.code}`}): ${r.stderr.trim().slice(0, 500)}`,
    { code: 'CONNTRACK_FAILED', retryable: true },
  );
}
