// How long a connection may take to stand.
import type { Socket } from 'node:net';

/** Destroys `socket`, which is connecting, unless it stands within `ms`, TLS included when `isTls`. */
export function limitConnecting(socket: Socket, isTls: boolean, ms: number): void {
  const timer = setTimeout(() => {
    socket.destroy(Object.assign(new Error(`no connection within ${ms / 1000} s`), { code: 'ETIMEDOUT' }));
  }, ms);
  const done = () => clearTimeout(timer);
  socket.once(isTls ? 'secureConnect' : 'connect', done);
  socket.once('close', done);
}
