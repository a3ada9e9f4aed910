// Plain HTTP between an agent and its API server, which passes on what it gets and, when told to, does not: answers that
// are nobody's, halves of answers, errors, watches that expire, repeat themselves or tell of strange things, silence.
import http from 'node:http';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';

/**
 * What is done to every call. `page`, `empty`: an answer that is none of an API server. `half`: the first half of the right
 * one. `expired`: every watch ends so at once. `doubled`: every event of a watch comes again, later and in any order.
 * `strange`: watches bring objects that nobody asked for as well. `silent`: no answer at all.
 */
export type ApiFault = 'page' | 'empty' | 'half' | 'expired' | 'doubled' | 'strange' | 'silent';

/** A whole answer: status code, content type, body. */
const ANSWERS: Partial<Record<ApiFault, readonly [number, string, string]>> = {
  page: [200, 'text/html', '<html>please log in</html>'],
  empty: [200, 'application/json', '{}'],
};
const EXPIRED = '{"type":"ERROR","object":{"kind":"Status","code":410,"reason":"Expired","message":"too old"}}\n';
const STRANGE_MS = 200;
const REPEAT_MS = 600;
const STRANGERS = [
  {},
  { kind: 'ConfigMap', metadata: { name: 'stranger', namespace: 'default', resourceVersion: '7' } },
  { metadata: { namespace: 'default', resourceVersion: '999999999' } },
];

export interface ApiIdentity {
  readonly ca: string;
  readonly cert: string;
  readonly key: string;
}

export class ApiProxy implements AsyncDisposable {
  readonly #target: URL;
  readonly #agent: https.Agent;
  readonly #sockets = new Set<Socket>();
  readonly #server = http.createServer((request, response) => this.#serve(request, response));
  #fault: ApiFault | undefined;
  /** How many calls had a fault. */
  faults = 0;

  private constructor(target: URL, identity: ApiIdentity) {
    this.#target = target;
    this.#agent = new https.Agent({ keepAlive: true, ...identity });
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {}); // the agent was killed, or we cut the connection
    });
  }

  /** Listens at the address of `target`, on another port, and calls it as `identity`. */
  static async start(target: string, identity: ApiIdentity): Promise<ApiProxy> {
    const proxy = new ApiProxy(new URL(target), identity);
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject);
      proxy.#server.listen(0, proxy.#target.hostname, resolve);
    });
    return proxy;
  }

  get url(): string {
    return `http://${this.#target.hostname}:${(this.#server.address() as AddressInfo).port}`;
  }

  /** From now on; what runs is cut off, so that everything is asked again. */
  setFault(fault: ApiFault | undefined): void {
    this.#fault = fault;
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#server.closeAllConnections();
    this.#agent.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }

  #serve(request: http.IncomingMessage, response: http.ServerResponse): void {
    const fault = this.#fault;
    if (fault !== undefined) this.faults++;
    request.on('error', () => {});
    const isWatch = /[?&]watch=true(&|$)/.test(request.url ?? '');
    if (fault === 'silent') {
      request.resume();
      return;
    }
    const answer = fault === undefined ? undefined : ANSWERS[fault];
    if (answer !== undefined) reply(request, response, ...answer);
    else if (fault === 'expired' && isWatch) reply(request, response, 200, 'application/json', EXPIRED);
    else this.#pass(request, response, isWatch ? fault : fault === 'half' ? 'half' : undefined);
  }

  #pass(request: http.IncomingMessage, response: http.ServerResponse, fault: ApiFault | undefined): void {
    const { hostname, port, host } = this.#target;
    const { method, url, headers } = request;
    const call = https.request({
      agent: this.#agent,
      hostname,
      port,
      method,
      path: url,
      headers: { ...headers, host },
    });
    call.on('error', () => response.destroy());
    response.on('close', () => call.destroy());
    call.on('response', (answer) => {
      answer.on('error', () => response.destroy());
      if (fault === 'half')
        passHalf(answer, response).catch(() => response.destroy()); // cut off meanwhile
      else {
        response.writeHead(answer.statusCode!, answer.headers);
        response.flushHeaders(); // a watch may have nothing to tell for long
        if (fault === 'doubled') passTwice(answer, response);
        else answer.pipe(response);
        if (fault === 'strange') addStrangers(response);
      }
    });
    request.pipe(call);
  }
}

function reply(
  request: http.IncomingMessage,
  response: http.ServerResponse,
  code: number,
  type: string,
  body: string,
): void {
  request.resume();
  response.writeHead(code, { 'content-type': type }).end(body);
}

async function passHalf(answer: http.IncomingMessage, response: http.ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  response.writeHead(answer.statusCode!, { 'content-type': 'application/json' });
  response.end(body.subarray(0, body.length >> 1));
}

function passTwice(answer: http.IncomingMessage, response: http.ServerResponse): void {
  let rest = '';
  const repeats = new Set<NodeJS.Timeout>();
  response.on('close', () => repeats.forEach(clearTimeout));
  answer.setEncoding('utf8');
  answer.on('data', (text: string) => {
    const lines = (rest + text).split('\n');
    rest = lines.pop()!;
    for (const line of lines) {
      response.write(`${line}\n`);
      repeats.add(setTimeout(() => response.write(`${line}\n`), Math.random() * REPEAT_MS));
    }
  });
  answer.on('end', () => response.end());
}

function addStrangers(response: http.ServerResponse): void {
  const timer = setInterval(() => {
    for (const type of ['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK']) {
      for (const object of STRANGERS) response.write(`${JSON.stringify({ type, object })}\n`);
    }
  }, STRANGE_MS);
  response.on('close', () => clearInterval(timer));
}
