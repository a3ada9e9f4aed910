// The files in which the CPU and the memory manager keep what they gave away: JSON with a checksum over the value as Go
// prints it, so that a node may change between this agent and the kubelet. Unlike other checkpoints a file that cannot be
// trusted ends the agent: containers run on what it tells. After pkg/kubelet/checkpointmanager.
import { readFileSync } from 'node:fs';
import { AgentError, errnoOf, errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { CheckpointWriter } from '../checkpoint-writer.ts';
import { fnv1a32Hex } from '../runtime/container-hash.ts';

/** Of a value as Go prints it with its types. */
export function goChecksum(printed: string): number {
  return Number.parseInt(fnv1a32Hex(printed), 16);
}

/** A Go map of what is printed already, in the order of its keys. */
export function goMap(entries: Iterable<readonly [string, string]>): string {
  const sorted = [...entries].sort(([a], [b]) => (a < b ? -1 : 1));
  return `map[${sorted.map(([key, value]) => `${key}:${value}`).join(' ')}]`;
}

/** Keys in Go's order. */
export function sortedRecord<T, U>(map: ReadonlyMap<string, T>, value: (item: T) => U): Record<string, U> {
  const sorted = [...map].sort(([a], [b]) => (a < b ? -1 : 1));
  return Object.fromEntries(sorted.map(([key, item]) => [key, value(item)]));
}

export interface StateFileDeps {
  readonly log: Logger;
}

/** Writes what `render` says now. */
export class StateFile {
  readonly #file: string;
  readonly #writer: CheckpointWriter;
  readonly #log: Logger;

  constructor(file: string, render: () => string, deps: StateFileDeps) {
    this.#file = file;
    // Synced: after a power cut an empty file would keep the agent from starting.
    this.#writer = new CheckpointWriter(file, render, { durable: true });
    this.#log = deps.log;
  }

  /** Resolves when what is known now is on disk. @throws what writing throws */
  async save(): Promise<void> {
    await this.#writer.save();
  }

  /** For what may be lost: it is found out anew at the next start. */
  saveLater(): void {
    this.save().catch((err: unknown) => this.#log.warn({ err, file: this.#file }, 'state not written'));
  }
}

/**
 * What `parse` makes of the file; undefined where there is none. @throws {AgentError} MANAGER_STATE_INVALID when it cannot
 * be used; `parse` throws what is wrong with it.
 */
export function readState<T>(file: string, manager: 'CPU' | 'memory', parse: (text: string) => T): T | undefined {
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return undefined;
    throw unusableState(file, manager, errorMessage(err), err);
  }
  try {
    return parse(text);
  } catch (err) {
    throw unusableState(file, manager, errorMessage(err), err);
  }
}

export function unusableState(file: string, manager: 'CPU' | 'memory', why: string, cause?: unknown): AgentError {
  const advice = `please drain this node and delete the ${manager} manager checkpoint file "${file}"`;
  return new AgentError(`could not restore state from checkpoint: ${why}, ${advice} before restarting`, {
    code: 'MANAGER_STATE_INVALID',
    hint: `drain the node, remove ${file}, start the agent again`,
    ...(cause === undefined ? {} : { cause }),
  });
}

/** @throws {Error} when the file was written under another policy. */
export function refuseOtherPolicy(configured: string, stored: unknown): void {
  if (stored === configured) return;
  throw new Error(`configured policy "${configured}" differs from state checkpoint policy "${String(stored)}"`);
}
