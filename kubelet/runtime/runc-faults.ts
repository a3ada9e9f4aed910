// A fault of runc under load: with tens of starts at once, its first process now and then dies before it has told the
// pid of the container's (`can't get final child's PID from pipe: EOF`). Nothing of the pod's has run by then and the
// next try works, so it is made at once: handing the fault on would show a failed start and, under restartPolicy Never,
// fail the pod for good. Only this text is tried again, and only a few times: a real cause shows itself on each try.
import { errorMessage } from '../../core/errors.ts';

const MAX_TRIES = 3;
const FAULT = /can't get final child's PID from pipe: EOF/;

/** `isLastTry(err)` tells `attempt` whether that error will be handed on. */
export async function withoutRuncFaults<T>(attempt: (isLastTry: (err: unknown) => boolean) => Promise<T>): Promise<T> {
  for (let tries = 1; ; tries++) {
    const isLastTry = (err: unknown) => tries >= MAX_TRIES || !FAULT.test(errorMessage(err));
    try {
      return await attempt(isLastTry);
    } catch (err) {
      if (isLastTry(err)) throw err;
    }
  }
}
