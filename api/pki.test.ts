import { X509Certificate } from 'node:crypto';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import { connect, createServer, type TLSSocket } from 'node:tls';
import { expect, test } from 'vitest';
import {
  createCa,
  createCsr,
  createSelfSignedServingCert,
  issueClientCert,
  issueServerCert,
  PkiError,
  parseCsr,
  signCsr,
  toPem,
  YEAR_MS,
} from './pki.ts';

const now = Date.now();
const year = { nowMs: now, lifetimeMs: YEAR_MS };
const ca = createCa('test-ca', { nowMs: now, lifetimeMs: 10 * YEAR_MS });
const node = { commonName: 'system:node:n1', organizations: ['system:nodes'] };

test('a CA is one for OpenSSL, and what it issued verifies', () => {
  const authority = new X509Certificate(ca.cert);
  expect(authority.ca).toBe(true);
  expect(authority.verify(authority.publicKey)).toBe(true);
  const server = new X509Certificate(
    issueServerCert(
      ca,
      { commonName: 'apiserver' },
      { dnsNames: ['kubernetes'], ipAddresses: ['10.96.0.1', 'fd00::1'] },
      year,
    ).cert,
  );
  expect(server.verify(authority.publicKey)).toBe(true);
  expect(server.checkIssued(authority)).toBe(true);
  expect(server.ca).toBe(false);
  expect(server.checkHost('kubernetes')).toBe('kubernetes');
  expect(server.checkIP('10.96.0.1')).toBe('10.96.0.1');
  expect(server.checkIP('fd00::1')).toBe('fd00::1');
  expect(server.checkHost('other')).toBeUndefined();
  expect(server.keyUsage).toEqual(['1.3.6.1.5.5.7.3.1']);
});

test('client and server prove themselves to each other over TLS', async () => {
  const serving = issueServerCert(ca, { commonName: 's' }, { dnsNames: ['localhost'] }, year);
  const client = issueClientCert(ca, { commonName: 'jane', organizations: ['dev', 'ops'] }, year);
  const server = createServer({ ...serving, ca: ca.cert, requestCert: true }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const accepted = once(server, 'secureConnection');
  const socket = connect({
    ...client,
    ca: ca.cert,
    host: '127.0.0.1',
    port: (server.address() as AddressInfo).port,
    servername: 'localhost',
  });
  await once(socket, 'secureConnect');
  const [peer] = (await accepted) as [TLSSocket];
  expect(peer.authorized).toBe(true);
  const { subject } = peer.getPeerCertificate();
  expect(subject.CN).toBe('jane');
  expect([subject.O].flat().toSorted()).toEqual(['dev', 'ops']);
  socket.destroy();
  peer.destroy();
  server.close();
});

test('a client certificate is refused for serving', async () => {
  const client = issueClientCert(ca, { commonName: 'jane' }, year);
  expect(new X509Certificate(client.cert).keyUsage).toEqual(['1.3.6.1.5.5.7.3.2']);
});

test('a signing request is read and signed as asked', () => {
  const { csr } = createCsr(node, { dnsNames: ['n1'], ipAddresses: ['192.0.2.7', '2001:db8::7'] });
  const parsed = parseCsr(csr);
  expect(parsed).toMatchObject({
    ...node,
    dnsNames: ['n1'],
    ipAddresses: ['192.0.2.7', '2001:db8::7'],
    emailAddresses: [],
    uris: [],
  });
  const cert = new X509Certificate(signCsr(ca, parsed, ['digital signature', 'server auth'], year));
  expect(cert.verify(new X509Certificate(ca.cert).publicKey)).toBe(true);
  expect(cert.checkIP('192.0.2.7')).toBe('192.0.2.7');
  expect(cert.subject).toBe('O=system:nodes\nCN=system:node:n1');
});

test('no certificate outlives the CA that signed it', () => {
  const short = createCa('short', { nowMs: now, lifetimeMs: 3600_000 });
  const cert = new X509Certificate(signCsr(short, parseCsr(createCsr(node).csr), ['client auth'], year));
  expect(Date.parse(cert.validTo)).toBe(Date.parse(new X509Certificate(short.cert).validTo));
});

test('a request with a forged name, or that is no request, is refused', () => {
  const der = Buffer.from(createCsr(node).csr.replaceAll(/-----.*-----|\n/g, ''), 'base64');
  const forged = Buffer.from(der);
  forged.write('x', forged.indexOf('n1') + 1);
  expect(() => parseCsr(toPem('CERTIFICATE REQUEST', forged))).toThrow(PkiError);
  expect(() => parseCsr('hello')).toThrow(PkiError);
  for (let cut = 0; cut < der.length; cut += 7) {
    expect(() => parseCsr(toPem('CERTIFICATE REQUEST', Buffer.concat([der.subarray(0, cut), Buffer.of(0)])))).toThrow(
      PkiError,
    );
  }
});

test('a kubelet without a CA serves with its own certificate', () => {
  const cert = new X509Certificate(
    createSelfSignedServingCert('n1', { dnsNames: ['n1'], ipAddresses: ['127.0.0.1'] }, year).cert,
  );
  expect(cert.checkHost('n1')).toBe('n1');
  expect(cert.subject).toMatch(/^CN=n1@\d+$/);
  expect(cert.verify(cert.publicKey)).toBe(true);
});
