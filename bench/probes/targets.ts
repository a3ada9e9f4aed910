// What the bench's probes talk to, in a process of its own so that its CPU time is not theirs: an HTTP server, a TCP
// server and a runtime that answers ExecSync at once.
import { createServer } from 'node:http';
import { type AddressInfo, createServer as createTcpServer, type Server } from 'node:net';
import { Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js';
import { encodeMessage } from '../../cri/codec.ts';

export interface TargetPorts {
  readonly http: number;
  readonly tcp: number;
}

async function listen(server: Server): Promise<number> {
  await new Promise<void>((resolve) => server.listen({ port: 0, host: '127.0.0.1', backlog: 1024 }, resolve));
  return (server.address() as AddressInfo).port;
}

/** Serves until the process is killed; ExecSync is answered on the unix socket `criSocket`. */
async function serveTargets(criSocket: string): Promise<TargetPorts> {
  const http = await listen(createServer((_request, response) => response.end('ok')));
  const tcp = await listen(createTcpServer((socket) => socket.on('error', () => {}).end()));
  const answer = encodeMessage('ExecSyncResponse', { exitCode: 0 });
  const raw = (bytes: Buffer) => bytes;
  const execSync = {
    path: '/runtime.v1.RuntimeService/ExecSync',
    requestStream: false,
    responseStream: false,
    requestSerialize: raw,
    requestDeserialize: raw,
    responseSerialize: raw,
    responseDeserialize: raw,
  } as const;
  const server = new GrpcServer();
  server.addService(
    { execSync },
    { execSync: (_call: unknown, reply: (err: null, bytes: Buffer) => void) => reply(null, answer) },
  );
  await new Promise<void>((resolve, reject) =>
    server.bindAsync(`unix://${criSocket}`, ServerCredentials.createInsecure(), (err) =>
      err ? reject(err) : resolve(),
    ),
  );
  return { http, tcp };
}

process.send!(await serveTargets(process.argv[2]!));
