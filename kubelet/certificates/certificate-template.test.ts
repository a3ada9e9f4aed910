import { expect, test } from 'vitest';
import type { NodeAddress } from '../../api/kinds.ts';
import { createCa, createCsr, issueServerCert, parseCsr, signCsr, YEAR_MS } from '../../api/pki.ts';
import { clientTemplate, rotationDueMs, satisfies, servingTemplate } from './certificate-template.ts';
import { createKeyPem, loadPair } from './key-pair.ts';

const HOUR_MS = 3_600_000;
const address = (type: string, value: string): NodeAddress => ({ type, address: value });

test.each<[string, NodeAddress[], { dns: string[]; ips: string[] } | undefined]>([
  ['nothing is known', [], undefined],
  ['only names are', [address('Hostname', 'a'), address('InternalDNS', 'a.b')], undefined],
  [
    'names and addresses of every type, sorted, each once',
    [
      address('Hostname', 'n'),
      address('InternalIP', '10.0.0.2'),
      address('ExternalIP', '10.0.0.1'),
      address('InternalIP', 'fd00::1'),
      address('InternalDNS', 'b.c'),
      address('ExternalDNS', 'a.c'),
      address('ExternalDNS', 'b.c'),
    ],
    { dns: ['a.c', 'b.c', 'n'], ips: ['10.0.0.1', '10.0.0.2', 'fd00::1'] },
  ],
  ['a host name that is an address', [address('Hostname', '10.0.0.9')], { dns: [], ips: ['10.0.0.9'] }],
])('a serving certificate is for what the node is called: %s', (_what, addresses, expected) => {
  const template = servingTemplate('n', addresses);
  expect(template && { dns: template.dnsNames, ips: template.ipAddresses }).toEqual(expected);
});

test('names suffice where the gate says so', () => {
  expect(servingTemplate('n', [address('Hostname', 'n')], { namesSuffice: true })?.dnsNames).toEqual(['n']);
  expect(servingTemplate('n', [], { namesSuffice: true })).toBeUndefined();
});

test('what a certificate lacks is noticed; more than what is wanted does no harm', () => {
  const validity = { nowMs: Date.now(), lifetimeMs: HOUR_MS };
  const ca = createCa('ca', { nowMs: Date.now(), lifetimeMs: YEAR_MS });
  const wanted = servingTemplate('n', [address('Hostname', 'n'), address('InternalIP', 'fd00::1')])!;
  const certificate = (dnsNames: string[], ipAddresses: string[], organizations = ['system:nodes']) => {
    const subject = { commonName: 'system:node:n', organizations };
    const pair = issueServerCert(ca, subject, { dnsNames, ipAddresses }, validity);
    return loadPair(pair.cert, pair.key).leaf;
  };
  expect(satisfies(certificate(['n', 'more'], ['10.0.0.1', 'fd00::1']), wanted)).toBe(true);
  expect(satisfies(certificate(['*'], ['fd00::1']), wanted)).toBe(false);
  expect(satisfies(certificate(['n'], ['10.0.0.1']), wanted)).toBe(false);
  expect(satisfies(certificate(['n'], ['fd00::1'], ['others']), wanted)).toBe(false);
  expect(satisfies(certificate(['n'], ['fd00::1'], ['system:nodes', 'more']), wanted)).toBe(true);
  expect(satisfies(certificate(['n'], ['fd00::1']), { ...wanted, commonName: 'system:node:m' })).toBe(false);
});

test('the next certificate is asked for between 70 and 90 % of the life of this one', () => {
  const nowMs = Date.parse('2026-01-01T00:00:00Z');
  const ca = createCa('ca', { nowMs, lifetimeMs: YEAR_MS });
  const { csr, key } = createCsr(clientTemplate('n'), {}, createKeyPem());
  const cert = signCsr(ca, parseCsr(csr), ['client auth'], { nowMs, lifetimeMs: 100 * HOUR_MS });
  const pair = loadPair(cert, key);
  const lifeMs = pair.notAfterMs - pair.notBeforeMs;
  expect(rotationDueMs(pair, 0)).toBeCloseTo(pair.notBeforeMs + 0.7 * lifeMs, -1);
  expect(rotationDueMs(pair, 1)).toBeCloseTo(pair.notBeforeMs + 0.9 * lifeMs, -1);
});
