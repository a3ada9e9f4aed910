// The probe handlers against real sockets on loopback.

import { createServer, type RequestListener, type Server } from 'node:http';
import { createSecureServer } from 'node:http2';
import { createServer as createTlsServer } from 'node:https';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import type { TLSSocket } from 'node:tls';
import { Server as GrpcServer, ServerCredentials } from '@grpc/grpc-js';
import { afterEach, describe, expect, test } from 'vitest';
import { createSelfSignedServingCert, YEAR_MS } from '../api/pki.ts';
import type { Probe } from '../api/pod.ts';
import { createAttempt } from './attempt.ts';
import { parseGoUrl } from './go-url.ts';
import { probeGrpc } from './grpc.ts';
import { HttpProbeRequest } from './http.ts';
import { type HttpGet, transportErrorText } from './http-get.ts';
import { expandCommand, resolvePort } from './target.ts';
import { probeTcp } from './tcp.ts';

const cleanups: (() => unknown)[] = [];
afterEach(async () => {
  for (const cleanup of cleanups.splice(0)) await cleanup();
});

const probeHttp = (probe: HttpGet, signal: AbortSignal) => new HttpProbeRequest(probe).send(signal);
const inTime = () => AbortSignal.timeout(60_000);

async function listen(server: Server | ReturnType<typeof createTcpServer>): Promise<number> {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  cleanups.push(() => new Promise((resolve) => server.close(resolve)));
  return (server.address() as AddressInfo).port;
}

const http = (handler: RequestListener) => listen(createServer(handler));
const target = (port: number, path = '/') => ({ scheme: 'http' as const, host: '127.0.0.1', port, path, headers: [] });

