// PUT /debug/flags/v: how much is logged, changed while the node runs. After apiserver pkg/server/routes/flags.go.
import type { IncomingMessage } from 'node:http';
import type { Handler } from './endpoints.ts';
import { HttpError, sendText } from './http-error.ts';

/** A number; whoever sends more has something else in mind. */
const MAX_BODY_BYTES = 64;

export function verbosityEndpoint(setVerbosity: (v: number) => void): Handler {
  return async ({ request, response }) => {
    if (request.method !== 'PUT') throw new HttpError(406, 'unsupported http method\n');
    const text = await readBody(request);
    const v = Number(text);
    if (!/^[+-]?\d{1,9}$/.test(text)) {
      const why = `strconv.ParseInt: parsing ${JSON.stringify(text)}: invalid syntax`;
      throw new HttpError(400, `failed set klog.logging.verbosity ${text}: ${why}\n`);
    }
    setVerbosity(v);
    sendText(response, 200, `successfully set klog.logging.verbosity to ${text}\n`);
  };
}

/** @throws {HttpError} 400 */
async function readBody(request: IncomingMessage): Promise<string> {
  let text = '';
  // What is left of a body that is too long is the server's to drop: the answer has to get out first.
  for await (const chunk of request.iterator({ destroyOnReturn: false })) {
    text += (chunk as Buffer).toString('latin1');
    if (text.length > MAX_BODY_BYTES) throw new HttpError(400, 'error reading request body: too long\n');
  }
  return text;
}
