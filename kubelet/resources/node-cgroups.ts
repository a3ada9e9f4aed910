// Holds all pods together, and what the operator reserved for the system, to their share of the node. After
// pkg/kubelet/cm/node_container_manager_linux.go.
import type { ObjectReference } from '../../api/kinds.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { CgroupFs, CgroupLimits, CgroupTree } from '../../host/cgroup.ts';
import type { ReservedCgroup } from './node-allocatable.ts';

export interface NodeCgroupOptions {
  /** The cgroup of all pods; undefined where pods have none of their own. */
  readonly podsCgroup: string | undefined;
  readonly podsLimits: CgroupLimits;
  readonly reserved: readonly ReservedCgroup[];
}

export interface NodeCgroupDeps {
  readonly tree: CgroupTree;
  readonly fs: Pick<CgroupFs, 'exists'>;
  readonly events: EventRecorder;
  readonly node: ObjectReference;
  readonly clock: Clock;
  readonly log: Logger;
}

const ENFORCED = 'NodeAllocatableEnforced';
const FAILED = 'FailedNodeAllocatableEnforcement';
const RETRY_MS = 60_000;

export class NodeCgroups {
  readonly #opts: NodeCgroupOptions;
  readonly #deps: NodeCgroupDeps;
  readonly #log: Logger;

  constructor(opts: NodeCgroupOptions, deps: NodeCgroupDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'node-cgroups' });
  }

  /** What is reserved for the system is the operator's to make. @throws {AgentError} RESERVED_CGROUP_FAILED */
  async enforceReserved(): Promise<void> {
    const { tree, fs, events, node } = this.#deps;
    for (const { kind, cgroup, limits } of this.#opts.reserved) {
      try {
        if (!(await fs.exists(cgroup))) throw new Error(`"${cgroup}" cgroup does not exist`);
        await tree.setLimits(cgroup, limits);
      } catch (cause) {
        const capital = kind === 'kube' ? 'Kube' : 'System';
        const message = `Failed to enforce ${capital} Reserved Cgroup Limits on "${cgroup}": ${errorMessage(cause)}`;
        events.event(node, 'Warning', FAILED, message);
        const hint = `make the cgroup before the agent starts, or change ${kind}ReservedCgroup`;
        throw new AgentError(message, { code: 'RESERVED_CGROUP_FAILED', cause, hint });
      }
      events.event(node, 'Normal', ENFORCED, `Updated limits on ${kind} reserved cgroup ${cgroup}`);
    }
  }

  /** Limits all pods together, trying once a minute until it goes well. A v1 kernel refuses what is less than is used. */
  async run(signal: AbortSignal): Promise<void> {
    const { tree, events, node, clock } = this.#deps;
    const { podsCgroup, podsLimits } = this.#opts;
    while (podsCgroup !== undefined && !signal.aborted) {
      try {
        await tree.setLimits(podsCgroup, podsLimits);
        events.event(node, 'Normal', ENFORCED, 'Updated Node Allocatable limit across pods');
        return;
      } catch (err) {
        this.#log.warn({ err, cgroup: podsCgroup, retryInMs: RETRY_MS }, 'all pods together could not be limited');
        const text = `Failed to update Node Allocatable Limits ["kubepods"]: ${errorMessage(err)}`;
        events.event(node, 'Warning', FAILED, text);
        await clock.sleep(RETRY_MS, signal);
      }
    }
  }
}
