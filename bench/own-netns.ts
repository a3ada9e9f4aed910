// A benchmark of rules runs in a network namespace of its own, all of it: the host's rules are neither touched nor part
// of what is measured, and nothing is left behind, as the namespace ends with its last process.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { promisify } from 'node:util';

const INSIDE = 'NODELET_BENCH_NETNS';
const run = promisify(execFile);

/** The node's address inside. */
export const NODE_IP = '192.0.2.10';

/**
 * True in the namespace, with an interface that holds NODE_IP and a default route. Elsewhere runs this same command line
 * again in a new namespace, waits for its end, takes over its exit code, and is false.
 */
export async function isInOwnNetns(signal: AbortSignal): Promise<boolean> {
  if (process.env[INSIDE] === '1') {
    await prepare();
    return true;
  }
  const args = ['--net', process.execPath, ...process.execArgv, ...process.argv.slice(1)];
  const child = spawn('unshare', args, { stdio: 'inherit', env: { ...process.env, [INSIDE]: '1' } });
  const exited = once(child, 'exit');
  const stop = () => child.kill('SIGTERM');
  signal.addEventListener('abort', stop);
  const [code] = await exited;
  signal.removeEventListener('abort', stop);
  process.exitCode = (code as number | null) ?? 1;
  return false;
}

async function prepare(): Promise<void> {
  const commands = [
    'link set lo up',
    'link add uplink0 type veth peer name uplink1',
    `addr add ${NODE_IP}/24 dev uplink0`,
    'link set uplink0 up',
    'link set uplink1 up',
    'route add default via 192.0.2.1',
  ];
  for (const command of commands) await run('ip', command.split(' '));
}
