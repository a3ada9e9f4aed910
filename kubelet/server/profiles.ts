// /debug/pprof/: what Node.js can say of itself in the places where Go programs put their profiles. The CPU profile is in
// V8's own format (Chrome's developer tools and speedscope read it); what exists in Go alone is refused by name.
import { Session } from 'node:inspector/promises';
import { aborted, linkedSignal } from '../../core/abort.ts';
import type { Handler } from './endpoints.ts';
import { HttpError, NOT_FOUND_TEXT, sendText } from './http-error.ts';

const DEFAULT_SECONDS = 30;
const MAX_SECONDS = 300;
const SECOND_MS = 1000;
/** Go's profiles that have nothing behind them here. */
const GO_ONLY = 'allocs block goroutine heap mutex symbol threadcreate trace'.split(' ');

const INDEX = `<html>
<head><title>/debug/pprof/</title></head>
<body>
<a href="profile?seconds=${DEFAULT_SECONDS}">profile</a>: CPU profile of V8 (.cpuprofile)<br>
<a href="cmdline">cmdline</a>: arguments of the process<br>
</body>
</html>
`;

/** One CPU profile at a time: more would only measure each other. */
export function profilesEndpoint(): Handler {
  let running = false;
  return async ({ response, query, params: { path = '' } }) => {
    if (path === '') return sendText(response, 200, INDEX, { 'Content-Type': 'text/html; charset=utf-8' });
    if (path === 'cmdline') return sendText(response, 200, process.argv.join('\0'));
    if (GO_ONLY.includes(path)) throw new HttpError(501, `${path}: not available from a program on Node.js\n`);
    if (path !== 'profile') throw new HttpError(404, NOT_FOUND_TEXT);
    if (running) throw new HttpError(500, 'Could not enable CPU profiling: cpu profiling already in use\n');
    running = true;
    try {
      using gone = linkedSignal(undefined, secondsOf(query) * SECOND_MS);
      response.once('close', () => gone.abort());
      const profile = await cpuProfile(gone.signal);
      response.writeHead(200, {
        'Content-Type': 'application/json',
        'Content-Disposition': 'attachment; filename="nodelet.cpuprofile"',
      });
      response.end(profile);
    } finally {
      running = false;
    }
  };
}

/** @throws {HttpError} 400 */
function secondsOf(query: URLSearchParams): number {
  const text = query.get('seconds') ?? '';
  if (text === '') return DEFAULT_SECONDS;
  const seconds = Number(text);
  if (/^\d+$/.test(text) && seconds >= 1 && seconds <= MAX_SECONDS) return seconds;
  throw new HttpError(400, `seconds: expected a number from 1 to ${MAX_SECONDS}\n`);
}

async function cpuProfile(until: AbortSignal): Promise<string> {
  const session = new Session();
  session.connect();
  try {
    await session.post('Profiler.enable');
    await session.post('Profiler.start');
    await aborted(until);
    return JSON.stringify((await session.post('Profiler.stop')).profile);
  } finally {
    session.disconnect();
  }
}
