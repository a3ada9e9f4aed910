// How many volumes a driver takes on this node may change while it runs: it is asked again as often as its CSIDriver
// says (nodeAllocatableUpdatePeriodSeconds). After pkg/volume/csi/csi_node_updater.go. CSIDrivers are watched only on a
// node that has a driver; who else wants to know what they say hears of it here.
import type { CSIDriver } from '../../../api/kinds.ts';
import { csiDrivers } from '../../../api/resources.ts';
import type { ApiClient } from '../../../client/api-client.ts';
import { createInformer } from '../../../client/informer.ts';
import { aborted } from '../../../core/abort.ts';
import type { Clock } from '../../../core/clock.ts';
import { DueQueue } from '../../../core/due-queue.ts';
import type { Logger } from '../../../core/log.ts';

/** The API refuses less; a server that does not must not make us ask all the time. */
const MIN_PERIOD_MS = 10_000;

/** kubernetes-types are of an older version. */
type Driver = CSIDriver & { readonly spec?: { readonly nodeAllocatableUpdatePeriodSeconds?: number } };

export interface CsiAllocatableDeps {
  readonly client: ApiClient;
  /** Asks the driver and shows its answer; false when it is not registered any more. */
  readonly refresh: (driver: string, signal: AbortSignal) => Promise<boolean>;
  /** A CSIDriver came, changed or went. */
  readonly onDriver?: (name: string, driver: CSIDriver | undefined) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

export class CsiAllocatable {
  readonly #deps: CsiAllocatableDeps;
  readonly #log: Logger;
  readonly #first = Promise.withResolvers<void>();
  readonly #registered = new Set<string>();
  readonly #periodsMs = new Map<string, number>();
  #consider: (driver: string) => void = () => {};

  constructor(deps: CsiAllocatableDeps) {
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'csi' });
  }

  /** May be said again for the same driver. */
  registered(driver: string): void {
    this.#registered.add(driver);
    this.#consider(driver);
    this.#first.resolve();
  }

  /** Works until `signal` aborts. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.race([this.#first.promise, aborted(signal)]);
    if (signal.aborted) return;
    const { client, clock, log, onDriver } = this.#deps;
    const { store, run } = createInformer<Driver>(client, csiDrivers, {}, { clock, log });
    using due = new DueQueue<string>(clock, (driver) => void this.#refresh(driver, due, signal)); // never throws
    this.#consider = (driver) => {
      const seconds = this.#registered.has(driver)
        ? store.get(driver)?.spec?.nodeAllocatableUpdatePeriodSeconds
        : undefined;
      const periodMs = seconds === undefined ? undefined : Math.max(seconds * 1000, MIN_PERIOD_MS);
      if (periodMs === this.#periodsMs.get(driver)) return;
      if (periodMs === undefined) {
        this.#periodsMs.delete(driver);
        due.delete(driver);
      } else {
        this.#periodsMs.set(driver, periodMs);
        due.set(driver, periodMs);
      }
    };
    const look = ({ metadata: { name = '' } = {} }: Driver) => {
      this.#consider(name);
      onDriver?.(name, store.get(name));
    };
    using _ = store.subscribe({ onAdd: look, onUpdate: (_old, object) => look(object), onDelete: look });
    await run(signal);
  }

  async #refresh(driver: string, due: DueQueue<string>, signal: AbortSignal): Promise<void> {
    try {
      if (!(await this.#deps.refresh(driver, signal))) this.#registered.delete(driver);
    } catch (err) {
      if (!signal.aborted) this.#log.warn({ err, driver }, 'the limit of a CSI driver is not known anew, will retry');
    }
    this.#consider(driver);
    const periodMs = this.#periodsMs.get(driver);
    if (periodMs !== undefined && !signal.aborted) due.set(driver, periodMs);
  }
}
