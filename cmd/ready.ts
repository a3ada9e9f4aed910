// Tells whoever started this process, through the descriptor it was given, that it is ready (host/process.ts).
import { closeSync, writeSync } from 'node:fs';
import { READY_FD_ENV } from '../host/process.ts';

/** Once: later calls do nothing, nor does a process that nobody waits for. */
export function announceReady(): void {
  const fd = Number(process.env[READY_FD_ENV]);
  delete process.env[READY_FD_ENV];
  if (!Number.isInteger(fd) || fd < 3) return;
  try {
    writeSync(fd, 'ready\n');
    closeSync(fd);
  } catch {
    // whoever waited has gone
  }
}
