// A churn of pods while something is done to the node, and what must be true of it: no container runs twice, no exit is
// forgotten, every pod gets somewhere, and when all are gone nothing of them is left on the node.
import { expect } from 'vitest';
import { Churn } from './churn.ts';
import { type FaultNode, until } from './fault-node.ts';
import { PodHistory } from './pod-history.ts';
import { Random } from './random.ts';

const NAMESPACE = 'churn';

export interface ChurnTrialOptions {
  readonly seed: number;
  /** As long as pods may need once the churn has ended, ms. */
  readonly settleMs: number;
}

export class ChurnTrial {
  readonly #node: FaultNode;
  readonly #opts: ChurnTrialOptions;
  readonly #churn: Churn;
  readonly #history: PodHistory;
  readonly #steps: string[] = [];
  readonly random: Random;

  private constructor(node: FaultNode, opts: ChurnTrialOptions) {
    const { client, runtime } = node;
    this.#node = node;
    this.#opts = opts;
    this.random = new Random(opts.seed);
    this.#churn = new Churn({ client, runtime, namespace: NAMESPACE, random: this.random });
    this.#history = new PodHistory({ client, runtime, namespace: NAMESPACE });
  }

  static async start(node: FaultNode, opts: ChurnTrialOptions): Promise<ChurnTrial> {
    const trial = new ChurnTrial(node, opts);
    await trial.#churn.prepare();
    await trial.#history.start();
    return trial;
  }

  /** One change of one pod, as the seed says. */
  async step(): Promise<void> {
    this.#steps.push(await this.#churn.step());
  }

  /** Something that happened between two steps. */
  note(text: string): void {
    this.#steps.push(text);
  }

  async expectNoDoubles(): Promise<void> {
    await this.#history.checkDoubles();
    this.#expect(this.#history.faults).toEqual([]);
  }

  /** The churn has ended: all pods get somewhere, then all are deleted, and the node is as it was. */
  async expectCleanEnd(): Promise<void> {
    const { settleMs } = this.#opts;
    const pending = await until(
      async () => this.#history.pods.filter((p) => p.status?.phase === 'Pending').map((p) => p.metadata?.name),
      (names) => names.length === 0,
      settleMs,
    );
    this.#expect(pending).toEqual([]);
    await this.#history.checkExits();
    await this.expectNoDoubles();

    await this.#churn.deleteAll();
    const left = await until(
      async () => this.#history.pods.map((p) => p.metadata?.name),
      (names) => names.length === 0,
      settleMs,
    );
    this.#expect(left).toEqual([]);
    // What ended while no agent was there, or could not be removed, is looked for by one that starts.
    await this.#node.killAgent();
    await (await this.#node.startAgent())();
    await this.#node.untilClean(settleMs);
    await this.#history.end();
    this.#expect(this.#history.faults).toEqual([]);
    expect(await this.#node.agentRuns()).toBe(true);
  }

  /** What there was of it, for the log. */
  get summary(): string {
    return `${this.#churn.made} pods, ${this.#history.startedContainers} containers started`;
  }

  #expect(value: unknown) {
    return expect(value, `seed ${this.#opts.seed}, the last steps:\n${this.#steps.slice(-12).join('\n')}`);
  }
}
