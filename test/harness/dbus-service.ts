// A service on a message bus, for suites: owns a name, answers calls, sends signals. Written apart from the agent's own
// client, so that each shows the other's faults.
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { type DBusMessage, decodeMessage, encodeMessage } from './dbus-message.ts';

export interface MethodCall {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly signature?: string;
  readonly body?: readonly unknown[];
}

const CONNECT_MS = 5000;
const CALL_MS = 25_000; // libdbus's own
const BUS = { destination: 'org.freedesktop.DBus', path: '/org/freedesktop/DBus', interface: 'org.freedesktop.DBus' };

interface Pending {
  readonly resolve: (body: readonly unknown[]) => void;
  readonly reject: (err: Error) => void;
}

export class DBusService implements Disposable {
  readonly #socket: Socket;
  readonly #onMessage: (message: DBusMessage) => void;
  readonly #pending = new Map<number, Pending>();
  #serial = 0;
  #buffered: Buffer;

  private constructor(socket: Socket, onMessage: (message: DBusMessage) => void, rest: Buffer) {
    this.#socket = socket;
    this.#onMessage = onMessage;
    this.#buffered = rest;
    socket.on('data', (chunk: Buffer) => this.#read(chunk));
    socket.on('error', () => {}); // 'close' follows and tells
    socket.once('close', () => this.#end());
  }

  /** `path` of the bus's socket. `onMessage` is given signals and calls; it must not throw. */
  static async open(path: string, onMessage: (message: DBusMessage) => void = () => {}): Promise<DBusService> {
    const socket = connect(path);
    try {
      const timeout = AbortSignal.timeout(CONNECT_MS);
      await once(socket, 'connect', { signal: timeout });
      const rest = await authenticate(socket, timeout);
      const connection = new DBusService(socket, onMessage, rest);
      await connection.#call({ ...BUS, member: 'Hello' });
      return connection;
    } catch (cause) {
      socket.destroy();
      throw new Error(`cannot use the message bus at ${path}`, { cause });
    }
  }

  async #call(call: MethodCall): Promise<readonly unknown[]> {
    const serial = ++this.#serial;
    const answer = Promise.withResolvers<readonly unknown[]>();
    this.#pending.set(serial, answer);
    const timer = setTimeout(() => answer.reject(new Error(`${call.member}: no answer within ${CALL_MS} ms`)), CALL_MS);
    try {
      this.#write({ ...call, type: 'call', serial });
      return await answer.promise;
    } finally {
      clearTimeout(timer);
      this.#pending.delete(serial);
    }
  }

  /** Owns `name` from now on. */
  async requestName(name: string): Promise<void> {
    await this.#call({ ...BUS, member: 'RequestName', signature: 'su', body: [name, 0] });
  }

  /** Signals, and answers to calls that came in. */
  send(message: Omit<DBusMessage, 'serial'>): void {
    this.#write({ ...message, serial: ++this.#serial });
  }

  [Symbol.dispose](): void {
    this.#socket.destroy();
  }

  #write(message: DBusMessage): void {
    this.#socket.write(encodeMessage(message));
  }

  #read(chunk: Buffer): void {
    this.#buffered = Buffer.concat([this.#buffered, chunk]);
    try {
      for (;;) {
        const decoded = decodeMessage(this.#buffered);
        if (decoded === undefined) return;
        this.#buffered = this.#buffered.subarray(decoded.size);
        this.#take(decoded.message);
      }
    } catch (err) {
      this.#socket.destroy(err as Error); // there is no telling where the next message begins
    }
  }

  #take(message: DBusMessage): void {
    const waiting = this.#pending.get(message.replySerial ?? 0);
    if (message.type === 'return') waiting?.resolve(message.body ?? []);
    else if (message.type === 'error') waiting?.reject(new Error(`${message.errorName}: ${message.body?.[0] ?? ''}`));
    else this.#onMessage(message);
  }

  #end(): void {
    for (const { reject } of this.#pending.values()) reject(new Error('the message bus closed the connection'));
  }
}

/** SASL EXTERNAL: the kernel tells the bus who we are. @returns what came after the bus's answer. */
async function authenticate(socket: Socket, signal: AbortSignal): Promise<Buffer> {
  const uid = Buffer.from(String(process.getuid?.() ?? 0)).toString('hex');
  socket.write(`\0AUTH EXTERNAL ${uid}\r\n`);
  let text = Buffer.alloc(0);
  while (!text.includes('\r\n')) {
    const [chunk] = (await once(socket, 'data', { signal })) as [Buffer];
    text = Buffer.concat([text, chunk]);
  }
  const end = text.indexOf('\r\n');
  const line = text.toString('latin1', 0, end);
  if (!line.startsWith('OK ')) throw new Error(`refused: ${line}`);
  socket.write('BEGIN\r\n');
  return text.subarray(end + 2);
}
