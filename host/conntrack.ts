// The kernel's table of connections, through the conntrack program: UDP flows as far as address translation goes.
import { StringDecoder } from 'node:string_decoder';
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

type Options = { readonly family: IptablesFamily; readonly signal: AbortSignal };

/**
 * Flows of one group folded. The table is taken as it comes: 1,000 flows are about 170 KiB of text, and a full table
 * has 262,144. @throws {AgentError} EXEC_NOT_FOUND without the program, CONNTRACK_FAILED.
 */
export async function listUdpFlows(exec: Exec, { family, signal }: Options): Promise<readonly UdpFlowGroup[]> {
  const args = ['-L', '-f', familyName(family), '-p', 'udp'];
  const parser = new FlowParser();
  const r = await exec('conntrack', args, { onStdout: (chunk) => parser.push(chunk), signal });
  if (r.code !== 0) throw failed(args, r);
  parser.push(Buffer.from(r.stdout));
  return parser.end();
}

/** Both directions of a flow are printed alike, the original one first. */
const DIRECTIONS = / src=\S+ dst=(\S+) sport=\d+ dport=(\d+).*? src=(\S+) dst=\S+ sport=(\d+) dport=\d+/;

/** Reads the output of `conntrack -L -p udp`. */
class FlowParser {
  readonly #decoder = new StringDecoder('utf8');
  readonly #groups = new Map<string, UdpFlowGroup>();
  /** A line whose end has not come. */
  #rest = '';

  push(chunk: Buffer): void {
    const lines = (this.#rest + this.#decoder.write(chunk)).split('\n');
    this.#rest = lines.pop()!;
    for (const line of lines) this.#line(line);
  }

  end(): readonly UdpFlowGroup[] {
    this.#line(this.#rest + this.#decoder.end());
    return [...this.#groups.values()];
  }

  #line(line: string): void {
    const m = line.startsWith('udp ') ? DIRECTIONS.exec(line) : null;
    if (m === null) return;
    const [, originalIp, originalPort, replyIp, replyPort] = m as unknown as [string, string, string, string, string];
    const key = `${originalIp} ${originalPort} ${replyIp} ${replyPort}`;
    if (this.#groups.has(key)) return;
    this.#groups.set(key, { originalIp, originalPort: Number(originalPort), replyIp, replyPort: Number(replyPort) });
  }
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
