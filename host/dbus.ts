// A client of the system bus: calls and signals, without file descriptors. After the D-Bus Specification, "Message
// Protocol" and "Authentication Protocol" (EXTERNAL: the kernel tells the bus who we are).
import { connect, type Socket } from 'node:net';
import { AgentError, errorMessage } from '../core/errors.ts';
import { type DBusValue, marshal, unmarshal, Variant } from './dbus-wire.ts';

export const SYSTEM_BUS = '/run/dbus/system_bus_socket';

export interface DBusCall {
  readonly destination: string;
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  /** Of `body`; none when absent. */
  readonly signature?: string;
  readonly body?: readonly DBusValue[];
}

export interface DBusSignal {
  readonly path: string;
  readonly interface: string;
  readonly member: string;
  readonly body: readonly DBusValue[];
}

interface Message {
  readonly type: number;
  readonly replySerial: number;
  readonly errorName: string;
  readonly signal: DBusSignal;
}

const CALL = 1;
const REPLY = 2;
const ERROR = 3;
const SIGNAL = 4;
const FIXED_BYTES = 16;
const HEADER = 'a(yv)';
/** Of one message: the specification's bound, bytes. */
const MAX_MESSAGE = 128 * 1024 * 1024;
const CALL_MS = 25_000;
/** Fields of the header. */
const FIELD = { path: 1, interface: 2, member: 3, errorName: 4, replySerial: 5, destination: 6, signature: 8 } as const;

interface Waiter {
  resolve(body: readonly DBusValue[]): void;
  reject(err: Error): void;
}

export class DBusConnection implements Disposable {
  readonly #socket: Socket;
  readonly #waiters = new Map<number, Waiter>();
  readonly #listeners = new Set<(signal: DBusSignal) => void>();
  #pending: Buffer = Buffer.alloc(0);
  #serial = 0;
  #failure: Error | undefined;
  readonly #closed = Promise.withResolvers<void>();

  private constructor(socket: Socket) {
    this.#socket = socket;
  }

