// Endpoints over plain HTTP, for their own tests: what a client sees of one handler.
import { once } from 'node:events';
import { createServer, request as httpRequest, type IncomingMessage } from 'node:http';
import type { AddressInfo } from 'node:net';
import { text } from 'node:stream/consumers';
import type { Handler } from './endpoints.ts';
import { asHttpError, sendHttpError } from './http-error.ts';
import { parseRoute, splitTarget } from './routes.ts';

export interface Answer {
  readonly code: number;
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

/** Asks `handler` for `target` as the server would, and closes again. */
export async function answerOf(
  handler: Handler,
  method: string,
  target: string,
  { body, headers = {} }: { readonly body?: string; readonly headers?: Record<string, string> } = {},
): Promise<Answer> {
  const server = createServer(async (request, response) => {
    try {
      const { path, query } = splitTarget(request.url!);
      await handler({ request, response, query, params: parseRoute(request.method!, path).params });
    } catch (err) {
      sendHttpError(response, asHttpError(err));
    }
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  try {
    const { port } = server.address() as AddressInfo;
    const sent = httpRequest({ host: '127.0.0.1', port, method, path: target, headers, agent: false }).end(body);
    const [response] = (await once(sent, 'response')) as [IncomingMessage];
    return { code: response.statusCode!, headers: response.headers, body: await text(response) };
  } finally {
    server.close();
  }
}
