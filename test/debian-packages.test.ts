import { expect, test } from 'vitest';
import { parseDeb822, parseOneLine } from './harness/debian-packages.ts';

test('the mirror and its key are read from deb822 sources, not taken from the security archive', () => {
  const text = [
    'Types: deb',
    'URIs: http://mirror.example/debian-security',
    'Suites: bookworm-security',
    '',
    'Types: deb',
    '# a comment',
    'URIs: http://mirror.example/debian',
    'Suites: bookworm bookworm-updates',
    'Signed-By: /usr/share/keyrings/key.gpg',
  ].join('\n');
  expect(parseDeb822(text)).toEqual({ uri: 'http://mirror.example/debian', signedBy: '/usr/share/keyrings/key.gpg' });
  expect(parseDeb822('URIs: http://mirror.example/debian\nEnabled: no\n')).toBeUndefined();
});

test('the mirror is read from one-line sources, with and without options', () => {
  expect(parseOneLine('# deb http://no.example/debian x main\ndeb http://mirror.example/debian bookworm main')).toEqual(
    {
      uri: 'http://mirror.example/debian',
      signedBy: undefined,
    },
  );
  expect(parseOneLine('deb [arch=amd64 signed-by=/k.gpg] https://mirror.example/debian/ bookworm main')).toEqual({
    uri: 'https://mirror.example/debian/',
    signedBy: '/k.gpg',
  });
  expect(parseOneLine('deb https://packages.example/apt stable main')).toBeUndefined();
});
