// The endpoints that show figures: /stats/summary and all of /metrics. What renders them is loaded with the first scrape.
import { promisify } from 'node:util';
import { constants, gzip } from 'node:zlib';
import { errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { Registry } from '../../core/metrics.ts';
import type { Call, Handlers } from '../server/endpoints.ts';
import { HttpError } from '../server/http-error.ts';
import type { NodeStats } from '../stats/node-stats.ts';
import type { CadvisorFacts } from './cadvisor.ts';
import type { SliMetrics } from './sli-metrics.ts';
import { TEXT_CONTENT_TYPE } from './text.ts';

export interface FigureEndpointsDeps {
  readonly stats: NodeStats;
  readonly cadvisor: CadvisorFacts;
  /** The process's own metrics, and those of probes. */
  readonly own: Registry;
  readonly probes: Registry;
  readonly slis: SliMetrics;
  readonly log: Logger;
}

/** Smaller answers are not worth compressing, bytes: they fit one packet. */
const MIN_GZIP_BYTES = 1400;
const compress = promisify(gzip);

export function figureEndpoints(deps: FigureEndpointsDeps): Handlers {
  const { stats, own, probes, slis } = deps;
  return {
    statsSummary: async (call) => {
      try {
        const summary = isReduced(call.query) ? await stats.reducedSummary() : await stats.summary();
        await send(call, JSON.stringify(summary, null, 1), 'application/json');
      } catch (err) {
        throw new HttpError(500, `Internal Error: ${errorMessage(err)}`);
      }
    },
    metrics: async (call) => send(call, await own.metrics(), own.contentType),
    resourceMetrics: async (call) => {
      const { renderResourceMetrics } = await import('./resource-metrics.ts');
      await send(call, renderResourceMetrics(await sampled(deps, 'use')), TEXT_CONTENT_TYPE);
    },
    cadvisorMetrics: async (call) => {
      const { renderCadvisorMetrics } = await import('./cadvisor.ts');
      await send(call, await renderCadvisorMetrics(await sampled(deps, 'details'), deps.cadvisor), TEXT_CONTENT_TYPE);
    },
    probeMetrics: async (call) => send(call, await probes.metrics(), probes.contentType),
    sliMetrics: async (call) => send(call, slis.render(), TEXT_CONTENT_TYPE),
  };
}

/** As upstream reads it: named once, and true. */
function isReduced(query: URLSearchParams): boolean {
  const values = query.getAll('only_cpu_and_memory');
  return values.length === 1 && values[0] === 'true';
}

/** Undefined, which every endpoint shows in a metric of its own, when the figures cannot be read. */
async function sampled({ stats, log }: FigureEndpointsDeps, depth: 'use' | 'details') {
  try {
    return await stats.sample(depth);
  } catch (err) {
    log.warn({ err }, 'figures of cgroups cannot be read');
    return undefined;
  }
}

async function send({ request, response }: Call, text: string, contentType: string): Promise<void> {
  const plain = Buffer.from(text, 'utf8');
  const wanted = /\bgzip\b/.test(String(request.headers['accept-encoding'] ?? ''));
  const packed = wanted && plain.length >= MIN_GZIP_BYTES;
  const body = packed ? await compress(plain, { level: constants.Z_BEST_SPEED }) : plain;
  response.writeHead(200, {
    'Content-Type': contentType,
    'Content-Length': body.length,
    ...(packed ? { 'Content-Encoding': 'gzip' } : {}),
  });
  response.end(body);
}
