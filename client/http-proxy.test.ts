import { expect, test } from 'vitest';
import { proxyFor } from './http-proxy.ts';

const SERVER = 'https://api.example.com:6443';
const HTTPS_PROXY = 'http://proxy:3128';

test.each<[string, Record<string, string>, string | undefined]>([
  [SERVER, {}, undefined],
  [SERVER, { HTTPS_PROXY }, HTTPS_PROXY],
  [SERVER, { https_proxy: HTTPS_PROXY }, HTTPS_PROXY],
  [SERVER, { HTTPS_PROXY: 'proxy:3128' }, HTTPS_PROXY],
  [SERVER, { HTTP_PROXY: HTTPS_PROXY }, undefined],
  ['http://api.example.com', { HTTP_PROXY: HTTPS_PROXY }, HTTPS_PROXY],
  ['http://api.example.com', { HTTPS_PROXY }, undefined],
  ['https://localhost:6443', { HTTPS_PROXY }, undefined],
  ['https://127.0.0.2:6443', { HTTPS_PROXY }, undefined],
  ['https://[::1]:6443', { HTTPS_PROXY }, undefined],
])('%s with %j', (server, env, expected) => {
  expect(proxyFor(server, env)).toBe(expected);
});

test.each<[string, string, boolean]>([
  ['*', SERVER, true],
  [' other.org , EXAMPLE.com', SERVER, true],
  ['.example.com', SERVER, true],
  ['*.example.com', SERVER, true],
  ['api.example.com', SERVER, true],
  ['.api.example.com', SERVER, false],
  ['ample.com', SERVER, false],
  ['example.com:6443', SERVER, true],
  ['example.com:443', SERVER, false],
  ['example.com:443', 'https://example.com', true],
  ['example.com:80', 'http://example.com', true],
  ['10.0.0.0/8', 'https://10.1.2.3:6443', true],
  ['10.0.0.0/8', 'https://11.1.2.3:6443', false],
  ['10.0.0.0/33,10.1.2.3', 'https://10.1.2.3:6443', true],
  ['10.1.2.3:6443', 'https://10.1.2.3:6443', true],
  ['10.1.2.3:443', 'https://10.1.2.3:6443', false],
  ['10.0.0.0/8', SERVER, false],
  ['fd00::/8', 'https://[fd00::1]:6443', true],
  ['fd00:0::1', 'https://[fd00::1]:6443', true],
  ['[fd00::1]:6443', 'https://[fd00::1]:6443', true],
  ['[fd00::1]', 'https://[fd00::2]:6443', false],
  [',,', SERVER, false],
])('NO_PROXY=%s: whether %s is reached without one', (list, server, expected) => {
  const proxies = { HTTPS_PROXY, HTTP_PROXY: HTTPS_PROXY };
  expect(proxyFor(server, { ...proxies, NO_PROXY: list }) === undefined).toBe(expected);
  expect(proxyFor(server, { ...proxies, no_proxy: list }) === undefined).toBe(expected);
});
