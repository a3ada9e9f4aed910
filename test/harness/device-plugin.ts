// A device plugin on grpc-js: it offers what it is told to offer, and hands out files, variables and devices that a test
// can find again inside of a container.
import { rmSync } from 'node:fs';
import path from 'node:path';
import {
  Client,
  credentials,
  Metadata,
  Server,
  ServerCredentials,
  type ServerUnaryCall,
  type ServerWritableStream,
  type sendUnaryData,
  status,
} from '@grpc/grpc-js';
import { decodeMessage, encodeMessage } from '../../cri/codec.ts';
import type {
  AllocateRequest,
  AllocateResponse,
  DevicePluginOptions,
  PluginDevice,
  PreferredAllocationRequest,
  RegisterRequest,
} from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';

export interface DevicePluginSettings {
  /** Where the node's registration socket is, and where the plugin makes its own. */
  readonly dir: string;
  readonly resource: string;
  readonly devices: readonly Init<PluginDevice>[];
  /** Of the socket within `dir`. */
  readonly endpoint?: string;
  readonly options?: Partial<DevicePluginOptions>;
  /** A directory of the host that containers get at /device-data. */
  readonly dataDir?: string;
}

type Method = 'GetDevicePluginOptions' | 'ListAndWatch' | 'GetPreferredAllocation' | 'Allocate' | 'PreStartContainer';

const REQUESTS: Readonly<Record<Method, readonly [request: string, response: string]>> = {
  GetDevicePluginOptions: ['Empty', 'DevicePluginOptions'],
  ListAndWatch: ['Empty', 'ListAndWatchResponse'],
  GetPreferredAllocation: ['PreferredAllocationRequest', 'PreferredAllocationResponse'],
  Allocate: ['AllocateRequest', 'AllocateResponse'],
  PreStartContainer: ['PreStartContainerRequest', 'PreStartContainerResponse'],
};

export class TestDevicePlugin implements AsyncDisposable {
  readonly settings: DevicePluginSettings;
  /** Methods in the order in which they were called. */
  readonly calls: Method[] = [];
  /** Ids that were asked for with Allocate and PreStartContainer. */
  readonly allocated: string[][] = [];
  readonly preStarted: string[][] = [];
  onCall: (method: Method) => void = () => {};
  /** What these calls fail with; '' lets them hang. */
  readonly faults = new Map<Method, string>();
  /** Instead of what it would answer. */
  answer: ((ids: readonly string[]) => Init<AllocateResponse>) | undefined;
  /** What it would take of those that are available. */
  prefer: (available: readonly string[], count: number) => readonly string[] = (ids, n) => ids.slice(0, n);
  #devices: readonly Init<PluginDevice>[];
  readonly #server = new Server({ 'grpc.max_send_message_length': -1 });
  readonly #watchers = new Set<ServerWritableStream<object, object>>();

  constructor(settings: DevicePluginSettings) {
    this.settings = settings;
    this.#devices = settings.devices;
  }

  get socket(): string {
    return path.join(this.settings.dir, this.settings.endpoint ?? 'test-plugin.sock');
  }

  /** Serves, without registering. */
  async serve(): Promise<void> {
    rmSync(this.socket, { force: true });
    for (const method of Object.keys(REQUESTS) as Method[]) this.#register(method);
    await new Promise<void>((resolve, reject) => {
      const done = (err: Error | null) => (err === null ? resolve() : reject(err));
      this.#server.bindAsync(`unix://${this.socket}`, ServerCredentials.createInsecure(), done);
    });
  }

  /** @throws with the node's words */
  async register(change: Partial<RegisterRequest> = {}): Promise<void> {
    const client = new Client(`unix://${path.join(this.settings.dir, 'kubelet.sock')}`, credentials.createInsecure());
    const request = {
      version: 'v1beta1',
      endpoint: path.basename(this.socket),
      resourceName: this.settings.resource,
      ...change,
    };
    try {
      await new Promise<void>((resolve, reject) => {
        client.makeUnaryRequest(
          '/v1beta1.Registration/Register',
          (value: object) => encodeMessage('RegisterRequest', value),
          (bytes: Buffer) => decodeMessage('Empty', bytes),
          request,
          { deadline: Date.now() + 60_000 },
          (err) => (err === null ? resolve() : reject(err)),
        );
      });
    } finally {
      client.close();
    }
  }

