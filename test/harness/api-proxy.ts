// A server between an agent and its API server, which speaks HTTP/2 as kube-apiserver does. It passes on what it gets and, when
// told to, does not: answers that are nobody's, halves of answers, errors, watches that expire, repeat themselves or tell of
// strange things, silence.
import type { IncomingMessage, ServerResponse } from 'node:http';
import http2, { type Http2ServerRequest, type Http2ServerResponse } from 'node:http2';
import https from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { FakeAuthority } from '../../client/fake-certificates.ts';

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
/** In the certificate, which has no address. */
const SERVER_NAME = 'api.test';
/** Of HTTP/1.1 connections alone. */
const HOP_HEADERS = ['connection', 'keep-alive', 'transfer-encoding'];
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
  readonly #authority: FakeAuthority;
  readonly #sockets = new Set<Socket>();
  readonly #server: http2.Http2SecureServer;
  #fault: ApiFault | undefined;
  /** How many calls had a fault. */
  faults = 0;
  /** How many watches came over HTTP/2. */
  sharedWatches = 0;

  private constructor(
    target: URL,
    identity: ApiIdentity,
    own: { authority: FakeAuthority; pair: { cert: string; key: string } },
  ) {
    this.#target = target;
    this.#authority = own.authority;
    this.#server = http2.createSecureServer({ ...own.pair, allowHTTP1: true }, (request, response) =>
      this.#serve(request, response),
    );
    this.#server.on('sessionError', () => {}); // the agent was killed, or we cut the connection
    this.#agent = new https.Agent({ keepAlive: true, ...identity });
    this.#server.on('connection', (socket) => {
      this.#sockets.add(socket);
      socket.on('close', () => this.#sockets.delete(socket));
      socket.on('error', () => {}); // the agent was killed, or we cut the connection
    });
  }

  /** Listens at the address of `target`, on another port, and calls it as `identity`. */
  static async start(target: string, identity: ApiIdentity): Promise<ApiProxy> {
    const authority = await FakeAuthority.create();
    const proxy = new ApiProxy(new URL(target), identity, { authority, pair: await authority.server([SERVER_NAME]) });
    await new Promise<void>((resolve, reject) => {
      proxy.#server.once('error', reject);
      proxy.#server.listen(0, proxy.#target.hostname, resolve);
    });
    return proxy;
  }

  /** The text of a kubeconfig that leads here instead. */
  leadHere(kubeconfig: string): string {
    const { port } = this.#server.address() as AddressInfo;
    const ca = Buffer.from(this.#authority.caPem).toString('base64');
    return kubeconfig
      .replace(
        /^(\s*)server: .*$/m,
        `$1server: https://${this.#target.hostname}:${port}\n$1tls-server-name: ${SERVER_NAME}`,
      )
      .replace(/^(\s*)certificate-authority(-data)?: .*$/m, `$1certificate-authority-data: ${ca}`);
  }

  /** From now on; what runs is cut off, so that everything is asked again. */
  setFault(fault: ApiFault | undefined): void {
    this.#fault = fault;
    for (const socket of this.#sockets) socket.destroy();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    this.#agent.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
    await this.#authority[Symbol.asyncDispose]();
  }

  #serve(request: Http2ServerRequest, response: Http2ServerResponse): void {
    const fault = this.#fault;
    response.on('error', () => {});
    if (fault !== undefined) this.faults++;
    request.on('error', () => {});
    const isWatch = /[?&]watch=true(&|$)/.test(request.url);
    if (isWatch && request.httpVersion === '2.0') this.sharedWatches++;
    if (fault === 'silent') {
      request.resume();
      return;
    }
    const answer = fault === undefined ? undefined : ANSWERS[fault];
    if (answer !== undefined) reply(request, response, ...answer);
    else if (fault === 'expired' && isWatch) reply(request, response, 200, 'application/json', EXPIRED);
    else this.#pass(request, response, isWatch ? fault : fault === 'half' ? 'half' : undefined);
  }

  #pass(request: Http2ServerRequest, response: Http2ServerResponse, fault: ApiFault | undefined): void {
    const { hostname, port, host } = this.#target;
    const { method, url } = request;
    const headers = passable(request.headers);
    const call = https.request({
      agent: this.#agent,
      hostname,
      port,
      method,
      path: url,
      headers: { ...headers, host },
    });
    call.on('error', () => cut(response));
    response.on('close', () => call.destroy());
    call.on('response', (answer) => {
      answer.on('error', () => cut(response));
      if (fault === 'half')
        passHalf(answer, response).catch(() => cut(response)); // cut off meanwhile
      else {
        response.writeHead(answer.statusCode!, passable(answer.headers));
        (response as unknown as ServerResponse).flushHeaders(); // a watch may have nothing to tell for long
        if (fault === 'doubled') passTwice(answer, response);
        else answer.pipe(response);
        if (fault === 'strange') addStrangers(response);
      }
    });
    request.pipe(call);
  }
}

/** Without what belongs to one connection, and HTTP/2's own. */
function passable<T extends object>(headers: T): Record<string, string | string[]> {
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !name.startsWith(':') && !HOP_HEADERS.includes(name)),
  );
}

/** An HTTP/1.1 connection, or one stream of HTTP/2. */
function cut(response: Http2ServerResponse): void {
  (response.stream ?? response.socket)?.destroy();
}

function reply(
  request: Http2ServerRequest,
  response: Http2ServerResponse,
  code: number,
  type: string,
  body: string,
): void {
  request.resume();
  response.writeHead(code, { 'content-type': type }).end(body);
}

async function passHalf(answer: IncomingMessage, response: Http2ServerResponse): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of answer) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  response.writeHead(answer.statusCode!, { 'content-type': 'application/json' });
  response.end(body.subarray(0, body.length >> 1));
}

function passTwice(answer: IncomingMessage, response: Http2ServerResponse): void {
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

function addStrangers(response: Http2ServerResponse): void {
  const timer = setInterval(() => {
    for (const type of ['ADDED', 'MODIFIED', 'DELETED', 'BOOKMARK']) {
      for (const object of STRANGERS) response.write(`${JSON.stringify({ type, object })}\n`);
    }
  }, STRANGE_MS);
  response.on('close', () => clearInterval(timer));
}
