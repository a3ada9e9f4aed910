// What a lab consists of, in one file of its directory: `lab up` writes it, every other command reads it. Names and
// addresses are written down before anything has them, processes as soon as they run: so `lab down` finds what a command
// that was killed in between has made.
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import type { Clock } from '../core/clock.ts';
import { AgentError, errnoOf, errorMessage } from '../core/errors.ts';
import { writeFileAtomic } from '../host/files.ts';
import type { ProcessIdentity } from '../host/process.ts';
import { holdLock } from '../host/process-lock.ts';

export interface NodeState {
  readonly name: string;
  /** 1-based; gives the address. */
  readonly ordinal: number;
  readonly netns: string;
  readonly ip: string;
  /** Process that holds the node's namespaces together; killing it ends everything inside. */
  readonly holder?: ProcessIdentity;
  /** Process 1 of the node's pid namespace, seen from the host. */
  readonly init?: ProcessIdentity;
  readonly containerd?: ProcessIdentity;
  readonly agent?: ProcessIdentity;
}

/** Options of `lab up` that later `lab node add` and `lab node start` use again. */
export interface AgentOptions {
  readonly proxyMode?: string;
  readonly networkBackend?: string;
  readonly featureGates?: string;
  readonly verbosity?: number;
}

export interface LabState {
  readonly version: 1;
  readonly id: string;
  readonly index: number;
  readonly port: number;
  readonly agentOptions: AgentOptions;
  readonly apiserver?: ProcessIdentity;
  /** Further flags of the API server, for when it is started again. */
  readonly apiserverArguments?: readonly string[];
  readonly nodes: readonly NodeState[];
}

const stateFile = (dir: string): string => path.join(dir, 'lab.json');

/** @throws {AgentError} LAB_NOT_FOUND when there is no lab in `dir`. */
export async function readLabState(dir: string): Promise<LabState> {
  const state = await findLabState(dir);
  if (state !== undefined) return state;
  throw new AgentError(`there is no lab in ${dir}`, {
    code: 'LAB_NOT_FOUND',
    hint: 'start one with `nodelet lab up`, or name its directory with --dir',
  });
}

/** @throws {AgentError} LAB_STATE_INVALID; what the file system says, but that the file is not there. */
export async function findLabState(dir: string): Promise<LabState | undefined> {
  let text: string;
  try {
    text = await readFile(stateFile(dir), 'utf8');
  } catch (err) {
    if (errnoOf(err) === 'ENOENT' || errnoOf(err) === 'ENOTDIR') return undefined;
    throw err;
  }
  try {
    const state = JSON.parse(text) as LabState;
    if (state.version !== 1) throw new Error(`version ${String(state.version)} is not known`);
    return state;
  } catch (cause) {
    throw new AgentError(`cannot read ${stateFile(dir)}: ${errorMessage(cause)}`, {
      code: 'LAB_STATE_INVALID',
      cause,
      hint: 'it was written by another version, or changed by hand',
    });
  }
}

export async function writeLabState(dir: string, state: LabState): Promise<void> {
  await writeFileAtomic(stateFile(dir), `${JSON.stringify(state, null, 2)}\n`, 0o600);
}

/** Changes of the state by one command, in which several nodes are worked on at once: one change after the other. */
export class LabStateFile {
  readonly #dir: string;
  #last: Promise<unknown> = Promise.resolve();

  constructor(dir: string) {
    this.#dir = dir;
  }

  async update(change: (state: LabState) => LabState): Promise<LabState> {
    const next = this.#last.then(async () => {
      const state = change(await readLabState(this.#dir));
      await writeLabState(this.#dir, state);
      return state;
    });
    this.#last = next.catch(() => {}); // reported to the caller of that update; the next one goes on
    return await next;
  }

  async updateNode(name: string, change: (node: NodeState) => NodeState): Promise<NodeState> {
    const state = await this.update((s) => ({ ...s, nodes: s.nodes.map((n) => (n.name === name ? change(n) : n)) }));
    return findNode(state, name);
  }
}

/** @throws {AgentError} LAB_NODE_NOT_FOUND */
export function findNode(state: LabState, name: string): NodeState {
  const node = state.nodes.find((n) => n.name === name);
  if (node !== undefined) return node;
  throw new AgentError(`the lab has no node ${name}`, {
    code: 'LAB_NODE_NOT_FOUND',
    hint: `its nodes: ${state.nodes.map((n) => n.name).join(', ') || 'none'}`,
  });
}

const LOCK_DIR_TRIES = 20;

/** One command at a time changes a lab. Waits for the one that is at work. @throws the reason of `signal` */
export async function lockLab(dir: string, clock: Clock, signal: AbortSignal): Promise<AsyncDisposable> {
  for (let triesLeft = LOCK_DIR_TRIES; ; triesLeft--) {
    try {
      await mkdir(dir, { recursive: true, mode: 0o755 });
      return await holdLock(path.join(dir, 'lab.lock'), clock, signal);
    } catch (err) {
      // Another lab has removed the directory meanwhile, having found it empty.
      if (errnoOf(err) !== 'ENOENT' || triesLeft === 0) throw err;
    }
  }
}

/** A copy without some of its fields. */
export function without<T extends object, K extends keyof T>(object: T, keys: readonly K[]): Omit<T, K> {
  return Object.fromEntries(Object.entries(object).filter(([k]) => !keys.includes(k as K))) as Omit<T, K>;
}
