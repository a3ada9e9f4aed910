// Holds up the shutdown of the node. logind's lock is a file descriptor, which Node.js cannot take from a D-Bus message:
// systemd-inhibit takes it and holds it as long as its command runs, and that runs until we close its input. When we
// are killed, the kernel closes it.
import { type ChildProcessByStdio, spawn } from 'node:child_process';
import type { Readable, Writable } from 'node:stream';
import { AgentError, errorMessage } from '../../core/errors.ts';
import { withStreams } from '../../host/not-started.ts';

export interface Inhibitor {
  /** Lets the shutdown go on. Idempotent. */
  release(): void;
  /** Resolves when the lock is gone, whoever let it go. */
  readonly gone: Promise<void>;
}

const COMMAND = [
  'systemd-inhibit',
  '--what=shutdown',
  '--who=kubelet',
  '--why=Kubelet needs time to handle node shutdown',
  '--mode=delay',
  'sh',
  '-c',
  'echo held; exec cat >/dev/null',
];

/** Resolves when the lock is held. @throws {AgentError} SHUTDOWN_LOCK */
export async function takeInhibitor(program: readonly string[] = COMMAND): Promise<Inhibitor> {
  const child = withStreams(program[0]!, spawn(program[0]!, program.slice(1), { stdio: ['pipe', 'pipe', 'pipe'] }));
  let complaint = '';
  child.stderr.on('data', (chunk: Buffer) => {
    complaint = (complaint + chunk.toString()).slice(-500);
  });
  child.stdin.on('error', () => {}); // it ended by itself: `gone` tells
  const gone = new Promise<void>((resolve) => child.once('close', () => resolve()));
  try {
    await firstOutput(child);
  } catch (cause) {
    child.stdin.destroy();
    throw new AgentError(`cannot take the lock that holds up a shutdown: ${complaint.trim() || errorMessage(cause)}`, {
      code: 'SHUTDOWN_LOCK',
      cause,
      retryable: true,
      hint: 'check that systemd-logind runs: systemd-inhibit --list',
    });
  }
  return { release: () => void child.stdin.end(), gone };
}

async function firstOutput(child: ChildProcessByStdio<Writable, Readable, Readable>): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    child.stdout.once('data', () => resolve());
    child.once('error', reject);
    child.once('close', (code) => reject(new Error(`exit ${code}`)));
  });
}
