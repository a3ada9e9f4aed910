import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import {
  status as grpc,
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
} from '@grpc/grpc-js';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { systemClock } from '../core/clock.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { decodeMessage, encodeMessage } from './codec.ts';
import { type GrpcCode, isCriError } from './errors.ts';
import type * as msg from './gen/messages.ts';
import { connectRuntime } from './remote-runtime.ts';
import type { RuntimeEvent } from './runtime-service.ts';

type Unary = (request: Buffer, reply: sendUnaryData<Buffer>) => void;
type Stream = (call: ServerWritableStream<Buffer, Buffer>) => void;

const EVENTS = '/containerd.services.events.v1.Events/Subscribe';
const CRI_EVENTS = '/runtime.v1.RuntimeService/GetContainerEvents';
const identity = (bytes: Buffer): Buffer => bytes;

let dir: string;
let server: Server;
let remote: ReturnType<typeof connectRuntime>;
let stepped: (typeof remote)[];
let calls: [operation: string, failed: boolean][];

beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'nodelet-rpc-'));
  server = new Server({ 'grpc.max_send_message_length': -1 });
  calls = [];
  const observe = (operation: string, tookSeconds: number, failed: boolean) => {
    expect(tookSeconds).toBeGreaterThanOrEqual(0);
    calls.push([operation, failed]);
  };
  remote = connectRuntime({ endpoint: path.join(dir, 'cri.sock'), requestTimeoutMs: 10_000 }, observe, systemClock);
  stepped = [];
});

afterEach(() => {
  for (const connection of [remote, ...stepped]) connection.close();
  server.forceShutdown();
  rmSync(dir, { recursive: true });
});

function runtimeBy(clock: FakeClock): typeof remote.runtime {
  const connection = connectRuntime(
    { endpoint: path.join(dir, 'cri.sock'), requestTimeoutMs: 10_000 },
    () => {},
    clock,
  );
  stepped.push(connection);
  return connection.runtime;
}

function serve(name: string, handler: Unary): void {
  const handle = (call: ServerUnaryCall<Buffer, Buffer>, reply: sendUnaryData<Buffer>) => handler(call.request, reply);
  server.register(`/runtime.v1.RuntimeService/${name}`, handle, identity, identity, 'unary');
}

function serveStream(method: string, handler: Stream): void {
  server.register(method, handler, identity, identity, 'serverStream');
}

function listen(at = server, socket = 'cri.sock'): Promise<number> {
  return new Promise((resolve, reject) => {
    const address = `unix://${path.join(dir, socket)}`;
    at.bindAsync(address, ServerCredentials.createInsecure(), (err, port) => (err ? reject(err) : resolve(port)));
  });
}

const failure = (code: grpc, details: string) => ({ code, details, metadata: new Metadata() });
const rejectsWith = (call: Promise<unknown>, code: GrpcCode) =>
  expect(call).rejects.toSatisfy((err) => isCriError(err, code));

