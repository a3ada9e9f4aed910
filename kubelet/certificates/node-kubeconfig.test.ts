import { mkdtemp, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { parse, stringify } from 'yaml';
import { createCa, issueClientCert } from '../../api/pki.ts';
import { loadKubeconfig } from '../../client/kubeconfig.ts';
import { kubeconfigFault, writeNodeKubeconfig } from './node-kubeconfig.ts';

const HOUR_MS = 3_600_000;
const NOW_MS = Date.now();
const ca = createCa('ca', { nowMs: NOW_MS, lifetimeMs: 10 * HOUR_MS });
const base64 = (text: string) => Buffer.from(text).toString('base64');

let dir: string;
let file: string;
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-kubeconfig-'));
  file = path.join(dir, 'sub/kubelet.conf');
});
afterEach(() => rm(dir, { recursive: true }));

async function kubeconfigOf(user: object, cluster: object = {}): Promise<string> {
  const text = stringify({
    clusters: [{ name: 'c', cluster: { server: 'https://10.0.0.1:6443', ...cluster } }],
    users: [{ name: 'u', user }],
    contexts: [{ name: 'x', context: { cluster: 'c', user: 'u' } }],
    'current-context': 'x',
  });
  const written = path.join(dir, 'given.conf');
  await writeFile(written, text);
  return written;
}

async function fileOf(text: string): Promise<string> {
  const written = path.join(dir, 'bad.conf');
  await writeFile(written, text);
  return written;
}

const issued = (lifetimeMs: number) => {
  const pair = issueClientCert(ca, { commonName: 'n' }, { nowMs: NOW_MS, lifetimeMs });
  return { 'client-certificate-data': base64(pair.cert), 'client-key-data': base64(pair.key) };
};

test('a kubeconfig is good when its client certificate is', async () => {
  expect(await kubeconfigFault(await kubeconfigOf(issued(HOUR_MS)), NOW_MS)).toBeUndefined();
});

test.each<[string, () => Promise<string>, RegExp]>([
  ['no file', async () => path.join(dir, 'none'), /does not exist/],
  ['no YAML', () => fileOf(']['), /cannot be used/],
  ['a token alone', () => kubeconfigOf({ token: 'abcdef.0123456789abcdef' }), /no client certificate/],
  [
    'a certificate file that is not there yet',
    () => kubeconfigOf({ 'client-certificate': '/nowhere.pem', 'client-key': '/nowhere.pem' }),
    /cannot be used/,
  ],
  ['a CA that cannot be read', () => kubeconfigOf(issued(HOUR_MS), { 'certificate-authority': '/no' }), /cannot be/],
  ['an expired certificate', () => kubeconfigOf(issued(1000)), /expired/],
])('the node bootstraps again: %s', async (_what, make, fault) => {
  expect(await kubeconfigFault(await make(), NOW_MS + 2000)).toMatch(fault);
});

test('the kubeconfig that is written names the certificate to come, twice, and keeps the CA as it was given', async () => {
  const pem = path.join(dir, 'pki/kubelet-client-current.pem');
  const inline = await loadKubeconfig(
    await kubeconfigOf({ token: 't' }, { 'certificate-authority-data': base64(ca.cert) }),
  );
  await writeNodeKubeconfig(file, inline, pem);
  expect((await stat(file)).mode & 0o777).toBe(0o600);
  expect(parse(await readFile(file, 'utf8'))).toEqual({
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [
      {
        name: 'default-cluster',
        cluster: { server: 'https://10.0.0.1:6443', 'certificate-authority-data': base64(ca.cert) },
      },
    ],
    users: [{ name: 'default-auth', user: { 'client-certificate': pem, 'client-key': pem } }],
    contexts: [
      { name: 'default-context', context: { cluster: 'default-cluster', user: 'default-auth', namespace: 'default' } },
    ],
    'current-context': 'default-context',
  });
  const byFile = await loadKubeconfig(await kubeconfigOf({ token: 't' }, { 'certificate-authority': 'ca.crt' }));
  await writeNodeKubeconfig(file, byFile, pem);
  const { clusters } = parse(await readFile(file, 'utf8')) as { clusters: [{ cluster: Record<string, string> }] };
  expect(clusters[0].cluster['certificate-authority']).toBe(path.join(dir, 'ca.crt'));
});