  /** Tells the node of all of its devices anew. */
  setDevices(devices: readonly Init<PluginDevice>[]): void {
    this.#devices = devices;
    for (const watcher of this.#watchers) watcher.write({ devices });
  }

  /** Ends ListAndWatch with an error, and goes on serving. */
  breakWatch(details: string): void {
    for (const watcher of this.#watchers) watcher.emit('error', failure(details));
    this.#watchers.clear();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.forceShutdown();
    rmSync(this.socket, { force: true });
  }

  #register(method: Method): void {
    const [request, response] = REQUESTS[method];
    const serialize = (value: object) => encodeMessage(response, value);
    const deserialize = (bytes: Buffer) => decodeMessage<object>(request, bytes);
    const at = `/v1beta1.DevicePlugin/${method}`;
    if (method === 'ListAndWatch') {
      const watch = (call: ServerWritableStream<object, object>) => this.#watch(call);
      this.#server.register(at, watch, serialize, deserialize, 'serverStream');
      return;
    }
    const handle = (call: ServerUnaryCall<object, object>, reply: sendUnaryData<object>) => {
      if (!this.#called(method)) return;
      const fault = this.faults.get(method);
      if (fault !== undefined) reply(failure(fault));
      else reply(null, this.#answer(method, call.request));
    };
    this.#server.register(at, handle, serialize, deserialize, 'unary');
  }

  /** False when the call is to hang. */
  #called(method: Method): boolean {
    const hangs = this.faults.get(method) === '';
    this.calls.push(method);
    this.onCall(method);
    return !hangs;
  }

  #watch(call: ServerWritableStream<object, object>): void {
    if (!this.#called('ListAndWatch')) return;
    const fault = this.faults.get('ListAndWatch');
    if (fault !== undefined) {
      call.emit('error', failure(fault));
      return;
    }
    this.#watchers.add(call);
    call.on('cancelled', () => this.#watchers.delete(call));
    call.write({ devices: this.#devices });
  }

  #answer(method: Method, request: object): object {
    if (method === 'GetDevicePluginOptions') return this.settings.options ?? {};
    if (method === 'PreStartContainer') {
      this.preStarted.push((request as { devicesIds: string[] }).devicesIds);
      return {};
    }
    if (method === 'GetPreferredAllocation') {
      const { availableDeviceIDs, allocationSize } = (request as PreferredAllocationRequest).containerRequests[0]!;
      return { containerResponses: [{ deviceIDs: [...this.prefer(availableDeviceIDs, allocationSize)] }] };
    }
    const ids = (request as AllocateRequest).containerRequests[0]!.devicesIds;
    this.allocated.push(ids);
    return this.answer?.(ids) ?? this.#grant(ids);
  }

  #grant(ids: readonly string[]): Init<AllocateResponse> {
    const { dataDir, resource } = this.settings;
    return {
      containerResponses: [
        {
          envs: { TEST_DEVICES: ids.toSorted().join(',') },
          devices: ids.map((id) => ({ containerPath: `/dev/test-${id}`, hostPath: '/dev/null', permissions: 'rw' })),
          mounts: dataDir === undefined ? [] : [{ containerPath: '/device-data', hostPath: dataDir, readOnly: true }],
          annotations: { [`${resource}.given`]: ids.toSorted().join(',') },
        },
      ],
    };
  }
}

function failure(details: string) {
  return { code: status.UNKNOWN, details, metadata: new Metadata() };
}

/** Healthy devices of these names. */
export function healthy(...ids: string[]): Init<PluginDevice>[] {
  return ids.map((ID) => ({ ID, health: 'Healthy' }));
}
