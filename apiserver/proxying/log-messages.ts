// pods/log for WebSocket clients, browsers mostly: the log as it comes, each piece a message. After k8s.io/streaming
// pkg/httpstream/wsstream/stream.go.
import type { IncomingMessage } from 'node:http';
import { type Readable, Writable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ClientUpgrade } from '../../api/streaming/remote-command.ts';
import {
  acceptWebSocket,
  messageWriter,
  offeredProtocols,
  readMessages,
  type WebSocket,
} from '../../api/streaming/websocket.ts';
import { StatusError } from '../status-error.ts';

const BINARY = 'binary.k8s.io';
const BASE64 = 'base64.binary.k8s.io';

/** The protocol to answer with; '' for a client that offers none, who gets bytes. @throws {StatusError} 403 for others. */
export function logProtocol(request: IncomingMessage): string {
  const offered = offeredProtocols(request);
  const protocol = offered.length === 0 ? '' : offered.find((p) => p === BINARY || p === BASE64);
  if (protocol !== undefined) return protocol;
  throw new StatusError(403, 'Forbidden', `none of the protocols ${offered.join(', ')} is known for logs`);
}

/** Resolves when the log has ended or the client is gone. What the client sends is not looked at. */
export async function sendAsMessages(client: ClientUpgrade, protocol: string, log: Readable): Promise<void> {
  const ws = await acceptWebSocket(client.request, client.socket, client.head, protocol).catch((err: unknown) => {
    log.destroy();
    throw new StatusError(400, 'BadRequest', String(err));
  });
  ws.on('error', () => ws.terminate());
  ws.on('close', () => log.destroy());
  readMessages(ws, () => true);
  ws.send(Buffer.alloc(0), { binary: true }); // tells that the log is being read, however silent it is
  // Either end may go away at any time; there is nobody to tell then.
  await pipeline(log, protocol === BASE64 ? textWriter(ws) : messageWriter(ws)).catch(() => {});
  ws.close(1000);
}

/** Each chunk for itself, as clients decode message by message. */
function textWriter(ws: WebSocket): Writable {
  return new Writable({ write: (chunk: Buffer, _encoding, done) => ws.send(chunk.toString('base64'), done) });
}
