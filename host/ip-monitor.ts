// One long-lived `ip monitor`: who watches links, routes and neighbours need not poll them.
import { spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { AgentError } from '../core/errors.ts';
import { withStreams } from './not-started.ts';

/** Calls `onLine` for every change until `signal` aborts. Changes made before it was ready are not seen. */
export type FollowNetwork = (onLine: (line: string) => void, signal: AbortSignal) => Promise<void>;

/** Follows namespace `netns`, or the process's own. It throws MONITOR_ENDED when the process ends by itself. */
export function networkFollower(netns?: string): FollowNetwork {
  return async (onLine, signal) => {
    if (signal.aborted) return;
    const where = netns === undefined ? [] : ['-n', netns];
    const args = [...where, '-o', 'monitor', 'link', 'address', 'route', 'neigh'];
    const child = withStreams('ip', spawn('ip', args, { stdio: ['ignore', 'pipe', 'ignore'] }));
    const ended = new Promise<string>((resolve) => {
      child.once('error', (err) => resolve(err.message));
      child.once('close', (code, sig) => resolve(sig ?? `exit ${code}`));
    });
    const kill = () => child.kill('SIGKILL');
    signal.addEventListener('abort', kill, { once: true });
    createInterface({ input: child.stdout }).on('line', onLine);
    const how = await ended;
    signal.removeEventListener('abort', kill);
    if (!signal.aborted) throw new AgentError(`ip monitor ended: ${how}`, { code: 'MONITOR_ENDED', retryable: true });
  };
}
