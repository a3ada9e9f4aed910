// Starting pods is what the node is for. While many start at once, telling about them stands back (core/rush.ts); and
// so many sandboxes at once that each waits for the others make none of them sooner, but all of them take memory.
import type { Clock } from '../../core/clock.ts';
import type { Rush } from '../../core/rush.ts';
import type { Slots } from '../../core/slots.ts';
import type { CriCallOptions, RuntimeService } from '../../cri/runtime-service.ts';

export interface StartPace {
  readonly rush: Rush;
  /** Sandboxes being made at once. */
  readonly sandboxes: Slots;
  readonly clock: Clock;
}

/** A sandbox that takes longer waits for something else than the CPU: others need not wait for it, ms. */
const SLOT_HOLD_MS = 1_000;

/** `runtime`, whose calls that start something count as urgent work, and of which sandboxes wait for their turn. */
export function pacedStarts(runtime: RuntimeService, pace: StartPace): RuntimeService {
  const urgent: Partial<RuntimeService> = {
    runPodSandbox: (config, handler, opts) =>
      pace.rush.during(() => inTurn(pace, opts, () => runtime.runPodSandbox(config, handler, opts))),
    createContainer: (...args) => pace.rush.during(() => runtime.createContainer(...args)),
    startContainer: (...args) => pace.rush.during(() => runtime.startContainer(...args)),
  };
  return new Proxy(runtime, {
    get(target, name) {
      if (name in urgent) return urgent[name as keyof RuntimeService];
      const member: unknown = Reflect.get(target, name, target);
      return typeof member === 'function' ? member.bind(target) : member;
    },
  });
}

/** @throws the reason of the call's signal when it aborts before the turn comes. */
async function inTurn<T>(pace: StartPace, opts: CriCallOptions | undefined, work: () => Promise<T>): Promise<T> {
  using slot = await pace.sandboxes.take(opts?.signal ?? NEVER);
  using _limit = pace.clock.setTimer(SLOT_HOLD_MS, () => slot[Symbol.dispose]());
  return await work();
}

const NEVER = new AbortController().signal;
