// The node's HTTPS server before real containerd: exec, attach, port-forward and logs, in the protocols of old and new
// clients.
import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { request } from 'node:https';
import { type AddressInfo, createServer } from 'node:net';
import type { Duplex } from 'node:stream';
import { text } from 'node:stream/consumers';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket } from 'ws';
import { createCa, createSelfSignedServingCert, issueClientCert } from '../../api/pki.ts';
import { SpdySession, type SpdyStream } from '../../api/streaming/spdy-session.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import { KubeletServer } from '../../kubelet/server/server.ts';
import { CONTAINERD_VERSIONS, containerdMissing, TestContainerd } from '../harness/containerd.ts';
import { RealPods } from '../harness/real-pods.ts';

const missing = containerdMissing();
if (missing !== undefined) console.warn(`streaming tests are skipped: ${missing}`);

const BULK_MB = 256;
const validity = { nowMs: Date.now(), lifetimeMs: 3600_000 };
const ca = createCa('ca', validity);
const admin = issueClientCert(ca, { commonName: 'admin', organizations: ['system:masters'] }, validity);

describe.skipIf(missing !== undefined).each(CONTAINERD_VERSIONS)('containerd %s', (version) => {
  let containerd: TestContainerd;
  let pods: RealPods;
  let server: KubeletServer;
  const stop = new AbortController();
  let ended: Promise<void>;

  beforeAll(async () => {
    containerd = await TestContainerd.start({ version });
    pods = new RealPods(containerd);
    const certificate = createSelfSignedServingCert('node', {}, validity);
    server = new KubeletServer(
      {
        nodeName: 'node',
        address: '127.0.0.1',
        port: 0,
        healthzAddress: '',
        healthzPort: 0,
        certificate,
        clientCa: ca.cert,
        anonymous: false,
      },
      { pods, runtime: containerd.runtime, metrics: new Registry(), clock: systemClock, log: silentLog },
    );
    await server.listen();
    ended = server.run(stop.signal);
    await pods.start('web', ['sleep', '1000000']);
  });

  afterAll(async () => {
    stop.abort();
    await ended;
    await pods?.removeAll();
    await containerd?.[Symbol.asyncDispose]();
  });

  const target = (url: string) => ({ host: '127.0.0.1', port: server.port, path: url, ...admin });

  function open(url: string, method = 'GET', headers: Record<string, string | string[]> = {}) {
    return request({ ...target(url), method, headers, rejectUnauthorized: false, agent: false }).end();
  }

  /** As kubectl before 1.30 does it, and newer ones that fall back. */
  async function openSpdy(url: string, protocol = 'v4.channel.k8s.io'): Promise<SpdySession> {
    const headers = { connection: 'Upgrade', upgrade: 'SPDY/3.1', 'x-stream-protocol-version': [protocol] };
    const [response, socket, head] = (await once(open(url, 'POST', headers), 'upgrade')) as [
      IncomingMessage,
      Duplex,
      Buffer,
    ];
    expect(response.headers['x-stream-protocol-version']).toBe(protocol);
    return new SpdySession(socket, head, { role: 'client' });
  }

  async function spdyStreams(url: string, names: readonly string[]) {
    const session = await openSpdy(url);
    const streams = names.map((streamtype) => session.createStream({ streamtype }));
    return {
      session,
      streams: Object.fromEntries(names.map((n, i) => [n, streams[i]!])) as Record<string, SpdyStream>,
    };
  }

  /** As kubectl from 1.30 on does it. */
  async function openV5(url: string) {
    const ws = new WebSocket(`wss://127.0.0.1:${server.port}${url}`, ['v5.channel.k8s.io'], {
      ...admin,
      rejectUnauthorized: false,
    });
    const channels = ['', '', '', ''];
    const changed = new EventTarget();
    ws.on('message', (message: Buffer) => {
      channels[message[0]!] += message.toString('utf8', 1);
      changed.dispatchEvent(new Event('change'));
    });
    const closed = once(ws, 'close');
    await once(ws, 'open');
    const until = async (channel: number, pattern: RegExp) => {
      while (!pattern.test(channels[channel]!)) await once(changed, 'change');
    };
    return { ws, channels, closed, until };
  }

  const script = (code: string) => `command=sh&command=-c&command=${encodeURIComponent(code)}`;

  test('exec over SPDY: input, both outputs, success', async () => {
    const url = `/exec/default/web/main?${script('cat; echo bad >&2')}&input=1&output=1&error=1`;
    const { session, streams } = await spdyStreams(url, ['error', 'stdin', 'stdout', 'stderr']);
    streams.stdin!.end('typed');
    expect(await Promise.all([text(streams.stdout!), text(streams.stderr!)])).toEqual(['typed', 'bad\n']);
    expect(JSON.parse(await text(streams.error!))).toMatchObject({ status: 'Success' });
    session.destroy();
  });

  test('exec over WebSocket v5: closing input ends the command, its exit code arrives', async () => {
    const { ws, channels, closed } = await openV5(
      `/exec/default/web/main?${script('cat; echo bad >&2; exit 7')}&input=1&output=1&error=1`,
    );
    ws.send(Buffer.from('\0typed'));
    ws.send(Buffer.of(255, 0));
    expect((await closed)[0]).toBe(1000);
    expect(channels.slice(0, 3)).toEqual(['', 'typed', 'bad\n']);
    expect(JSON.parse(channels[3]!)).toMatchObject({
      status: 'Failure',
      reason: 'NonZeroExitCode',
      details: { causes: [{ reason: 'ExitCode', message: '7' }] },
    });
  });

  test('a command that does not exist is told on the error channel', async () => {
    const { channels, closed } = await openV5('/exec/default/web/main?command=no-such-program&output=1');
    await closed;
    expect(JSON.parse(channels[3]!)).toMatchObject({ status: 'Failure' });
    expect(channels[3]).toContain('no-such-program');
  });

  test('a terminal has the size that the client gives it', async () => {
    const wait = 'until [ "$(stty size 2>/dev/null)" = "40 120" ]; do :; done; echo resized';
    const { ws, channels, closed } = await openV5(`/exec/default/web/main?${script(wait)}&input=1&output=1&tty=1`);
    ws.send(Buffer.from('\u0004{"Width":120,"Height":40}'));
    await closed;
    expect(channels[1]).toBe('resized\r\n');
  });

  test('attach reaches the process that the container runs', async () => {
    await pods.start('cat', ['cat'], { stdin: true });
    const { ws, channels, until } = await openV5('/attach/default/cat/main?input=1&output=1');
    ws.send(Buffer.from('\0hello\n'));
    await until(1, /hello\n/);
    expect(channels[1]).toBe('hello\n');
    ws.close();
  });

  test('port-forward reaches a port of the pod, several connections at once', async () => {
    const echo = createServer({ allowHalfOpen: true }, (socket) => void socket.pipe(socket));
    echo.listen(0, '127.0.0.1');
    await once(echo, 'listening');
    const port = `${(echo.address() as AddressInfo).port}`;
    const session = await openSpdy('/portForward/default/web', 'portforward.k8s.io');
    const connection = async (requestid: string) => {
      const error = session.createStream({ streamtype: 'error', port, requestid });
      error.end();
      const data = session.createStream({ streamtype: 'data', port, requestid });
      data.end(`ping ${requestid}`);
      return Promise.all([text(data), text(error)]);
    };
    expect(await Promise.all(['0', '1', '2'].map(connection))).toEqual([
      ['ping 0', ''],
      ['ping 1', ''],
      ['ping 2', ''],
    ]);
    session.destroy();
    echo.close();
  });

  test('a followed log ends with its container, whole', async () => {
    await pods.start('talker', ['sh', '-c', 'echo one; mkfifo /end; read x < /end; echo two']);
    const [response] = (await once(open('/containerLogs/default/talker/main?follow=true'), 'response')) as [
      IncomingMessage,
    ];
    response.setEncoding('utf8');
    expect(await once(response, 'data')).toEqual(['one\n']);
    const rest = text(response);
    const { closed } = await openV5(
      `/exec/default/talker/main?${script('until [ -p /end ]; do :; done; echo > /end')}&output=1`,
    );
    await closed;
    expect(await rest).toBe('two\n');
  });

  test(`${BULK_MB} MB of output at the pace of a slow client, in bounded memory`, async () => {
    const before = process.memoryUsage().rss;
    const ws = new WebSocket(
      `wss://127.0.0.1:${server.port}/exec/default/web/main?${script(`head -c ${BULK_MB}m /dev/zero`)}&output=1`,
      ['v5.channel.k8s.io'],
      { ...admin, rejectUnauthorized: false },
    );
    let received = 0;
    let most = before;
    let messages = 0;
    ws.on('message', (message: Buffer) => {
      if (message[0] === 1) received += message.length - 1;
      if (++messages % 256 !== 0) return;
      most = Math.max(most, process.memoryUsage().rss);
      ws.pause();
      setImmediate(() => ws.resume());
    });
    await once(ws, 'close');
    expect(received).toBe(BULK_MB * 1024 ** 2);
    expect((most - before) / 1024 ** 2).toBeLessThan(128);
  });
});
