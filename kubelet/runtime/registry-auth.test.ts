import { expect, test } from 'vitest';
import type { Secret } from '../../api/kinds.ts';
import { keyringFromSecrets } from './registry-auth.ts';

const base64 = (text: string) => Buffer.from(text).toString('base64');

function secret(auths: Record<string, unknown>): Secret {
  return { type: 'kubernetes.io/dockerconfigjson', data: { '.dockerconfigjson': base64(JSON.stringify({ auths })) } };
}

const user = (username: string) => ({ username, password: 'pw' });
const users = (keys: Record<string, string>, image: string) =>
  keyringFromSecrets([secret(Object.fromEntries(Object.entries(keys).map(([k, u]) => [k, user(u)])))])
    .lookup(image)
    .map((c) => c.username);

test.each<[string, Record<string, string>, string, string[]]>([
  ['same host', { 'reg.io': 'a' }, 'reg.io/x/y:1', ['a']],
  ['other host', { 'reg.io': 'a' }, 'reg.com/x', []],
  ['scheme and API version are dropped', { 'https://reg.io/v2/': 'a' }, 'reg.io/x', ['a']],
  ['longest path first, all matches', { 'reg.io': 'a', 'reg.io/team': 'b' }, 'reg.io/team/x', ['b', 'a']],
  ['path is a prefix', { 'reg.io/team': 'b' }, 'reg.io/other/x', []],
  ['glob in a host part', { '*.reg.io': 'a' }, 'eu.reg.io/x', ['a']],
  ['a glob does not cross a dot', { '*.reg.io': 'a' }, 'a.eu.reg.io/x', []],
  ['port must be equal', { 'reg.io:5000': 'a' }, 'reg.io/x', []],
  ['with its port', { 'reg.io:5000': 'a' }, 'reg.io:5000/x', ['a']],
  ['docker hub', { 'https://index.docker.io/v1/': 'a' }, 'busybox', ['a']],
  ['by the name images have of it', { 'docker.io': 'a' }, 'busybox', ['a']],
  ['docker.io is the hub too', { 'index.docker.io': 'a' }, 'docker.io/library/busybox', ['a']],
])('%s', (_, keys, image, want) => {
  expect(users(keys, image)).toEqual(want);
});

test('both secret types and the joined form of user and password', () => {
  const old: Secret = {
    type: 'kubernetes.io/dockercfg',
    data: { '.dockercfg': base64(JSON.stringify({ 'reg.io': { auth: base64('bob:a:b') } })) },
  };
  expect(keyringFromSecrets([old]).lookup('reg.io/x')).toMatchObject([{ username: 'bob', password: 'a:b' }]);
  expect(keyringFromSecrets([{ type: 'Opaque', data: { '.dockercfg': base64('{') } }]).lookup('reg.io/x')).toEqual([]);
});

test('a broken secret is an error that names it and does not quote it', () => {
  const broken: Secret = {
    metadata: { namespace: 'ns', name: 's' },
    type: 'kubernetes.io/dockercfg',
    data: { '.dockercfg': base64('hunter2') },
  };
  expect(() => keyringFromSecrets([broken])).toThrow(/^secret ns\/s: \.dockercfg is not a JSON object$/);
});