describe('calls', () => {
  test('for images go to an endpoint of their own where there is one', async () => {
    const images = new Server();
    const answer = (_: unknown, reply: sendUnaryData<Buffer>) =>
      reply(null, encodeMessage('ListImagesResponse', { images: [{ id: 'sha256:1' }] }));
    images.register('/runtime.v1.ImageService/ListImages', answer, identity, identity, 'unary');
    serve('Version', (_request, reply) => reply(null, encodeMessage('VersionResponse', { runtimeName: 'test' })));
    await Promise.all([listen(), listen(images, 'images.sock')]);
    const opts = { endpoint: path.join(dir, 'cri.sock'), imageEndpoint: path.join(dir, 'images.sock') };
    const both = connectRuntime({ ...opts, requestTimeoutMs: 10_000 }, () => {}, systemClock);
    try {
      expect((await both.runtime.version()).runtimeName).toBe('test');
      expect((await both.images.listImages()).map((i) => i.id)).toEqual(['sha256:1']);
      await rejectsWith(remote.images.listImages(), 'UNIMPLEMENTED');
    } finally {
      both.close();
      images.forceShutdown();
    }
  });

  test('carry the request over and the answer back, and are counted by name', async () => {
    serve('Version', (request, reply) => {
      expect(decodeMessage('VersionRequest', request)).toEqual({ version: '0.1.0' });
      reply(null, encodeMessage('VersionResponse', { runtimeName: 'test' }));
    });
    await listen();
    expect((await remote.runtime.version()).runtimeName).toBe('test');
    expect(calls).toEqual([['version', false]]);
  });

  test('fail with the status and the words of the runtime', async () => {
    serve('StartContainer', (_, reply) => reply(failure(grpc.FAILED_PRECONDITION, 'it has ended')));
    await listen();
    const call = remote.runtime.startContainer('c');
    await expect(call).rejects.toMatchObject({
      grpcCode: 'FAILED_PRECONDITION',
      message: 'it has ended',
      retryable: false,
    });
    await rejectsWith(remote.runtime.status(false), 'UNIMPLEMENTED');
    expect(calls).toEqual([
      ['start_container', true],
      ['status', true],
    ]);
  });

  test('that stop or remove succeed when there is nothing', async () => {
    const gone: Unary = (_, reply) => reply(failure(grpc.NOT_FOUND, 'not found'));
    for (const name of ['StopPodSandbox', 'RemovePodSandbox', 'StopContainer', 'RemoveContainer']) serve(name, gone);
    await listen();
    await remote.runtime.stopPodSandbox('s');
    await remote.runtime.removePodSandbox('s');
    await remote.runtime.stopContainer('c', 1);
    await remote.runtime.removeContainer('c');
  });

  test('but not when something else is missing', async () => {
    serve('StopContainer', (_, reply) => reply(failure(grpc.UNKNOWN, 'exec: "runc": executable file not found')));
    await listen();
    await rejectsWith(remote.runtime.stopContainer('c', 1), 'UNKNOWN');
  });

  test('do not wait for ever', async () => {
    serve('Status', () => {});
    await listen();
    const opts = { endpoint: `unix://${path.join(dir, 'cri.sock')}`, requestTimeoutMs: 20 };
    const impatient = connectRuntime(opts, () => {}, systemClock);
    await rejectsWith(impatient.runtime.status(false), 'DEADLINE_EXCEEDED');
    impatient.close();
  });

  test('are cancelled at the runtime, too', async () => {
    const arrived = Promise.withResolvers<void>();
    const cancelled = Promise.withResolvers<void>();
    const handle = (call: ServerUnaryCall<Buffer, Buffer>) => {
      call.on('cancelled', cancelled.resolve);
      arrived.resolve();
    };
    server.register('/runtime.v1.RuntimeService/ExecSync', handle, identity, identity, 'unary');
    await listen();
    const stop = new AbortController();
    const call = remote.runtime.execSync('c', ['sleep'], 0, { signal: stop.signal });
    await arrived.promise;
    stop.abort();
    await rejectsWith(call, 'CANCELLED');
    await cancelled.promise;
    await rejectsWith(remote.runtime.execSync('c', ['sleep'], 0, { signal: stop.signal }), 'CANCELLED');
  });

  test('refuse an answer that is not one, and one that is too long', async () => {
    serve('Version', (_, reply) => reply(null, Buffer.from([0xff, 0xff])));
    serve('Status', (_, reply) =>
      reply(null, encodeMessage('StatusResponse', { info: { big: 'x'.repeat(17 << 20) } })),
    );
    await listen();
    await rejectsWith(remote.runtime.version(), 'INTERNAL');
    await rejectsWith(remote.runtime.status(true), 'RESOURCE_EXHAUSTED');
  });

  test('fail at once while nobody listens, and work again when somebody does', async () => {
    await rejectsWith(remote.runtime.version(), 'UNAVAILABLE');
    serve('Version', (_, reply) => reply(null, encodeMessage('VersionResponse', { runtimeName: 'late' })));
    await listen();
    let name = '';
    while (name === '') {
      name = await remote.runtime.version().then(
        (v) => v.runtimeName,
        () => '',
      );
      await new Promise((resolve) => setTimeout(resolve, 10)); // the connection is tried again every 100 ms
    }
    expect(name).toBe('late');
  });

  test('that answer without what they must answer fail', async () => {
    for (const name of ['RunPodSandbox', 'ContainerStatus']) serve(name, (_, reply) => reply(null, Buffer.alloc(0)));
    await listen();
    await expect(remote.runtime.runPodSandbox({}, '')).rejects.toThrow('PodSandboxId is not set');
    await expect(remote.runtime.containerStatus('c')).rejects.toThrow('no status of container c');
  });
});