  /** @throws {AgentError} DBUS_UNREACHABLE when there is no bus, or it does not let us in. */
  static async open(path = SYSTEM_BUS): Promise<DBusConnection> {
    const socket = connect(path);
    const connection = new DBusConnection(socket);
    try {
      await authenticate(socket);
      socket.on('data', (chunk: Buffer) => connection.#receive(chunk));
      socket.on('error', (err) => connection.#fail(err));
      socket.on('close', () => connection.#fail(new Error('the connection was closed')));
      const bus = 'org.freedesktop.DBus';
      await connection.call({ destination: bus, path: '/org/freedesktop/DBus', interface: bus, member: 'Hello' });
      socket.unref(); // that there is a bus keeps no process from ending
      return connection;
    } catch (cause) {
      socket.destroy();
      throw unreachable(cause);
    }
  }

  /** Resolves when the connection has ended, for whatever reason. */
  get closed(): Promise<void> {
    return this.#closed.promise;
  }

  get isOpen(): boolean {
    return this.#failure === undefined;
  }

  /** @throws {AgentError} DBUS_CALL_FAILED with the error's name in `details.name`, DBUS_UNREACHABLE */
  async call(call: DBusCall): Promise<readonly DBusValue[]> {
    if (this.#failure !== undefined) throw unreachable(this.#failure);
    const serial = ++this.#serial;
    const { promise, resolve, reject } = Promise.withResolvers<readonly DBusValue[]>();
    this.#waiters.set(serial, { resolve, reject });
    const timer = setTimeout(() => this.#fail(new Error(`no answer to ${call.member}`)), CALL_MS);
    this.#socket.write(messageOf(serial, call));
    try {
      return await promise;
    } finally {
      clearTimeout(timer);
      this.#waiters.delete(serial);
    }
  }

  /** Signals that were asked for with AddMatch. `listener` must not throw. */
  onSignal(listener: (signal: DBusSignal) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  [Symbol.dispose](): void {
    this.#fail(new Error('the connection was closed'));
  }

  /** After half a message nothing that follows can be understood: the connection is given up. */
  #fail(err: Error): void {
    if (this.#failure !== undefined) return;
    this.#failure = err;
    this.#socket.destroy();
    this.#closed.resolve();
    for (const { reject } of this.#waiters.values()) reject(unreachable(err));
  }

  #receive(chunk: Buffer): void {
    this.#pending = this.#pending.length === 0 ? chunk : Buffer.concat([this.#pending, chunk]);
    try {
      for (let length = messageLength(this.#pending); length !== undefined; length = messageLength(this.#pending)) {
        const message = this.#pending.subarray(0, length);
        this.#pending = this.#pending.subarray(length);
        this.#handle(parseMessage(message));
      }
    } catch (err) {
      this.#fail(err as Error);
    }
  }

  #handle({ type, replySerial, errorName, signal }: Message): void {
    if (type === REPLY) this.#waiters.get(replySerial)?.resolve(signal.body);
    if (type === ERROR) this.#waiters.get(replySerial)?.reject(callError(errorName, String(signal.body[0] ?? '')));
    if (type === SIGNAL) for (const listener of this.#listeners) listener(signal);
  }
}

async function authenticate(socket: Socket): Promise<void> {
  const uid = Buffer.from(String(process.getuid?.() ?? 0)).toString('hex');
  const answered = new Promise<string>((resolve, reject) => {
    socket.once('data', (line: Buffer) => resolve(line.toString('latin1')));
    socket.once('error', reject);
    socket.once('close', () => reject(new Error('the bus closed the connection')));
  });
  socket.setTimeout(CALL_MS, () => socket.destroy(new Error('no answer')));
  socket.write(`\0AUTH EXTERNAL ${uid}\r\n`);
  const answer = await answered;
  socket.setTimeout(0);
  socket.removeAllListeners('error');
  socket.removeAllListeners('close');
  if (!answer.startsWith('OK ')) throw new Error(`the bus refused us: ${answer.trim()}`);
  socket.write('BEGIN\r\n');
}

/** Pure: the bytes of a call. */
function messageOf(serial: number, call: DBusCall): Buffer {
  const { signature = '', body = [] } = call;
  const fields: DBusValue[] = [
    [FIELD.path, new Variant('o', call.path)],
    [FIELD.destination, new Variant('s', call.destination)],
    [FIELD.interface, new Variant('s', call.interface)],
    [FIELD.member, new Variant('s', call.member)],
    ...(signature === '' ? [] : [[FIELD.signature, new Variant('g', signature)]]),
  ];
  const content = marshal(signature, body);
  const head = marshal(`yyyyuu${HEADER}`, ['l'.charCodeAt(0), CALL, 0, 1, content.length, serial, fields]);
  return Buffer.concat([head, Buffer.alloc((8 - (head.length % 8)) % 8), content]);
}

/** Bytes of the whole message that `bytes` begins with; undefined while there is not enough of it. */
function messageLength(bytes: Buffer): number | undefined {
  if (bytes.length < FIXED_BYTES) return undefined;
  if (bytes[0] !== 'l'.charCodeAt(0)) throw new Error('the bus speaks another byte order');
  const head = FIXED_BYTES + bytes.readUInt32LE(12);
  const length = head + ((8 - (head % 8)) % 8) + bytes.readUInt32LE(4);
  if (length > MAX_MESSAGE) throw new Error(`a message of ${length} bytes`);
  return bytes.length < length ? undefined : length;
}

/** Pure. `bytes` is one whole message. @throws {AgentError} DBUS_MALFORMED */
function parseMessage(bytes: Buffer): Message {
  const head = FIXED_BYTES + bytes.readUInt32LE(12);
  const [, type, , , , , fields] = unmarshal(`yyyyuu${HEADER}`, bytes) as [number, number, ...DBusValue[]];
  const found = new Map((fields as [number, Variant][]).map(([code, { value }]) => [code, value]));
  const text = (code: number) => String(found.get(code) ?? '');
  const body = unmarshal(text(FIELD.signature), bytes.subarray(head + ((8 - (head % 8)) % 8)));
  const signal = { path: text(FIELD.path), interface: text(FIELD.interface), member: text(FIELD.member), body };
  return { type, replySerial: Number(found.get(FIELD.replySerial) ?? 0), errorName: text(FIELD.errorName), signal };
}

function unreachable(cause: unknown): AgentError {
  return new AgentError(`D-Bus: ${errorMessage(cause)}`, {
    code: 'DBUS_UNREACHABLE',
    cause,
    retryable: true,
    hint: `is dbus running? its socket is ${SYSTEM_BUS}`,
  });
}

function callError(name: string, message: string): AgentError {
  return new AgentError(`D-Bus: ${name}: ${message}`, { code: 'DBUS_CALL_FAILED', details: { name } });
}
