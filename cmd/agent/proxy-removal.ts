// Taking rules of the service proxy away: all of them, or what a run in the other mode left.
import { aborted } from '../../core/abort.ts';
import { errorMessage } from '../../core/errors.ts';
import type { Task } from '../../core/tasks.ts';
import { isIptablesUsable } from '../../host/iptables-restore.ts';
import { cleanupIptables } from '../../proxy/iptables/iptables.ts';
import { cleanupPacketCounters } from '../../proxy/iptables/packet-counters.ts';
import { cleanupNftables } from '../../proxy/nftables/support.ts';
import type { ProxyMode } from '../../proxy/proxy.ts';
import type { AgentContext } from './shared.ts';

type Context = Pick<AgentContext, 'exec' | 'log'>;

/** Somebody may hold the lock of the tables; a host on which it cannot be done at all is left alone after some time. */
const RETRY_MS = 30_000;
const MAX_ATTEMPTS = 10;

/** Removes the rules of both modes, of this run or an earlier one. @throws {AgentError} when rules cannot be removed. */
export async function cleanupProxy(
  ctx: Context & { readonly config: Pick<AgentContext['config'], 'parts'> },
  signal: AbortSignal,
): Promise<void> {
  const results = await Promise.allSettled([
    cleanupBothIptables(ctx, !ctx.config.parts.has('kubelet'), signal),
    hasNft(ctx, signal).then((has) => (has ? cleanupNftables(ctx.exec, signal) : undefined)),
  ]);
  for (const result of results) if (result.status === 'rejected') throw result.reason;
}

/**
 * Removes the rules of the other mode once ours are in place (`synced`). Until then those of an earlier run serve; and
 * while the kernel has no rules of either, packets of open connections are not translated: those to node ports end in a
 * reset.
 */
export function otherModeRemoval(
  ctx: Context & Pick<AgentContext, 'clock'>,
  mode: ProxyMode,
  synced: Promise<void>,
): Task {
  return async (signal) => {
    await Promise.race([synced, aborted(signal)]);
    for (let attempt = 1; !signal.aborted && attempt <= MAX_ATTEMPTS; attempt++) {
      if (await removeOtherMode(ctx, mode, signal)) break;
      await ctx.clock.sleep(RETRY_MS, signal);
    }
    await aborted(signal);
  };
}

/**
 * What a run in the other mode left would go on sending packets to endpoints that are gone. A failure is logged, and false
 * returned.
 */
export async function removeOtherMode(ctx: Context, mode: ProxyMode, signal: AbortSignal): Promise<boolean> {
  try {
    if (mode === 'nftables') await cleanupBothIptables(ctx, true, signal);
    else if (await hasNft(ctx, signal)) await cleanupNftables(ctx.exec, signal);
    return true;
  } catch (err) {
    const other = mode === 'nftables' ? 'iptables' : 'nftables';
    if (!signal.aborted) ctx.log.warn({ err }, `rules of the ${other} mode cannot be removed`);
    return false;
  }
}

/** Of both families: an earlier run, or kube-proxy before us, may have served IPv6. A host without its tools has none. */
async function cleanupBothIptables({ exec }: Context, keepShared: boolean, signal: AbortSignal): Promise<void> {
  for (const family of [4, 6] as const) {
    if (await isIptablesUsable(exec, family, signal)) await cleanupIptables(exec, family, { keepShared }, signal);
  }
  await cleanupPacketCounters(exec, signal);
}

async function hasNft({ exec, log }: Context, signal: AbortSignal): Promise<boolean> {
  try {
    return (await exec('nft', ['--version'], { signal })).code === 0;
  } catch (err) {
    log.debug({ cause: errorMessage(err) }, 'no nft here, so no rules of the nftables mode');
    return false;
  }
}
