// HTTP probes: any status from 200 to 399 is good (pkg/probe/http).
import { errorMessage } from '../core/errors.ts';
import { ResponseCut } from './http-exchange.ts';
import { type HttpGet, HttpGetRequest } from './http-get.ts';
import type { HttpResponse } from './http-response.ts';
import { PROBE_USER_AGENT, type ProbeOutcome } from './outcome.ts';

/** A probe made ready to be sent again and again. */
export class HttpProbeRequest {
  readonly #request: HttpGetRequest;

  /** @throws Error when the host is none. */
  constructor(get: HttpGet) {
    this.#request = new HttpGetRequest(get, PROBE_USER_AGENT);
  }

  async send(signal: AbortSignal): Promise<ProbeOutcome> {
    try {
      return outcomeOf(await this.#request.send(signal));
    } catch (err) {
      // A body that does not come whole says nothing sure about the server: the attempt is made again.
      if (err instanceof ResponseCut) return { kind: 'error', message: err.message, state: 'failure' };
      return { kind: 'failure', output: errorMessage(err) };
    }
  }
}

function outcomeOf({ status, body }: HttpResponse): ProbeOutcome {
  if (status >= 200 && status < 300) return { kind: 'success', output: body };
  // A redirect that is the last answer was not followed: to whom it leads is not this pod's health.
  if (status >= 300 && status < 400) {
    return { kind: 'warning', output: `Probe terminated redirects, Response body: ${body}` };
  }
  return { kind: 'failure', output: `HTTP probe failed with statuscode: ${status}` };
}
