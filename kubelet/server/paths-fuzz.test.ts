import fc from 'fast-check';
import { expect, test } from 'vitest';
import { subresourcesOf } from './auth.ts';
import { HttpError } from './http-error.ts';
import { parseNodeLogQuery } from './node-log-query.ts';
import { type EndpointKind, parseRoute, splitTarget } from './routes.ts';

const RUNS = { seed: 20_261_121, numRuns: 3000 };

/** Targets that are nearly right: real words, dots, slashes and codes of them in any order. */
const target = fc
  .array(
    fc.constantFrom(
      ...'/ // . .. %2e %2E%2e %2f %2F %5c %00 %zz % ? ?query= ; # \\ exec run logs pods metrics healthz stats summary debug pprof'.split(
        ' ',
      ),
      ...'portForward attach containerLogs checkpoint runningpods configz statusz flagz flags v default web main'.split(
        ' ',
      ),
      'Ｅxec',
      '%c0%ae',
      '\u0000',
    ),
    { maxLength: 14 },
  )
  .map((parts) => `/${parts.join('')}`);

/** The least that the server's answers of a kind may be had for; as upstream documents it. */
const NEEDED: Readonly<Partial<Record<EndpointKind, string>>> = {
  healthz: 'healthz',
  pods: 'pods',
  runningPods: 'pods',
  statsSummary: 'stats',
  metrics: 'metrics',
  cadvisorMetrics: 'metrics',
  resourceMetrics: 'metrics',
  probeMetrics: 'metrics',
  sliMetrics: 'metrics',
  configz: 'configz',
  checkpoint: 'checkpoint',
  nodeLogs: 'log',
  statusz: 'statusz',
  flagz: 'configz',
};

test('however a path is written, what is served is what access was given for', () => {
  fc.assert(
    fc.property(target, fc.constantFrom('GET', 'POST', 'PUT'), (text, method) => {
      try {
        const { path } = splitTarget(text);
        const { endpoint } = parseRoute(method, path);
        expect(subresourcesOf(path)[0]).toBe(NEEDED[endpoint.kind] ?? 'proxy');
      } catch (err) {
        expect(err).toBeInstanceOf(HttpError);
        expect([400, 404, 405]).toContain((err as HttpError).code);
      }
    }),
    RUNS,
  );
});

test('any bytes are a route, or an error of the client', () => {
  fc.assert(
    fc.property(fc.string({ unit: 'binary', maxLength: 60 }), (text) => {
      try {
        parseRoute('GET', splitTarget(text).path);
      } catch (err) {
        expect(err).toBeInstanceOf(HttpError);
      }
    }),
    RUNS,
  );
});

test('any query of the node logs is understood, or an error of the client', () => {
  const value = fc.oneof(fc.string({ maxLength: 20 }), fc.constantFrom('', '-1', '(', '../x', '2026-01-02T03:04:05Z'));
  const query = fc.array(
    fc.tuple(fc.constantFrom('query', 'sinceTime', 'untilTime', 'tailLines', 'pattern', 'boot'), value),
    { maxLength: 8 },
  );
  fc.assert(
    fc.property(query, (pairs) => {
      try {
        parseNodeLogQuery(new URLSearchParams(pairs));
      } catch (err) {
        expect(err).toBeInstanceOf(HttpError);
        expect([400, 406]).toContain((err as HttpError).code);
      }
    }),
    RUNS,
  );
});
