// What is expected here is what Go's net/url makes of the same text.
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatGoUrl, hostnameOf, parseGoUrl, pathOnly, portOf, requestTarget, resolveGoUrl } from './go-url.ts';

const sent = (text: string): string => requestTarget(parseGoUrl(text));

describe('what is sent of', () => {
  test.each([
    ['', '/'],
    ['/', '/'],
    ['healthz', 'healthz'], // formatting puts the slash before it
    ['/a/../b/./c', '/a/../b/./c'],
    ['/a\\b', '/a%5Cb'],
    ['/a b', '/a%20b'],
    ['/%41%2f%2F', '/%41%2f%2F'],
    ['/%41 %2f', '/A%20/'], // escaped anew as a whole, since it was not escaped well
    ["/!'()*[];,:@&=+$~", "/!'()*[];,:@&=+$~"],
    ["/!'()*[] ", '/%21%27%28%29%2A%5B%5D%20'],
    ['/ü😀', '/%C3%BC%F0%9F%98%80'],
    ['/%FF ', '/%FF%20'], // bytes, not characters
    ['/"<>^`{|}', '/%22%3C%3E%5E%60%7B%7C%7D'],
    ['?', '/?'],
    ['/a?', '/a?'],
    ['/a?b?c', '/a?b?c'],
    ['/a?x=ü %zz', '/a?x=ü %zz'],
    ['/a#b?c', '/a'],
    ['/a#', '/a'],
    ['*', '*'],
    ['//host/path', '/path'],
    ['//host', '/'],
    ['///path', '///path'],
    ['HTTP://user:pw@host:1/path?q', '/path?q'],
    ['1.2.3.4/x', '1.2.3.4/x'],
  ])('%j', (text, target) => {
    expect(sent(text)).toBe(target);
  });
});

test.each([
  ['/%', 'invalid URL escape "%"'],
  ['/%zz', 'invalid URL escape "%zz"'],
  ['/a#%2', 'invalid URL escape "%2"'],
  ['/a\n', 'net/url: invalid control character in URL'],
  [':80/x', 'missing protocol scheme'],
  ['1.2.3.4:80/x', 'first path segment in URL cannot contain colon'],
  ['//a b/', 'invalid character " " in host name'],
  ['//[::1/', "missing ']' in host"],
  ['http://a:x/', 'invalid port ":x" after host'],
  ['http://a%20b/', 'invalid URL escape "%20"'],
])('%j is no URL', (text, why) => {
  expect(() => parseGoUrl(text)).toThrow(`parse ${JSON.stringify(text)}: ${why}`);
});

test.each([
  ['http://10.0.0.1:8080/x', '10.0.0.1', 8080],
  ['https://[fd00::1]:1/x', 'fd00::1', 1],
  ['https://[fd00::1]', 'fd00::1', 443],
  ['http://a.example', 'a.example', 80],
])('%s leads to %s, port %i', (text, host, port) => {
  const url = parseGoUrl(text);
  expect([hostnameOf(url), portOf(url)]).toEqual([host, port]);
  expect(formatGoUrl(url)).toBe(text);
});

test('a path alone is escaped whole, and a scheme without slashes has no host', () => {
  expect(requestTarget(pathOnly('/a?b#c%zz\n'))).toBe('/a%3Fb%23c%25zz%0A');
  const odd = parseGoUrl('localhost:80/x');
  expect([odd.host, formatGoUrl({ ...odd, scheme: 'http', host: '10.0.0.1:80' })]).toEqual(['', 'http:80/x']);
});

// RFC 3986 5.4, and what servers send besides.
test.each([
  ['g', 'http://a/b/c/g'],
  ['./g/', 'http://a/b/c/g/'],
  ['/g?y', 'http://a/g?y'],
  ['?y', 'http://a/b/c/d;p?y'],
  ['#s', 'http://a/b/c/d;p?q#s'],
  ['', 'http://a/b/c/d;p?q'],
  ['.', 'http://a/b/c/'],
  ['../..', 'http://a/'],
  ['../../../g', 'http://a/g'],
  ['/./g/../h', 'http://a/h'],
  ['//g:80/x', 'http://g:80/x'],
  ['https://g/a/../x y', 'https://g/x%20y'],
])('%j at http://a/b/c/d;p?q means %s', (reference, meant) => {
  expect(formatGoUrl(resolveGoUrl(parseGoUrl('http://a/b/c/d;p?q'), reference))).toBe(meant);
});

test('whatever a path is, what is sent of it is one word up to its query, and reading it again changes nothing', () => {
  fc.assert(
    fc.property(fc.string({ unit: fc.constantFrom(...'/%?#:[]@*. aZ2\\"ü😀\n'), maxLength: 20 }), (path) => {
      let url = pathOnly(path);
      try {
        url = parseGoUrl(path);
      } catch {
        // no URL: sent as the path that it is
      }
      const text = formatGoUrl({ ...url, opaque: '', scheme: 'http', host: '10.0.0.1:80' });
      const again = parseGoUrl(text);
      expect(formatGoUrl(again)).toBe(text);
      expect(requestTarget(again)).toMatch(/^\/[!-~]*(\?[^\n\r]*)?$/);
    }),
  );
});
