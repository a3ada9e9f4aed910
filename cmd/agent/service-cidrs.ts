// Follows the cluster's ServiceCIDRs for the nftables mode, which drops what is sent to their unused addresses.
import { serviceCidrs } from '../../api/resources.ts';
import { isForbidden, isNotFound } from '../../client/errors.ts';
import { createInformer } from '../../client/informer.ts';
import { aborted } from '../../core/abort.ts';
import { errorMessage } from '../../core/errors.ts';
import type { AgentContext } from './shared.ts';

/** Pause after a question that failed for no reason of its own, ms. */
const RETRY_MS = 30_000;

/**
 * Hands the union of all ranges to `onChange`, now and whenever it changes, until `signal` aborts. Clusters before 1.33
 * have no such kind, and may keep it from nodes: then nothing is handed out, and packets to unused addresses go their way.
 */
export async function followServiceCidrs(
  ctx: Pick<AgentContext, 'client' | 'clock' | 'log' | 'standalone'>,
  onChange: (cidrs: readonly string[]) => void,
  signal: AbortSignal,
): Promise<void> {
  if (ctx.standalone || !(await areServed(ctx, signal))) return aborted(signal);
  const informer = createInformer(ctx.client, serviceCidrs, {}, ctx);
  const { store } = informer;
  const tell = () => onChange(store.list().flatMap((c) => c.spec?.cidrs ?? []));
  using _subscription = store.subscribe({ onAdd: tell, onUpdate: tell, onDelete: tell });
  await informer.run(signal);
}

async function areServed(
  { client, clock, log }: Pick<AgentContext, 'client' | 'clock' | 'log'>,
  signal: AbortSignal,
): Promise<boolean> {
  while (!signal.aborted) {
    try {
      await client.list(serviceCidrs, { limit: 1, signal });
      return true;
    } catch (err) {
      if (isNotFound(err) || isForbidden(err)) {
        log.info({ cause: errorMessage(err) }, 'ServiceCIDRs cannot be read: unused cluster IPs are not dropped');
        return false;
      }
      await clock.sleep(RETRY_MS, signal);
    }
  }
  return false;
}