describe('events', () => {
  const criEvent = (containerId: string): Buffer =>
    encodeMessage('ContainerEventResponse', {
      containerId,
      containerEventType: 'CONTAINER_STOPPED_EVENT',
      podSandboxStatus: { metadata: { uid: 'pod-uid' } },
    });

  test("come from CRI where there is no containerd's stream", async () => {
    serve('Version', (_, reply) => reply(null, Buffer.alloc(0)));
    const connected = Promise.withResolvers<void>();
    serveStream(CRI_EVENTS, (call) => void connected.promise.then(() => call.write(criEvent('c'))));
    await listen();
    const stop = new AbortController();
    const seen: RuntimeEvent[] = [];
    for await (const event of remote.runtime.events(stop.signal, connected.resolve)) {
      seen.push(event);
      stop.abort();
    }
    expect(seen).toEqual([{ type: 'stopped', containerId: 'c', podUid: 'pod-uid' }]);
  });

  test('are refused where there are none', async () => {
    await listen();
    const events = remote.runtime.events(new AbortController().signal, () => {});
    await rejectsWith(events[Symbol.asyncIterator]().next(), 'UNIMPLEMENTED');
  });

  test('end at once for a signal that has aborted already', async () => {
    serveStream(EVENTS, () => {});
    await listen();
    const events = remote.runtime.events(AbortSignal.abort(), () => {});
    expect(await events[Symbol.asyncIterator]().next()).toMatchObject({ done: true });
  });

  test('a listener that leaves cancels its stream at the runtime', async () => {
    serve('Version', (_, reply) => reply(null, Buffer.alloc(0)));
    const cancelled = Promise.withResolvers<void>();
    serveStream(CRI_EVENTS, (call) => {
      call.on('cancelled', cancelled.resolve);
      call.write(criEvent('c'));
    });
    await listen();
    for await (const event of remote.runtime.events(new AbortController().signal, () => {})) {
      expect(event.containerId).toBe('c');
      break;
    }
    await cancelled.promise;
  });

  test('break with the runtime', async () => {
    serveStream(EVENTS, (call) => call.emit('error', failure(grpc.UNAVAILABLE, 'stopping')));
    await listen();
    const events = remote.runtime.events(new AbortController().signal, () => {});
    await rejectsWith(events[Symbol.asyncIterator]().next(), 'UNAVAILABLE');
  });
});

