// A streaming server as a runtime has it, for tests: SPDY with v4.channel.k8s.io and portforward.k8s.io.
import { createServer, type IncomingMessage, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Duplex } from 'node:stream';
import { SpdySession, type SpdyStream } from './spdy-session.ts';

export interface ServedCommand {
  readonly request: IncomingMessage;
  readonly session: SpdySession;
  /** By `streamtype`. */
  readonly streams: ReadonlyMap<string, SpdyStream>;
}

export class FakeRuntimeServer {
  readonly requests: IncomingMessage[] = [];
  readonly #server: Server;
  readonly #sockets = new Set<Duplex>();
  /** Called when the client has opened as many streams as `expected` says. */
  onCommand: (command: ServedCommand) => void = () => {};
  onStream: ((stream: SpdyStream) => void) | undefined;
  expected: number | ((request: IncomingMessage) => number) = 4;
  /** Answer upgrades with this instead of 101. */
  refuseWith: { readonly code: number; readonly body: string } | undefined;

  constructor(createWith: typeof createServer = createServer) {
    this.#server = createWith((_request, response) => response.writeHead(200).end('plain'));
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket, head));
  }

  get server(): Server {
    return this.#server;
  }

  async listen(): Promise<number> {
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return (this.#server.address() as AddressInfo).port;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#server.closeAllConnections();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): void {
    this.requests.push(request);
    this.#sockets.add(socket);
    socket.on('error', () => {});
    if (this.refuseWith !== undefined) {
      const { code, body } = this.refuseWith;
      socket.end(
        `HTTP/1.1 ${code} No\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
      );
      return;
    }
    const [protocol = ''] = (request.headers['x-stream-protocol-version'] as string | undefined)?.split(', ') ?? [];
    socket.write(
      `HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\nX-Stream-Protocol-Version: ${protocol}\r\n\r\n`,
    );
    const expected = typeof this.expected === 'number' ? this.expected : this.expected(request);
    const streams = new Map<string, SpdyStream>();
    const session = new SpdySession(socket, head, {
      role: 'server',
      onStream: (stream) => {
        stream.on('error', () => {});
        if (this.onStream !== undefined) return this.onStream(stream);
        streams.set(stream.headers.streamtype ?? '', stream);
        if (streams.size === expected) this.onCommand({ request, session, streams });
      },
    });
  }
}
