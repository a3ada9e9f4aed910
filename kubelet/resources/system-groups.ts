// Keeps the agent, and what else runs on the host, in the cgroups that the configuration names for them, and the agent's
// score for when memory runs out. After pkg/kubelet/cm container_manager_linux.go.
import type { Clock } from '../../core/clock.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { CgroupMembers } from '../../host/cgroup-members.ts';

export interface SystemGroupsOptions {
  /** kubeletCgroups; '' leaves the agent where it is. */
  readonly kubeletCgroup: string;
  /** systemCgroups: for processes of the host that are in no group; '' leaves them there. */
  readonly systemCgroup: string;
  /** Of the agent. */
  readonly pid: number;
}

export interface SystemGroupsDeps {
  readonly members: CgroupMembers;
  /** Whether the agent is a process of the host, and not of a container. */
  readonly seesHostProcesses: () => Promise<boolean>;
  readonly isKernelThread: (pid: number) => Promise<boolean>;
  /** @throws when it is refused. */
  readonly setOomScore: () => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** How often processes are looked at. */
const MEMBERS_MS = 60_000;
/** How often the score is looked at where that is all there is to do. */
const SCORE_MS = 300_000;
/** Processes start others while they are moved. */
const ROUNDS = 11;
/** Where processes are that nobody has put anywhere. */
const ROOT = '/';

export class SystemGroups {
  readonly #opts: SystemGroupsOptions;
  readonly #deps: SystemGroupsDeps;
  readonly #log: Logger;
  /** What went wrong last: said once, not every minute. */
  #fault: string | undefined;

  constructor(opts: SystemGroupsOptions, deps: SystemGroupsDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'system-groups' });
  }

  /** Looks again and again, at once where processes are to be moved. What cannot be done is logged, and tried again. */
  async run(signal: AbortSignal): Promise<void> {
    const { kubeletCgroup, systemCgroup } = this.#opts;
    const { clock } = this.#deps;
    const movesProcesses = kubeletCgroup !== '' || systemCgroup !== '';
    if (!movesProcesses) await clock.sleep(SCORE_MS, signal); // the score has been set before anything else
    while (!signal.aborted) {
      await this.#look();
      await clock.sleep(movesProcesses ? MEMBERS_MS : SCORE_MS, signal);
    }
  }

  async #look(): Promise<void> {
    const { kubeletCgroup, systemCgroup } = this.#opts;
    const faults: unknown[] = [];
    const attempt = (work: () => Promise<void>) => work().catch((err: unknown) => void faults.push(err));
    // Host processes first: an agent that is still among them is then taken out again.
    if (systemCgroup !== '') await attempt(() => this.#gather(systemCgroup));
    await attempt(async () => {
      if (!(await this.#deps.seesHostProcesses())) return;
      if (kubeletCgroup !== '') await attempt(() => this.#moveAgent(kubeletCgroup));
      await attempt(() => this.#deps.setOomScore());
    });
    this.#tell(faults);
  }

  #tell(faults: readonly unknown[]): void {
    const text = faults.map(errorMessage).join('; ');
    if (text !== '' && text !== this.#fault) {
      this.#log.info(
        { cause: text, kubeletCgroup: this.#opts.kubeletCgroup },
        'processes of the system are not as configured',
      );
    }
    this.#fault = text;
  }

  async #moveAgent(wanted: string): Promise<void> {
    const { members } = this.#deps;
    const { pid } = this.#opts;
    const current = await members.groupOf(pid);
    if (current === wanted) return;
    await members.join(wanted, pid);
    this.#log.info({ cgroup: wanted, from: current }, 'the agent has been moved into its cgroup');
  }

  /** Moves what is at the root; kernel threads stay, so that no limit of the group makes the kernel wait, and so does init. */
  async #gather(wanted: string): Promise<void> {
    const { members, isKernelThread } = this.#deps;
    let fault: unknown;
    for (let round = 0; round < ROUNDS; round++) {
      const pids: number[] = [];
      for (const pid of await members.processesIn(ROOT)) {
        if (pid !== 1 && !(await isKernelThread(pid))) pids.push(pid);
      }
      if (pids.length === 0) return;
      fault = undefined;
      for (const pid of pids) {
        await members.join(wanted, pid).catch((err: unknown) => {
          fault = err;
        });
      }
    }
    if (fault !== undefined) {
      throw new AgentError(`not every process could be moved into ${wanted}: ${errorMessage(fault)}`, {
        code: 'CGROUP_WRITE_FAILED',
        cause: fault,
        retryable: true,
      });
    }
  }
}
