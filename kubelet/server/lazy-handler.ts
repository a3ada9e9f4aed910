// Endpoints that are hardly ever asked for: their code is loaded with the first request.
import { once } from '../../core/once.ts';
import type { Handler } from './endpoints.ts';

export function lazyHandler(load: () => Promise<Handler>): Handler {
  const loaded = once(load);
  return async (call) => await (await loaded())(call);
}