describe("containerd's events", () => {
  const any = (type: string, value: Buffer): msg.Any => ({ typeUrl: `containerd.events.${type}`, value });
  const envelope = (topic: string, event: msg.Any, namespace = 'k8s.io'): Buffer =>
    encodeMessage('Envelope', { namespace, topic, event });
  const proof = envelope('/nodelet/subscribed', any('TaskOOM', Buffer.alloc(0)));
  const start = (id: string) => any('TaskStart', encodeMessage('TaskStart', { containerId: id }));
  const exited = (containerId: string, id: string) =>
    envelope('/tasks/exit', any('TaskExit', encodeMessage('TaskExit', { containerId, id, exitStatus: 7 })));
  const cleared = (containerId: string, id: string) =>
    envelope('/tasks/delete', any('TaskDelete', encodeMessage('TaskDelete', { containerId, id, exitStatus: 7 })));

  /** Sends `messages`, then collects events until one for container `last`. */
  async function collect(
    messages: readonly Buffer[],
    last: string,
    runtime = remote.runtime,
  ): Promise<{ seen: RuntimeEvent[]; connected: number }> {
    serveStream(EVENTS, (call) => {
      for (const message of messages) call.write(message);
    });
    await listen();
    const stop = new AbortController();
    const seen: RuntimeEvent[] = [];
    let connected = 0;
    for await (const event of runtime.events(stop.signal, () => connected++)) {
      if (event.containerId === last) stop.abort();
      else seen.push(event);
    }
    return { seen, connected };
  }

  test('are ours, not of other namespaces, topics or exec sessions; the proof is told once', async () => {
    const { seen, connected } = await collect(
      [
        proof,
        proof,
        envelope('/tasks/start', start('a')),
        envelope('/tasks/start', start('docker'), 'moby'),
        envelope('/images/create', any('ImageCreate', Buffer.alloc(0))),
        exited('a', 'exec-1'),
        cleared('a', 'exec-1'),
        envelope('/tasks/oom', any('TaskOOM', encodeMessage('TaskOOM', { containerId: 'a' }))),
        envelope('/tasks/start', start('last')),
      ],
      'last',
    );
    expect(seen).toEqual([
      { type: 'started', containerId: 'a' },
      { type: 'oom', containerId: 'a' },
    ]);
    expect(connected).toBe(1);
  });

  test('an end is told once CRI shows it, others need not wait for it', async () => {
    let asked = 0;
    const seen: RuntimeEvent[] = [];
    serve('ContainerStatus', (_, reply) => {
      const state = ++asked < 3 || seen.length === 0 ? ('CONTAINER_RUNNING' as const) : ('CONTAINER_EXITED' as const);
      reply(null, encodeMessage('ContainerStatusResponse', { status: { id: 'a', state } }));
    });
    serveStream(EVENTS, (call) => {
      call.write(exited('a', 'a'));
      call.write(cleared('a', 'a'));
      call.write(envelope('/tasks/start', start('b')));
    });
    await listen();
    const stop = new AbortController();
    for await (const event of remote.runtime.events(stop.signal, () => {})) {
      seen.push(event);
      if (event.type === 'stopped') stop.abort();
    }
    expect(seen).toEqual([
      { type: 'started', containerId: 'b' },
      { type: 'stopped', containerId: 'a', exitCode: 7 },
    ]);
  });

  test('an end that CRI shows half a minute late is told then', async () => {
    const clock = new FakeClock();
    serve('ContainerStatus', (_, reply) => {
      const state = clock.monotonicMs() < 30_000 ? ('CONTAINER_RUNNING' as const) : ('CONTAINER_EXITED' as const);
      reply(null, encodeMessage('ContainerStatusResponse', { status: { id: 'a', state } }));
    });
    let toldAtMs: number | undefined;
    const collected = collect([exited('a', 'a')], 'a', runtimeBy(clock)).then(() => {
      toldAtMs = clock.monotonicMs();
    });
    await clock.until(() => toldAtMs !== undefined, 500);
    await collected;
    expect(toldAtMs).toBeGreaterThanOrEqual(30_000);
  });

  test("a sandbox's end is asked for as a sandbox's once it is known to be one", async () => {
    const asked: string[] = [];
    serve('ContainerStatus', (_, reply) => {
      asked.push('container');
      reply(failure(grpc.NOT_FOUND, 'no such container'));
    });
    serve('PodSandboxStatus', (_, reply) => {
      asked.push('sandbox');
      const state = asked.length < 4 ? ('SANDBOX_READY' as const) : ('SANDBOX_NOTREADY' as const);
      reply(null, encodeMessage('PodSandboxStatusResponse', { status: { id: 's', state } }));
    });
    const clock = new FakeClock();
    const collected = collect([exited('s', 's'), cleared('s', 's')], 's', runtimeBy(clock));
    await clock.until(() => asked.length > 0); // it was cleared away: nobody has waited
    await clock.until(() => asked.length === 4, 5);
    expect((await collected).seen).toEqual([]);
    expect(asked).toEqual(['container', 'sandbox', 'sandbox', 'sandbox']);
  });

  test("a container's own events keep their order", async () => {
    serve('ContainerStatus', () => {}); // is never answered
    const removed = any('ContainerDelete', encodeMessage('ContainerDelete', { id: 'a' }));
    const { seen } = await collect(
      [
        exited('a', 'a'),
        cleared('a', 'a'),
        envelope('/containers/delete', removed),
        envelope('/tasks/start', start('last')),
      ],
      'last',
    );
    expect(seen).toEqual([
      { type: 'stopped', containerId: 'a', exitCode: 7 },
      { type: 'deleted', containerId: 'a' },
    ]);
  });

  test('an end is told once although its task was cleared away late, early or never', async () => {
    const state = 'CONTAINER_EXITED' as const;
    serve('ContainerStatus', (_, reply) =>
      reply(null, encodeMessage('ContainerStatusResponse', { status: { state } })),
    );
    serveStream(EVENTS, (call) => {
      for (const id of ['never', 'late', 'early']) call.write(exited(id, id));
      call.write(cleared('early', 'early'));
    });
    await listen();
    const clock = new FakeClock();
    const stop = new AbortController();
    const seen: string[] = [];
    for await (const event of runtimeBy(clock).events(stop.signal, () => {})) {
      seen.push(`${event.type} ${event.containerId}`);
      if (seen.length === 1) void clock.advance(100); // only the others wait
      if (seen.length === 3) stop.abort();
    }
    expect(seen[0]).toBe('stopped early');
    expect(seen.sort()).toEqual(['stopped early', 'stopped late', 'stopped never']);
  });

  test('an end that came before anybody listened is told when its task is deleted', async () => {
    const state = 'CONTAINER_EXITED' as const;
    serve('ContainerStatus', (_, reply) =>
      reply(null, encodeMessage('ContainerStatusResponse', { status: { state } })),
    );
    serveStream(EVENTS, (call) => {
      for (const message of [proof, cleared('a', 'exec-1'), cleared('a', 'a')]) call.write(message);
    });
    await listen();
    const stop = new AbortController();
    for await (const event of remote.runtime.events(stop.signal, () => {})) {
      expect(event).toEqual({ type: 'stopped', containerId: 'a', exitCode: 7 });
      stop.abort();
    }
  });

  test('a garbled one breaks the stream, so that a relist follows', async () => {
    const garbled = envelope('/tasks/start', any('TaskStart', Buffer.from([0xff])));
    await expect(collect([garbled], 'last')).rejects.toThrow();
  });
});
