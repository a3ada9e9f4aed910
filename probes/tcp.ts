// TCP probes: a connection within the time is all that is asked for (pkg/probe/tcp).
import { connect, isIPv6 } from 'node:net';
import { dialErrorText } from './http-get.ts';
import type { ProbeOutcome } from './outcome.ts';

export function probeTcp(host: string, port: number, signal: AbortSignal): Promise<ProbeOutcome> {
  const address = `${isIPv6(host) ? `[${host}]` : host}:${port}`;
  return new Promise((resolve) => {
    const socket = connect({ host, port });
    const finish = (outcome: ProbeOutcome) => {
      signal.removeEventListener('abort', onAbort);
      socket.destroy();
      resolve(outcome);
    };
    const onAbort = () => finish({ kind: 'failure', output: `dial tcp ${address}: i/o timeout` });
    signal.addEventListener('abort', onAbort, { once: true });
    socket.once('connect', () => finish({ kind: 'success', output: '' }));
    socket.on('error', (err) => finish({ kind: 'failure', output: dialErrorText(address, err) }));
    if (signal.aborted) onAbort();
  });
}
