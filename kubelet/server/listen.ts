import type { Server } from 'node:net';
import { AgentError, errorMessage } from '../../core/errors.ts';

/** Opens a listener. It may be called again after a failure. @throws {AgentError} LISTEN_FAILED */
export function listen(server: Server, address: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    const onError = (cause: Error) => {
      server.off('listening', onListening);
      const message = `cannot listen on ${address}:${port}: ${errorMessage(cause)}`;
      const hint = 'choose another port, or stop the program that uses this one';
      reject(new AgentError(message, { code: 'LISTEN_FAILED', cause, hint }));
    };
    const onListening = () => {
      server.off('error', onError);
      resolve();
    };
    server.once('error', onError);
    server.once('listening', onListening);
    server.listen(port, address);
  });
}
