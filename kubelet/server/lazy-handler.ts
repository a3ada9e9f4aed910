// Endpoints that are hardly ever asked for: their code is loaded with the first request.
import type { Handler } from './endpoints.ts';

export function lazyHandler(load: () => Promise<Handler>): Handler {
  let handler: Promise<Handler> | undefined;
  return async (call) => {
    handler ??= load();
    await (await handler)(call);
  };
}
