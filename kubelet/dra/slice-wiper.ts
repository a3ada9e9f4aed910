// Takes back what drivers have advertised of this node once they cannot serve it any more: pods that were scheduled for it
// would wait here for ever. After pkg/kubelet/cm/dra/plugin/dra_plugin_manager.go wipeResourceSlices.
import { resourceSlices } from '../../api/resource-claims.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { isNotFound } from '../../client/errors.ts';
import { Backoff } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import { errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';

const RETRY_INITIAL_MS = 1_000;
const RETRY_MAX_MS = 300_000;
const JITTER = 0.2;
const TIMEOUT_MS = 30_000;

export interface SliceWiperDeps {
  readonly client: ApiClient;
  readonly nodeName: string;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Deletes this node's ResourceSlices, those of `driver` or all; repeats what fails until `signal` aborts. */
export async function wipeSlices(deps: SliceWiperDeps, driver: string | undefined, signal: AbortSignal): Promise<void> {
  const backoff = new Backoff({ initialMs: RETRY_INITIAL_MS, maxMs: RETRY_MAX_MS, jitter: JITTER });
  while (!signal.aborted) {
    try {
      await wipeOnce(deps, driver, signal);
      return;
    } catch (err) {
      if (signal.aborted || isNotFound(err)) return; // a server that knows no such kind has none
      const retryInMs = Math.round(backoff.next());
      deps.log.warn(
        { driver, retryInMs, error: errorMessage(err) },
        'ResourceSlices of the node not deleted, will retry',
      );
      await deps.clock.sleep(retryInMs, signal);
    }
  }
}

async function wipeOnce(deps: SliceWiperDeps, driver: string | undefined, signal: AbortSignal): Promise<void> {
  const { client, nodeName, log } = deps;
  const opts = { signal, timeoutMs: TIMEOUT_MS };
  // The Node authorizer lets a node read these alone.
  const fieldSelector = `spec.nodeName=${nodeName}${driver === undefined ? '' : `,spec.driver=${driver}`}`;
  const { items } = await client.list(resourceSlices, { fieldSelector, ...opts });
  for (const { metadata = {} } of items) {
    const { name = '', uid } = metadata;
    try {
      await client.delete(
        resourceSlices,
        { name },
        { ...opts, ...(uid === undefined ? {} : { preconditions: { uid } }) },
      );
      log.info({ slice: name, driver }, 'ResourceSlice deleted: its driver is not there');
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}
