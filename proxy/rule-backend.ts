// The seam between what Services need and the kernel's rules: each proxy mode implements it for one IP family.
import type { PortPlan } from './port-plan.ts';

/** All ports of one Service. */
export type ServicePlan = readonly PortPlan[];

/** Every Service by its key. Gone through once, and each plan made when it is asked for. */
export type Services = Iterable<readonly [key: string, plan: ServicePlan]>;

export interface ClusterFacts {
  /** Endpoints of all Services together, usable or not. */
  readonly endpointCount: number;
}

export interface RuleBackend {
  readonly family: 4 | 6;
  /** Addresses on which node ports answer, as of the last sync; undefined: all. */
  readonly nodePortIps?: readonly string[] | undefined;
  /**
   * Makes the kernel's rules what `services` need, whatever is there now. Packets of Services that do not change find
   * their way all the while. @throws {AgentError} and leaves it open what the kernel holds.
   */
  writeAll(services: Services, facts: ClusterFacts, signal: AbortSignal): Promise<void>;
  /**
   * The same for the Services named, building on what the last call left; undefined for one that is gone. The cost
   * follows the change. @throws {AgentError} and leaves it open what the kernel holds: `writeAll` must come next.
   */
  writeChanges(changes: ReadonlyMap<string, ServicePlan | undefined>, signal: AbortSignal): Promise<void>;
  /** True when `writeAll` has to come next although nothing failed. */
  isOutdated?(facts: ClusterFacts): boolean;
  /** True when the node has other addresses than the rules know: `writeAll` has to come next. */
  hasNewAddresses?(): boolean;
  /** True while `writeChanges`, be it without a change, has something to clear away. */
  readonly hasLeftovers?: boolean;
  /** False when somebody took rules away. @throws {AgentError} when the kernel cannot be asked. */
  isInPlace(signal: AbortSignal): Promise<boolean>;
}
