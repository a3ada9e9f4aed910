import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { stringify } from 'yaml';
import { loadKubeconfig, parseKubeconfig } from './kubeconfig.ts';

const pem = (what: string) => `-----BEGIN ${what}-----\nAAAA\n-----END ${what}-----\n`;
const base64 = (text: string) => Buffer.from(text).toString('base64');

interface Parts {
  cluster?: Record<string, unknown>;
  user?: Record<string, unknown>;
  root?: Record<string, unknown>;
}

function text({ cluster = {}, user = {}, root = {} }: Parts): string {
  return stringify({
    apiVersion: 'v1',
    kind: 'Config',
    'current-context': 'lab',
    contexts: [
      { name: 'other', context: { cluster: 'none', user: 'none' } },
      { name: 'lab', context: { cluster: 'c', user: 'u', namespace: 'team' } },
    ],
    clusters: [{ name: 'c', cluster: { server: 'https://10.0.0.1:6443/', ...cluster } }],
    users: [{ name: 'u', user }],
    ...root,
  });
}

const parse = (parts: Parts = {}) => parseKubeconfig(text(parts), '/etc/nodelet/kubeconfig');

test('certificates in the text and in files beside it', () => {
  const config = parse({
    cluster: { 'certificate-authority': 'pki/ca.crt', 'tls-server-name': 'api' },
    user: { 'client-certificate-data': base64(pem('CERTIFICATE')), 'client-key': '/keys/a.key' },
  });
  expect(config).toEqual({
    server: 'https://10.0.0.1:6443',
    insecureSkipTlsVerify: false,
    ca: { file: '/etc/nodelet/pki/ca.crt' },
    tlsServerName: 'api',
    clientCert: { data: pem('CERTIFICATE') },
    clientKey: { file: '/keys/a.key' },
    namespace: 'team',
    user: 'u',
  });
});

test('a token file wins over a token', () => {
  expect(parse({ user: { token: 't' } })).toMatchObject({ token: 't' });
  const both = parse({ user: { token: 't', tokenFile: 'token' } });
  expect(both).toMatchObject({ tokenFile: '/etc/nodelet/token' });
  expect(both).not.toHaveProperty('token');
});

test('exec plugins', () => {
  const exec = {
    apiVersion: 'client.authentication.k8s.io/v1',
    command: './bin/login',
    args: ['--quiet'],
    env: [{ name: 'A', value: 'b' }],
    installHint: 'install login',
  };
  expect(parse({ user: { exec } }).exec).toEqual({
    apiVersion: exec.apiVersion,
    command: '/etc/nodelet/bin/login',
    args: ['--quiet'],
    env: { A: 'b' },
    installHint: 'install login',
    provideClusterInfo: false,
  });
});

test('http servers and other contexts are fine', () => {
  expect(parse({ cluster: { server: 'http://127.0.0.1:8080' } }).server).toBe('http://127.0.0.1:8080');
  expect(() => parseKubeconfig(text({}), '/k', 'other')).toThrow('/k: users has no entry named "none"');
});

test.each<[Parts, string]>([
  [{ cluster: { server: 'api:6443' } }, 'http://api:6443'],
  [{ cluster: { server: '10.0.0.1/', 'insecure-skip-tls-verify': true } }, 'https://10.0.0.1'],
  [{ cluster: { server: 'api:6443', 'certificate-authority': 'ca' } }, 'https://api:6443'],
  [{ cluster: { server: 'api' }, user: { 'client-certificate': 'c', 'client-key': 'k' } }, 'https://api'],
])('%j: a server without a scheme is %s', (parts, server) => {
  expect(parse(parts).server).toBe(server);
});

test.each<[Parts, string]>([
  [{ root: { 'current-context': '' } }, 'current-context is not set'],
  [{ root: { 'current-context': 'x' } }, 'contexts has no entry named "x"'],
  [{ root: { clusters: {} } }, 'clusters must be a list'],
  [{ root: { users: [] } }, 'users has no entry named "u"'],
  [{ cluster: { server: '' } }, 'clusters[c].cluster.server is not set'],
  [{ cluster: { server: 'ftp://x' } }, 'clusters[c].cluster.server "ftp://x" is not an http or https URL'],
  [{ cluster: { server: 5 } }, 'clusters[c].cluster.server must be a string'],
  [{ cluster: { server: 'api:6443/k8s' } }, 'clusters[c].cluster.server "api:6443/k8s" is not an http or https URL'],
  [{ cluster: { 'proxy-url': 'socks5://x' } }, 'proxy-url "socks5://x" is not an http or https URL'],
  [{ cluster: { 'certificate-authority-data': 'AAAA' } }, 'certificate-authority-data is not base64 of PEM'],
  [{ cluster: { 'certificate-authority': 'ca', 'insecure-skip-tls-verify': true } }, 'insecure-skip-tls-verify cannot'],
  [{ user: { 'client-certificate': 'c' } }, 'users[u].user.client-key is not set'],
  [{ user: { 'client-key': 'c' } }, 'users[u].user.client-certificate is not set'],
  [{ user: { username: 'x', password: 'y' } }, 'users[u].user.username is not supported'],
  [{ user: { 'auth-provider': { name: 'x' } } }, 'users[u].user.auth-provider is not supported'],
  [{ user: { exec: { command: 'x', apiVersion: 'v0' } } }, 'users[u].user.exec.apiVersion must be'],
])('%j: %s', (parts, message) => {
  expect(() => parse(parts)).toThrow(expect.objectContaining({ code: 'KUBECONFIG_INVALID' }));
  expect(() => parse(parts)).toThrow(message);
});

test.each(['', '[]', 'a: [', 'a: &x [1]\nb: [*x, *x]'])('%j is no kubeconfig', (bad) => {
  expect(() => parseKubeconfig(bad, '/k')).toThrow(/^kubeconfig \/k/);
});

test('a file that cannot be read is named, with what to do', async () => {
  await expect(loadKubeconfig('/nonexistent/kubeconfig')).rejects.toMatchObject({
    code: 'KUBECONFIG_UNREADABLE',
    message: 'cannot read kubeconfig /nonexistent/kubeconfig: ENOENT',
    hint: expect.stringContaining('--kubeconfig'),
  });
});

test('a file is read with paths relative to it', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'kubeconfig-test-'));
  try {
    const file = path.join(dir, 'config');
    await writeFile(file, text({ cluster: { 'certificate-authority': 'ca.crt' } }));
    expect((await loadKubeconfig(file)).ca).toEqual({ file: path.join(dir, 'ca.crt') });
    const env = { HTTPS_PROXY: 'http://proxy:1', HTTP_PROXY: 'http://proxy:1' };
    expect((await loadKubeconfig(file, undefined, env)).proxy).toBe('http://proxy:1');
    await writeFile(file, text({ cluster: { 'proxy-url': 'https://own:2' } }));
    expect((await loadKubeconfig(file, undefined, { ...env, NO_PROXY: '*' })).proxy).toBe('https://own:2');
  } finally {
    await rm(dir, { recursive: true });
  }
});
