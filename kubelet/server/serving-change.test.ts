// The server's certificate may come after it, and change under it.
import { connect } from 'node:tls';
import { expect, test } from 'vitest';
import { createCa, createSelfSignedServingCert, issueClientCert } from '../../api/pki.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import { FakeServedPods } from './fake-served-pods.ts';
import { KubeletServer } from './server.ts';

const validity = { nowMs: Date.now(), lifetimeMs: 3_600_000 };
const ca = createCa('ca', validity);
const admin = issueClientCert(ca, { commonName: 'kube-apiserver-kubelet-client' }, validity);
const pair = (name: string) => createSelfSignedServingCert(name, {}, validity);

test('without a certificate handshakes fail; each that comes is shown to connections made after it', async () => {
  const none = async () => {
    throw new Error('nothing runs here');
  };
  const runtime = { exec: none, attach: none, portForward: none, execSync: none, containerStatus: none };
  const server = new KubeletServer(
    {
      nodeName: 'n',
      address: '127.0.0.1',
      port: 0,
      healthzAddress: '127.0.0.1',
      healthzPort: 0,
      certificate: undefined,
      clientCa: ca.cert,
      anonymous: false,
    },
    { pods: new FakeServedPods(), runtime, metrics: new Registry(), clock: systemClock, log: silentLog },
  );
  const stop = new AbortController();
  await server.listen();
  const ended = server.run(stop.signal);

  /** Opens a connection, with a client certificate as the API server has one. */
  const open = () =>
    new Promise<ReturnType<typeof connect>>((resolve, reject) => {
      const socket = connect({ host: '127.0.0.1', port: server.port, rejectUnauthorized: false, ...admin }, () =>
        resolve(socket),
      );
      socket.once('error', reject);
    });
  const shown = (socket: ReturnType<typeof connect>) => String(socket.getPeerCertificate().subject?.CN).split('@')[0];

  await expect(open()).rejects.toThrow(/handshake failure|alert|socket/);
  server.setCertificate(pair('first'));
  const old = await open();
  server.setCertificate(pair('second'));
  const next = await open();
  expect([shown(old), shown(next)]).toEqual(['first', 'second']);
  // The older connection is as good as it was, and its client certificate is still asked for.
  const answer = new Promise<string>((resolve) => next.once('data', (chunk: Buffer) => resolve(chunk.toString())));
  next.write('GET /healthz HTTP/1.1\r\nHost: n\r\nConnection: close\r\n\r\n');
  expect(await answer).toMatch(/^HTTP\/1.1 200 OK/);
  expect(old.destroyed).toBe(false);
  for (const socket of [old, next]) socket.destroy();
  stop.abort();
  await ended;
});
