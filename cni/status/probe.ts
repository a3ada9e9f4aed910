// Does a host answer? A TCP connection says so either way: accepted or refused, the other end's kernel has spoken. Needs
// no program, no raw socket and nothing that listens.
import { connect } from 'node:net';
import type { Clock } from '../../core/clock.ts';
import type { ProbeResult } from './network-status.ts';

/** The kubelet's port: firewalls between nodes let it through. */
const PROBE_PORT = 10_250;

/** Never rejects. */
export function probe(target: string, timeoutMs: number, clock: Clock, port = PROBE_PORT): Promise<ProbeResult> {
  const startMs = clock.monotonicMs();
  return new Promise((resolve) => {
    const socket = connect({ host: target, port });
    const end = (error: string | null) => {
      clearTimeout(timer);
      socket.destroy();
      const tookMs = error === null ? clock.monotonicMs() - startMs : null;
      resolve({ target, answers: error === null, tookMs, error });
    };
    // On a busy machine the timer is served before an answer that came in time: that one is looked at first.
    const timer = setTimeout(() => setImmediate(() => end(`silence for ${timeoutMs / 1000} s`)), timeoutMs);
    socket.once('connect', () => end(null));
    socket.on('error', (err: NodeJS.ErrnoException) =>
      end(err.code === 'ECONNREFUSED' ? null : (WORDS[err.code ?? ''] ?? err.message)),
    );
  });
}

const WORDS: Readonly<Record<string, string>> = {
  EHOSTUNREACH: 'no host there',
  ENETUNREACH: 'no route',
  ETIMEDOUT: 'silence',
  ECONNRESET: 'connection reset',
};
