// port-forward for WebSocket clients: the SPDY connection that kubectl would have opened, carried in binary messages.
// After apiserver pkg/util/proxy/translatinghandler.go and client-go tools/portforward/tunneling_connection.go.
import type { IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';
import type { ClientUpgrade, DialSpdy } from './remote-command.ts';
import type { Upgraded } from './upgrade-client.ts';
import {
  acceptWebSocket,
  isWebSocketRequest,
  messageWriter,
  offeredProtocols,
  readMessages,
  type WebSocket,
} from './websocket.ts';

const TUNNEL_PREFIX = 'SPDY/3.1+';

/** Whether a client wants a tunnel, with whatever protocols in it. */
export function wantsTunnel(request: IncomingMessage): boolean {
  return isWebSocketRequest(request) && offeredProtocols(request).some((p) => p.startsWith(TUNNEL_PREFIX));
}

/** The SPDY stream protocols that a client offers through a tunnel; empty when it offers no tunnel. */
export function tunnelledProtocols(request: IncomingMessage): string[] {
  if (!isWebSocketRequest(request)) return [];
  return offeredProtocols(request)
    .filter((p) => p.startsWith(TUNNEL_PREFIX) && p.endsWith('.k8s.io'))
    .map((p) => p.slice(TUNNEL_PREFIX.length));
}

/**
 * Serves one tunnel until it ends. The backend is dialled first; when that fails nothing was answered and the error is
 * the caller's to answer.
 */
export async function tunnelPortForward(client: ClientUpgrade, dial: DialSpdy): Promise<void> {
  const protocols = tunnelledProtocols(client.request);
  const backend = await dial(protocols);
  const chosen = backend.streamProtocol || protocols[0];
  let ws: WebSocket;
  try {
    ws = await acceptWebSocket(client.request, client.socket, client.head, `${TUNNEL_PREFIX}${chosen}`);
  } catch (err) {
    backend.socket.destroy();
    throw err;
  }
  await joinTunnel(ws, backend);
}

async function joinTunnel(ws: WebSocket, { socket, head }: Upgraded): Promise<void> {
  ws.on('error', () => ws.terminate());
  ws.on('close', () => socket.destroy());
  readMessages(ws, (message, resume) => {
    if (!socket.writable || socket.write(message)) return true;
    socket.once('drain', resume);
    return false;
  });
  if (head.length > 0) ws.send(head, { binary: true });
  // Whoever goes first takes the other along; there is nobody to tell an error to.
  await pipeline(socket, messageWriter(ws)).catch(() => {});
  ws.close(1000);
  socket.destroy();
}
