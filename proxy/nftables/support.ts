// Whether this host can do the nftables mode, and how to be rid of it.
import { AgentError } from '../../core/errors.ts';
import type { Exec } from '../../host/exec.ts';
import { applyNft, checkNft } from '../../host/nft.ts';
import { TABLE } from './table.ts';

const HINT = 'install nftables 1.0.1 or later, or use --proxy-mode=iptables';

export interface KernelFacts {
  /** As `uname -r` prints it. */
  readonly release: string;
  /** Distributions backport nf_tables to older kernels: their operators may say that it is good enough. */
  readonly skipVersionCheck: boolean;
}

/**
 * Looks whether this host can do the nftables mode, and whether it takes comments on tables, chains and sets.
 * @throws {AgentError} NFTABLES_UNSUPPORTED with what is missing.
 */
export async function probeNftables(
  exec: Exec,
  kernel: KernelFacts,
  signal: AbortSignal,
): Promise<{ readonly hasObjectComments: boolean }> {
  const version = await exec('nft', ['--version'], { signal }).catch(() => undefined);
  if (version === undefined || version.code !== 0) throw unsupported('the nftables mode needs the program nft');
  if (/ v(0\.|1\.0\.0\b)/.test(version.stdout)) {
    throw unsupported(`the nftables mode needs nft 1.0.1 or later, this is ${version.stdout.trim()}`);
  }
  if (!kernel.skipVersionCheck && !isKernelNewEnough(kernel.release)) {
    throw unsupported(`the nftables mode needs Linux 5.13 or later, this is ${kernel.release}`);
  }
  const probe = (comment: string) => checkNft(exec, `add table ip ${TABLE} {${comment} }\n`, { signal });
  if ((await probe(' comment "rules for kube-proxy" ;')) === undefined) return { hasObjectComments: true };
  const refusal = await probe('');
  if (refusal === undefined) return { hasObjectComments: false };
  throw unsupported(`the kernel does not take nftables rules: ${refusal}`);
}

/** 5.13 and later. A release that cannot be read is given a try. */
export function isKernelNewEnough(release: string): boolean {
  const [, major, minor] = /^(\d+)\.(\d+)/.exec(release) ?? [];
  if (major === undefined) return true;
  return Number(major) > 5 || (Number(major) === 5 && Number(minor) >= 13);
}

/** Removes the tables of both families, of this run or an earlier one. @throws {AgentError} RULES_REJECTED. */
export async function cleanupNftables(exec: Exec, signal: AbortSignal): Promise<void> {
  for (const family of ['ip', 'ip6']) {
    // Made first, so that a table that is not there is no error.
    await applyNft(exec, `add table ${family} ${TABLE}\ndelete table ${family} ${TABLE}\n`, { signal });
  }
}

function unsupported(message: string): AgentError {
  return new AgentError(message, { code: 'NFTABLES_UNSUPPORTED', hint: HINT });
}
