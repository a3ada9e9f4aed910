// The sockets: UDP and TCP on one port.
import { createSocket, type RemoteInfo, type Socket as UdpSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer, isIPv6, type Server, type Socket } from 'node:net';
import { aborted, linkedSignal } from '../../core/abort.ts';
import { Cleanup } from '../../core/cleanup.ts';
import { AgentError, errnoOf, errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { lengthPrefixed, MAX_TCP_MESSAGE_BYTES, readPrefixed } from './framing.ts';
import type { Responder } from './responder.ts';

/** A connection that says nothing for so long is closed, ms (RFC 7766 section 6.2.3: some seconds). */
const IDLE_MS = 10_000;
const MAX_CONNECTIONS = 256;
/** Tries to find a port that is free for both protocols. */
const PORT_TRIES = 20;

export interface DnsServerOptions {
  readonly address: string;
  /** 0: any that is free. */
  readonly port: number;
}

export class DnsServer implements AsyncDisposable {
  readonly #responder: Pick<Responder, 'respond'>;
  readonly #log: Logger;
  readonly #stop = new AbortController();
  readonly #connections = new Set<Socket>();
  readonly #udp: UdpSocket;
  readonly #tcp: Server;
  /** What both sockets listen on. */
  readonly port: number;

  private constructor(udp: UdpSocket, tcp: Server, responder: Pick<Responder, 'respond'>, log: Logger) {
    this.#udp = udp;
    this.#tcp = tcp;
    this.#responder = responder;
    this.#log = log;
    this.port = udp.address().port;
    udp.on('message', (packet, from) => void this.#onDatagram(packet, from)); // handles its own errors
    udp.on('error', (err) => this.#log.warn({ err }, 'DNS socket reported an error'));
    tcp.maxConnections = MAX_CONNECTIONS;
    tcp.on('connection', (socket) => void this.#serve(socket)); // handles its own errors
    tcp.on('error', (err) => this.#log.warn({ err }, 'DNS socket reported an error'));
  }

  /** Listens and answers. @throws {AgentError} LISTEN_FAILED */
  static async listen(opts: DnsServerOptions, responder: Pick<Responder, 'respond'>, log: Logger): Promise<DnsServer> {
    for (let tries = 1; ; tries++) {
      try {
        const { udp, tcp } = await listenBoth(opts);
        return new DnsServer(udp, tcp, responder, log);
      } catch (cause) {
        // The free port of one protocol may be taken in the other.
        if (opts.port === 0 && errnoOf(cause) === 'EADDRINUSE' && tries < PORT_TRIES) continue;
        throw new AgentError(`cannot listen for DNS on ${opts.address} port ${opts.port}: ${errorMessage(cause)}`, {
          code: 'LISTEN_FAILED',
          cause,
          hint: 'give another --dns-port, or --dns-port=-1 for a cluster without DNS',
        });
      }
    }
  }

  /** Serves until `signal` aborts, then closes. */
  async run(signal: AbortSignal): Promise<void> {
    await aborted(signal);
    await this[Symbol.asyncDispose]();
  }

  /** Closes both sockets and every connection; may be called twice. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#stop.signal.aborted) return;
    this.#stop.abort();
    const closed = [once(this.#udp, 'close'), once(this.#tcp, 'close')];
    this.#udp.close();
    this.#tcp.close();
    for (const socket of this.#connections) socket.destroy();
    await Promise.all(closed);
  }

  async #onDatagram(packet: Buffer, from: RemoteInfo): Promise<void> {
    if (from.port === 0) return; // forged: nobody can be answered there
    try {
      const answer = await this.#responder.respond(packet, 'udp', this.#stop.signal);
      // Lost answers are asked for again: no need to hear of a client that has gone.
      if (answer !== undefined && !this.#stop.signal.aborted) this.#udp.send(answer, from.port, from.address, () => {});
    } catch (err) {
      this.#log.error({ err }, 'DNS query failed');
    }
  }

  async #serve(socket: Socket): Promise<void> {
    this.#connections.add(socket);
    using gone = linkedSignal(this.#stop.signal);
    socket.once('close', () => {
      this.#connections.delete(socket);
      gone.abort();
    });
    socket.setTimeout(IDLE_MS, () => socket.destroy());
    try {
      // One question after the other: a client that asks without reading holds up only itself.
      for await (const packet of readPrefixed(socket)) {
        const answer = await this.#responder.respond(packet, MAX_TCP_MESSAGE_BYTES, gone.signal);
        if (answer === undefined) break;
        if (!socket.write(lengthPrefixed(answer))) await once(socket, 'drain', { signal: gone.signal });
      }
    } catch (err) {
      this.#log.debug({ err: errorMessage(err) }, 'DNS connection ended');
    } finally {
      socket.destroy();
    }
  }
}

async function listenBoth({ address, port }: DnsServerOptions): Promise<{ udp: UdpSocket; tcp: Server }> {
  await using undo = new Cleanup();
  const udp = createSocket({ type: isIPv6(address) ? 'udp6' : 'udp4' });
  undo.defer(() => void udp.close());
  udp.bind(port, address);
  await once(udp, 'listening');
  const tcp = createServer();
  undo.defer(() => void tcp.close());
  tcp.listen(udp.address().port, address);
  await once(tcp, 'listening');
  undo.keep();
  return { udp, tcp };
}
