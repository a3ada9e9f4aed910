// The way from a client's upgrade request to the runtime's streaming server, for each protocol that a client may speak.
import type { Duplex } from 'node:stream';
import { tunnelPortForward, wantsTunnel } from '../../api/streaming/port-forward.ts';
import {
  type ClientUpgrade,
  type DialSpdy,
  translateRemoteCommand,
  wantsV5,
} from '../../api/streaming/remote-command.ts';
import {
  requestUpgrade,
  spdyUpgradeHeaders,
  spliceUpgrade,
  type Upgraded,
  UpgradeRefused,
  type UpgradeRequest,
} from '../../api/streaming/upgrade-client.ts';
import { HandshakeFailed } from '../../api/streaming/websocket.ts';
import { linkedSignal } from '../../core/abort.ts';
import { errorMessage } from '../../core/errors.ts';
import { HttpError } from './http-error.ts';
import type { RuntimeSession } from './streaming.ts';

/** The streaming server is on this machine; it answers at once or not at all. */
const DIAL_TIMEOUT_MS = 30_000;
/** What the caller proved itself with is none of the runtime's business; `host` is the runtime's own. */
const DROPPED = new Set(['host', 'authorization']);

/** `translated`: the runtime is spoken to in another protocol than the client's. */
export type RelayKind = 'passed' | 'translated';

/** Pure: SPDY and the WebSocket protocols that runtimes know are passed on as they are. */
export function relayKind(client: ClientUpgrade, session: RuntimeSession): RelayKind {
  const needed = session.streams === undefined ? wantsTunnel(client.request) : wantsV5(client.request);
  return needed ? 'translated' : 'passed';
}

/**
 * Resolves when the session is over. @throws {HttpError} with the runtime's own words when it refuses; nothing is answered
 * then. An exec or attach that is translated tells it on its error channel instead.
 */
export async function relayToRuntime(client: ClientUpgrade, session: RuntimeSession, kind: RelayKind): Promise<void> {
  try {
    if (kind === 'passed') await pass(client, session.url);
    else await translate(client, session);
  } catch (err) {
    throw relayError(err);
  }
}

async function pass({ request, socket, head }: ClientUpgrade, url: string): Promise<void> {
  const { method = 'GET', rawHeaders } = request;
  await spliceUpgrade(socket, head, await dial(url, { method, headers: copyHeaders(rawHeaders) }, socket));
}

async function translate(client: ClientUpgrade, { url, streams }: RuntimeSession): Promise<void> {
  const dialSpdy: DialSpdy = (protocols) =>
    dial(url, { method: 'POST', headers: spdyUpgradeHeaders(protocols) }, client.socket);
  if (streams === undefined) await tunnelPortForward(client, dialSpdy);
  else await translateRemoteCommand(client, streams, dialSpdy);
}

/** Pure: what a client is answered that has not been answered yet. */
function relayError(err: unknown): HttpError {
  if (err instanceof HandshakeFailed) return new HttpError(400, err.message);
  if (!(err instanceof UpgradeRefused)) return new HttpError(500, errorMessage(err));
  // A redirect would let the runtime send the client's bytes elsewhere, and a success is no upgrade.
  return new HttpError(err.statusCode < 400 ? 500 : err.statusCode, err.message);
}

/** @throws {UpgradeRefused}, and Node's errors when there is no answer. */
async function dial(url: string, request: UpgradeRequest, client: Duplex): Promise<Upgraded> {
  using dialing = linkedSignal(undefined, DIAL_TIMEOUT_MS);
  const giveUp = () => dialing.abort();
  client.once('close', giveUp);
  try {
    return await requestUpgrade(new URL(url), request, dialing.signal);
  } finally {
    client.off('close', giveUp);
  }
}

/** Pure. Repeated fields stay apart: SPDY clients offer each protocol in a field of its own. */
function copyHeaders(raw: readonly string[]): Record<string, string[]> {
  const headers: Record<string, string[]> = {};
  for (let i = 0; i + 1 < raw.length; i += 2) {
    const name = raw[i]!.toLowerCase();
    if (DROPPED.has(name)) continue;
    headers[name] = [...(headers[name] ?? []), raw[i + 1]!];
  }
  return headers;
}
