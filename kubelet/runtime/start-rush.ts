// Starting pods is what the node is for; while many start at once, telling about them stands back (core/rush.ts).
import type { Rush } from '../../core/rush.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';

const STARTS: ReadonlySet<string | symbol> = new Set<keyof RuntimeService>([
  'runPodSandbox',
  'createContainer',
  'startContainer',
]);

/** `runtime`, whose calls that start something count as urgent work. */
export function countingStarts(runtime: RuntimeService, rush: Rush): RuntimeService {
  const get = (target: RuntimeService, name: string | symbol): unknown => {
    const member: unknown = Reflect.get(target, name, target);
    if (typeof member !== 'function') return member;
    const call = (...args: unknown[]): unknown => Reflect.apply(member, target, args);
    return STARTS.has(name) ? (...args: unknown[]) => rush.during(async () => call(...args)) : call;
  };
  return new Proxy(runtime, { get });
}
