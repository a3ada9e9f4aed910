import { IncomingMessage, ServerResponse } from 'node:http';
import { Socket } from 'node:net';
import { expect, test } from 'vitest';
import { acceptedForm, flagzEndpoint, statuszEndpoint } from './component-pages.ts';
import type { Handler } from './endpoints.ts';

function answerOf(handler: Handler, accept?: string): string {
  const request = new IncomingMessage(new Socket());
  if (accept !== undefined) request.headers.accept = accept;
  let body = '';
  const response = new ServerResponse(request);
  response.end = ((text: string) => {
    body = text;
    return response;
  }) as typeof response.end;
  void handler({ request, response, query: new URLSearchParams(), params: {} });
  return body;
}

const status = statuszEndpoint(() => ({
  startedMs: Date.parse('2026-01-02T03:04:05Z'),
  nowMs: Date.parse('2026-01-02T04:05:06Z'),
  kubernetesVersion: 'v1.36.0',
  paths: ['/healthz', '/pods'],
}));

test('statusz for eyes', () => {
  const lines = answerOf(status).split('\n');
  expect(lines.slice(0, 2)).toEqual(['', 'kubelet statusz']);
  expect(lines).toContain('Up: 1 hr 01 min 01 sec');
  expect(lines).toContain('Binary version: 1.36.0');
  expect(lines).toContain('Emulation version: 1.36');
  expect(lines).toContain('Paths: /healthz /pods');
});

test('statusz and flagz for programs', () => {
  const accept = 'application/json;v=v1beta1;g=config.k8s.io;as=Statusz';
  expect(JSON.parse(answerOf(status, accept))).toEqual({
    kind: 'Statusz',
    apiVersion: 'config.k8s.io/v1beta1',
    metadata: { name: 'kubelet' },
    startTime: '2026-01-02T03:04:05Z',
    uptimeSeconds: 3661,
    goVersion: process.version,
    binaryVersion: '1.36.0',
    emulationVersion: '1.36',
    paths: ['/healthz', '/pods'],
  });
  const flags = flagzEndpoint(() => ({ v: '4', config: '/c' }));
  expect(answerOf(flags)).toMatch(/\nkubelet flagz\n.*\nconfig=\/c\nv=4\n$/s);
  expect(JSON.parse(answerOf(flags, 'application/json; v=v1alpha1; g=config.k8s.io; as=Flagz'))).toMatchObject({
    kind: 'Flagz',
    apiVersion: 'config.k8s.io/v1alpha1',
    flags: { config: '/c', v: '4' },
  });
});

test.each([
  [undefined, 'text'],
  ['*/*', 'text'],
  ['text/html, text/plain', 'text'],
  ['application/json;v=v1beta1;g=config.k8s.io;as=Flagz, text/plain', 'text'],
])('%s is answered as %s', (accept, form) => {
  expect(acceptedForm(accept, 'Statusz')).toBe(form);
});

test.each(['application/json', 'application/json;v=v2;g=config.k8s.io;as=Statusz', 'image/png'])(
  '%s is not to be had',
  (accept) => {
    expect(() => acceptedForm(accept, 'Statusz')).toThrow(expect.objectContaining({ code: 406 }));
  },
);