async function closedPort(): Promise<number> {
  const server = createTcpServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

describe('http', () => {
  test.each([
    [200, 'success'],
    [204, 'success'],
    [304, 'warning'],
    [400, 'failure'],
    [503, 'failure'],
  ])('status %i is a %s', async (status, kind) => {
    const port = await http((_req, res) => res.writeHead(status).end());
    const outcome = await probeHttp(target(port), inTime());
    expect(outcome.kind).toBe(kind);
    if (kind === 'failure') expect(outcome).toEqual({ kind, output: `HTTP probe failed with statuscode: ${status}` });
  });

  test('sends the probe headers, repeats included, and its own name unless told otherwise', async () => {
    const seen: string[][] = [];
    const port = await http((req, res) => {
      seen.push(req.rawHeaders);
      res.end();
    });
    const headers = [
      { name: 'X-Muffins-Or-Plums', value: 'Muffins' },
      { name: 'x-muffins-or-plums', value: 'Plums' },
      { name: 'Host', value: 'muffins.org' },
    ];
    await probeHttp({ ...target(port), headers }, inTime());
    await probeHttp({ ...target(port), headers: [{ name: 'User-Agent', value: '' }] }, inTime());
    expect(seen[0]).toEqual(expect.arrayContaining(['Muffins', 'Plums', 'muffins.org', 'kube-probe/1.36', '*/*']));
    expect(seen[0]!.filter((text) => text === 'Host')).toHaveLength(1);
    expect(seen[1]).not.toContain('User-Agent');
  });

  test('follows redirects on the same host and warns at one that leads away', async () => {
    const port = await http((req, res) => {
      if (req.url === '/here') res.writeHead(302, { Location: '/ok' }).end();
      else if (req.url === '/away') res.writeHead(302, { Location: 'http://192.0.2.1/' }).end('gone');
      else res.end('ok');
    });
    expect(await probeHttp(target(port, '/here'), inTime())).toEqual({ kind: 'success', output: 'ok' });
    expect(await probeHttp(target(port, '/away'), inTime())).toEqual({
      kind: 'warning',
      output: 'Probe terminated redirects, Response body: gone',
    });
  });

  test('a redirect in a circle ends after ten', async () => {
    let requests = 0;
    const port = await http((_req, res) => {
      requests++;
      res.writeHead(302, { Location: '/' }).end();
    });
    expect(await probeHttp(target(port), inTime())).toEqual({
      kind: 'failure',
      output: `Get "http://127.0.0.1:${port}/": stopped after 10 redirects`,
    });
    expect(requests).toBe(11);
  });

  test('a Host header outlives a redirect that names no host of its own', async () => {
    const seen: (string | undefined)[] = [];
    const port = await http((req, res) => {
      seen.push(req.headers.host);
      if (req.url === '/a') res.writeHead(302, { Location: '/b' }).end();
      else if (req.url === '/b') res.writeHead(302, { Location: `http://127.0.0.1:${port}/c` }).end();
      else res.end('ok');
    });
    const headers = [{ name: 'host', value: 'muffins.org' }];
    expect(await probeHttp({ ...target(port, '/a'), headers }, inTime())).toMatchObject({ kind: 'success' });
    expect(seen).toEqual(['muffins.org', 'muffins.org', `127.0.0.1:${port}`]);
  });

  test('TLS is spoken without looking at the certificate', async () => {
    const names: unknown[] = [];
    const longAgo = { nowMs: Date.now() - 2 * YEAR_MS, lifetimeMs: YEAR_MS };
    const pair = createSelfSignedServingCert('elsewhere', { dnsNames: ['elsewhere'] }, longAgo);
    const server = createTlsServer({ key: pair.key, cert: pair.cert }, (req, res) => {
      names.push((req.socket as TLSSocket).servername);
      res.end('secret');
    });
    const port = await listen(server);
    const probe = { ...target(port), scheme: 'https' as const };
    expect(await probeHttp(probe, inTime())).toEqual({ kind: 'success', output: 'secret' });
    expect(await probeHttp({ ...probe, host: 'localhost' }, inTime())).toMatchObject({ kind: 'success' });
    expect(names).toEqual([false, 'localhost']);
    expect(await probeHttp(target(port), inTime())).toMatchObject({ kind: 'failure' });
    const plain = await http((_req, res) => res.end());
    expect(await probeHttp({ ...probe, port: plain }, inTime())).toEqual({
      kind: 'failure',
      output: `Get "https://127.0.0.1:${plain}/": http: server gave HTTP response to HTTPS client`,
    });
  });

  test('a server that speaks HTTP/2 alone is asked in it', async () => {
    const pair = createSelfSignedServingCert('h2', { dnsNames: ['h2'] }, { nowMs: Date.now(), lifetimeMs: YEAR_MS });
    const seen: unknown[] = [];
    const server = createSecureServer({ key: pair.key, cert: pair.cert, allowHTTP1: false }, (req, res) => {
      seen.push(req.url, req.headers[':authority'], req.headers['user-agent'], req.headers['x-a']);
      if (req.url === '/slow') return;
      if (req.url === '/away') res.writeHead(302, { location: '/ok' });
      else res.writeHead(req.url === '/ok' ? 200 : 503);
      res.end('over h2');
    });
    const port = await listen(server as unknown as Server);
    const headers = [
      { name: 'Host', value: 'muffins.org' },
      { name: 'X-A', value: 'b' },
    ];
    const probe = (path: string) => ({ ...target(port, path), scheme: 'https' as const, headers });
    expect(await probeHttp(probe('/away'), inTime())).toEqual({ kind: 'success', output: 'over h2' });
    expect(seen.slice(0, 4)).toEqual(['/away', 'muffins.org', 'kube-probe/1.36', 'b']);
    expect(await probeHttp(probe('/sick'), inTime())).toEqual({
      kind: 'failure',
      output: 'HTTP probe failed with statuscode: 503',
    });
    expect(await probeHttp(probe('/slow'), AbortSignal.timeout(500))).toMatchObject({
      kind: 'failure',
      output: expect.stringContaining('context deadline exceeded'),
    });
  });

  test('a header cannot add another one: the probe fails and nothing is sent', async () => {
    let requests = 0;
    const port = await http((_req, res) => {
      requests++;
      res.end();
    });
    const headers = [{ name: 'x-a', value: 'b\r\nX-Injected: 1' }];
    expect(await probeHttp({ ...target(port), headers }, inTime())).toEqual({
      kind: 'failure',
      output: `Get "http://127.0.0.1:${port}/": net/http: invalid header field value for "X-A"`,
    });
    expect(requests).toBe(0);
  });

  test.each([
    ['/a b?c d', 'GET /a%20b?c d HTTP/1.1'],
    ['/100%?x=%zz#y', 'GET /100%25%3Fx=%25zz%23y HTTP/1.1'],
    ['/a/../b/./c\\d', 'GET /a/../b/./c%5Cd HTTP/1.1'],
    ['//healthz', 'GET / HTTP/1.1'],
    ['http://192.0.2.1:9/ü', 'GET /%C3%BC HTTP/1.1'],
    ['healthz#x', 'GET /healthz HTTP/1.1'],
  ])('the path %s is sent as a kubelet does', async (path, line) => {
    const first = Promise.withResolvers<string>();
    const port = await listen(
      createTcpServer((socket) => {
        socket.once('data', (bytes) => {
          first.resolve(bytes.toString('utf8').split('\r\n')[0]!);
          socket.end('HTTP/1.1 200 OK\r\n\r\n');
        });
      }),
    );
    expect(await probeHttp(target(port, path), inTime())).toMatchObject({ kind: 'success' });
    expect(await first.promise).toBe(line);
  });

  test.each([
    ['a.example', 'a.example'],
    ['bücher.example:8080', 'xn--bcher-kva.example:8080'],
    ['two words', ''],
    ['host/path', ''],
  ])('the Host %j is told as %j', async (value, told) => {
    const seen: (string | undefined)[] = [];
    const port = await http((req, res) => {
      seen.push(req.headers.host);
      res.end();
    });
    const headers = ['Host', 'host'].map((name, i) => ({ name, value: i === 0 ? value : 'second.example' }));
    expect(await probeHttp({ ...target(port), headers }, inTime())).toMatchObject({ kind: 'success' });
    expect(seen).toEqual([told]);
  });

  test.each([
    ['a b', 'parse "http://a%20b:80/": invalid URL escape "%20"'],
    ['a/b', 'parse "http://a%2Fb:80/": invalid URL escape "%2F"'],
  ])('the host %j is none', (host, message) => {
    expect(() => new HttpProbeRequest({ ...target(80), host })).toThrow(message);
  });

  test('a path that is all of a URL but its host names nobody', async () => {
    const closed = await closedPort();
    expect(await probeHttp(target(closed, 'localhost:8080/healthz'), inTime())).toEqual({
      kind: 'failure',
      output: 'Get "http:8080/healthz": http: no Host in request URL',
    });
  });

  test('a redirect to nowhere is a failure that says so', async () => {
    const port = await http((req, res) => res.writeHead(302, { Location: req.url!.slice(1) }).end());
    const get = async (path: string) => probeHttp(target(port, path), inTime());
    expect(await get('/ftp://127.0.0.1/')).toMatchObject({
      output: expect.stringContaining('unsupported protocol scheme "ftp"'),
    });
    expect(await get('/http://[::1')).toMatchObject({
      output: expect.stringContaining(
        `failed to parse Location header "http://[::1": parse "http://[::1": missing ']' in host`,
      ),
    });
  });

  test('an answer that breaks off within its body is an error; one that never starts is a failure', async () => {
    const cut = await listen(createTcpServer((s) => s.resume().end('HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok')));
    expect(await probeHttp(target(cut), inTime())).toEqual({
      kind: 'error',
      message: 'unexpected EOF',
      state: 'failure',
    });
    const silent = await listen(createTcpServer((s) => s.resume().end()));
    expect(await probeHttp(target(silent), inTime())).toEqual({
      kind: 'failure',
      output: `Get "http://127.0.0.1:${silent}/": EOF`,
    });
  });

  test('a server that does not speak HTTP is told by its greeting', async () => {
    const port = await listen(createTcpServer((socket) => void socket.resume().write('220 mail ready\r\n')));
    expect(await probeHttp(target(port), inTime())).toEqual({
      kind: 'failure',
      output: `Get "http://127.0.0.1:${port}/": net/http: HTTP/1.x transport connection broken: malformed HTTP response "220 mail ready"`,
    });
  });

  test.each(['http://10.0.0.1:80', 'https://10.0.0.1:443', 'http://[fd00::1]:80'])(
    '%s is told with its port',
    (base) => {
      const refused = Object.assign(new Error(), { code: 'ECONNREFUSED' });
      const address = base.slice(base.indexOf('//') + 2);
      expect(transportErrorText(parseGoUrl(`${base}/x?y=1`), refused, inTime())).toBe(
        `Get "${base}/x?y=1": dial tcp ${address}: connect: connection refused`,
      );
    },
  );

  test('an answer whose lines end without a carriage return is read', async () => {
    const port = await listen(createTcpServer((socket) => socket.resume().end('HTTP/1.1 200 OK\nX-Server: old\n\nok')));
    expect(await probeHttp(target(port), inTime())).toEqual({ kind: 'success', output: 'ok' });
  });

  test('a refused connection and a silent server are told as a Go client would', async () => {
    const closed = await closedPort();
    expect(await probeHttp(target(closed, '/x'), inTime())).toEqual({
      kind: 'failure',
      output: `Get "http://127.0.0.1:${closed}/x": dial tcp 127.0.0.1:${closed}: connect: connection refused`,
    });
    const stop = new AbortController();
    const port = await http(() => stop.abort());
    const outcome = await probeHttp(target(port), stop.signal);
    expect(outcome).toMatchObject({ kind: 'failure', output: expect.stringContaining('Client.Timeout exceeded') });
  });

  test('a body larger than the limit is cut and not waited for', async () => {
    const port = await http((_req, res) => {
      res.write('x'.repeat(64 * 1024)); // and never ends
    });
    const outcome = await probeHttp(target(port), inTime());
    expect(outcome).toMatchObject({ kind: 'success' });
    expect('output' in outcome && outcome.output.length).toBe(10 * 1024);
  });
});

describe('tcp', () => {
  test('open and closed ports', async () => {
    const port = await listen(createTcpServer((socket) => socket.end()));
    expect(await probeTcp('127.0.0.1', port, inTime())).toMatchObject({ kind: 'success' });
    const closed = await closedPort();
    expect(await probeTcp('127.0.0.1', closed, inTime())).toEqual({
      kind: 'failure',
      output: `dial tcp 127.0.0.1:${closed}: connect: connection refused`,
    });
  });
});

describe('grpc', () => {
  let onSilentCall = () => {};

  async function serve(status: number | undefined): Promise<string> {
    const server = new GrpcServer();
    const identity = (b: Buffer) => b;
    if (status !== undefined) {
      const check = {
        path: '/grpc.health.v1.Health/Check',
        requestStream: false,
        responseStream: false,
        requestSerialize: identity,
        requestDeserialize: identity,
        responseSerialize: identity,
        responseDeserialize: identity,
      } as const;
      server.addService(
        { check },
        {
          check: (call: { request: Buffer }, reply: (err: object | null, b?: Buffer) => void) => {
            const service = call.request.subarray(2).toString();
            if (service === 'silent') {
              onSilentCall();
              return;
            }
            if (service === 'lost') reply({ code: 5, details: 'no service “lost”' });
            else reply(null, Buffer.from([0x08, service === 'sick' ? 2 : status]));
          },
        },
      );
    }
    const port = await new Promise<number>((resolve, reject) =>
      server.bindAsync('127.0.0.1:0', ServerCredentials.createInsecure(), (err, p) => (err ? reject(err) : resolve(p))),
    );
    cleanups.push(() => server.forceShutdown());
    return `127.0.0.1:${port}`;
  }

  test('SERVING is healthy; anything else names the status', async () => {
    const address = await serve(1);
    expect(await probeGrpc(address, '', 2000, inTime())).toMatchObject({ kind: 'success' });
    expect(await probeGrpc(address, 'sick', 2000, inTime())).toEqual({
      kind: 'failure',
      output: 'service unhealthy (responded with "NOT_SERVING")',
    });
  });

  test('a server without the health service, and no server at all', async () => {
    const address = await serve(undefined);
    expect(await probeGrpc(address, '', 2000, inTime())).toMatchObject({
      kind: 'failure',
      output: expect.stringContaining('this server does not implement the grpc health protocol'),
    });
    const nobody = `127.0.0.1:${await closedPort()}`;
    expect(await probeGrpc(nobody, '', 300, AbortSignal.timeout(300))).toEqual({
      kind: 'failure',
      output: `timeout: failed to connect service "${nobody}" within 300ms: context deadline exceeded`,
    });
  });

  test('a server that says nothing, before the call or in it', async () => {
    const mute = `127.0.0.1:${await listen(createTcpServer((socket) => socket.resume()))}`;
    expect(await probeGrpc(mute, '', 300, AbortSignal.timeout(300))).toEqual({
      kind: 'failure',
      output: `timeout: failed to connect service "${mute}" within 300ms: context deadline exceeded`,
    });
    const stop = new AbortController();
    onSilentCall = () => stop.abort();
    expect(await probeGrpc(await serve(1), 'silent', 1000, stop.signal)).toEqual({
      kind: 'failure',
      output: 'timeout: health rpc did not complete within 1s',
    });
  });

  test('any other refusal is told with its code and words', async () => {
    expect(await probeGrpc(await serve(1), 'lost', 2000, inTime())).toEqual({
      kind: 'failure',
      output: 'error: health rpc probe failed: rpc error: code = NotFound desc = no service “lost”',
    });
  });

  test('a server of something else is not healthy', async () => {
    const port = await listen(createTcpServer((socket) => socket.resume().end('HTTP/1.1 400 Bad Request\r\n\r\n')));
    const outcome = await probeGrpc(`127.0.0.1:${port}`, '', 300, AbortSignal.timeout(300));
    expect(outcome).toMatchObject({ kind: 'failure' });
  });
});

describe('targets', () => {
  const container = {
    name: 'c',
    ports: [{ name: 'web', containerPort: 8080 }],
    env: [
      { name: 'A', value: '1' },
      { name: 'F', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } },
    ],
  };

  test('ports by number, by name and as text', () => {
    expect(resolvePort(80, container)).toBe(80);
    expect(resolvePort('web', container)).toBe(8080);
    expect(resolvePort('81', container)).toBe(81);
    expect(() => resolvePort('nope', container)).toThrow('strconv.Atoi: parsing "nope": invalid syntax');
    expect(() => resolvePort(70_000, container)).toThrow('invalid port number: 70000');
  });

  test('exec commands see literal env values only', () => {
    expect(expandCommand(['$(A)', '$(F)', '$$(A)', '$(B'], container)).toEqual(['1', '$(F)', '$(A)', '$(B']);
  });

  test('without a host the address of the pod is asked, at each kind of port', async () => {
    const port = await http((_req, res) => res.end('ok'));
    const attempt = createAttempt(() => Promise.reject(new Error('no exec')));
    const run = (probe: Probe, podIP = '127.0.0.1', limit = inTime()) =>
      attempt(
        {
          pod: {},
          container: { name: 'c', ports: [{ name: 'p', containerPort: port }] },
          status: { podIP },
          containerId: 'id',
          probe,
        },
        limit,
      );
    const probe = { httpGet: { path: 'healthz', port: 'p' } };
    expect(await run(probe)).toMatchObject({ kind: 'success' });
    expect(await run(probe, '127.0.0.2')).toMatchObject({ output: expect.stringContaining('dial tcp 127.0.0.2:') });
    expect(await run({ tcpSocket: { port: 'p' } })).toMatchObject({ kind: 'success' });
    const grpc = await run({ grpc: { port, service: 's' } }, '127.0.0.1', AbortSignal.timeout(500));
    expect(grpc).toMatchObject({ kind: 'failure' }); // it is an HTTP/1 server
    expect(await run({ httpGet: { port: 'absent' } })).toMatchObject({ kind: 'error' });
    expect(await run({ httpGet: { port: 'p', host: 'a b' } })).toMatchObject({ kind: 'error' });
    expect(await run({})).toEqual({ kind: 'error', message: 'missing probe handler for c' });
  });

  test('exec outcomes: exit code, output limit, time-out, error', async () => {
    const attempt = createAttempt((_id, command) => {
      if (command[0] === 'slow') return Promise.resolve({ timedOut: true, message: 'command timed out' });
      if (command[0] === 'lost') return Promise.reject(new Error('no such container'));
      return Promise.resolve({ exitCode: Number(command[0]), output: Buffer.from('é'.repeat(20_000)) });
    });
    const run = (command: string) => {
      const probe = { exec: { command: [command] } };
      return attempt({ pod: {}, container, status: {}, containerId: 'id', probe }, inTime());
    };
    expect(await run('0')).toMatchObject({ kind: 'success' });
    expect(await run('3')).toEqual({ kind: 'failure', output: 'é'.repeat(5 * 1024) });
    expect(await run('slow')).toEqual({ kind: 'failure', output: 'command timed out' });
    expect(await run('lost')).toEqual({ kind: 'error', message: 'no such container' });
  });
});
