// gRPC servers on unix sockets, speaking the messages of cri/proto: the plugins' side of what the agent calls.
import { rm } from 'node:fs/promises';
import {
  type handleServerStreamingCall,
  type handleUnaryCall,
  Server,
  ServerCredentials,
  type ServiceDefinition,
  status,
  type UntypedServiceImplementation,
} from '@grpc/grpc-js';
import { decodeMessage, encodeMessage } from '../../cri/codec.ts';

/** A call's answer, or a thrown `GrpcFailure`. `undefined` never answers: the caller's deadline has to end the call. */
export type Answer = (request: never) => Promise<object | undefined>;

export class GrpcFailure extends Error {
  readonly code: number;
  constructor(code: keyof typeof status, details: string) {
    super(details);
    this.code = status[code];
  }
}

interface Messages {
  readonly request: string;
  readonly response: string;
}

export interface MethodSpec extends Messages {
  readonly answer: Answer;
}

/** A stream of answers, which goes on until the caller leaves or the server ends. */
export interface StreamSpec extends Messages {
  readonly stream: (send: (message: object) => void) => void;
}

/** Methods by service, e.g. `{ 'csi.v1.Node': { NodeGetInfo: … } }`. */
export type Services = Readonly<Record<string, Readonly<Record<string, MethodSpec | StreamSpec>>>>;

/** Listens on `socket` (an older one of that name is removed). Disposing drops all connections and the socket. */
export async function servePlugin(socket: string, services: Services): Promise<AsyncDisposable> {
  await rm(socket, { force: true });
  const server = new Server();
  for (const [service, methods] of Object.entries(services)) {
    const definition: Record<string, ServiceDefinition[string]> = {};
    const handlers: UntypedServiceImplementation = {};
    for (const [name, method] of Object.entries(methods)) {
      definition[name] = {
        path: `/${service}/${name}`,
        requestStream: false,
        responseStream: 'stream' in method,
        requestSerialize: (value: object) => encodeMessage(method.request, value),
        requestDeserialize: (bytes: Buffer) => decodeMessage(method.request, bytes),
        responseSerialize: (value: object) => encodeMessage(method.response, value),
        responseDeserialize: (bytes: Buffer) => decodeMessage(method.response, bytes),
      };
      if ('stream' in method) {
        const streaming: handleServerStreamingCall<object, object> = (call) => {
          method.stream((message) => call.write(message));
        };
        handlers[name] = streaming;
        continue;
      }
      const handler: handleUnaryCall<object, object> = (call, callback) => {
        method.answer(call.request as never).then(
          (value) => value !== undefined && callback(null, value),
          (err: unknown) => {
            const code = err instanceof GrpcFailure ? err.code : status.INTERNAL;
            callback({ code, details: (err as Error).message });
          },
        );
      };
      handlers[name] = handler;
    }
    server.addService(definition, handlers);
  }
  await new Promise<void>((resolve, reject) => {
    server.bindAsync(`unix://${socket}`, ServerCredentials.createInsecure(), (err) => (err ? reject(err) : resolve()));
  });
  return {
    async [Symbol.asyncDispose]() {
      server.forceShutdown();
      await rm(socket, { force: true });
    },
  };
}

export interface RegistrationOptions {
  readonly type: string;
  readonly name: string;
  readonly endpoint?: string;
  readonly versions?: readonly string[];
  /** Called with what the node says; throwing makes the notification fail. */
  readonly onStatus?: (status: { pluginRegistered: boolean; error: string }) => void;
}

/** The registrar's socket of a plugin. */
export function serveRegistration(socket: string, opts: RegistrationOptions): Promise<AsyncDisposable> {
  const { type, name, endpoint = '', versions = ['1.0.0'] } = opts;
  return servePlugin(socket, {
    'pluginregistration.Registration': {
      GetInfo: {
        request: 'InfoRequest',
        response: 'PluginInfo',
        answer: async () => ({ type, name, endpoint, supportedVersions: [...versions] }),
      },
      NotifyRegistrationStatus: {
        request: 'RegistrationStatus',
        response: 'RegistrationStatusResponse',
        answer: async (request: { pluginRegistered: boolean; error: string }) => {
          opts.onStatus?.(request);
          return {};
        },
      },
    },
  });
}
