// The images on this node, for Node.status (pkg/kubelet/images image manager). Upstream reads the list every 30 s; here
// the runtime's own events say when it has changed, and a slow look covers what they may lose.
import { linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { runTasks } from '../../core/tasks.ts';
import { isCriError } from '../../cri/errors.ts';
import type { Image } from '../../cri/gen/messages.ts';
import type { ImageEvents, ImageService } from '../../cri/runtime-service.ts';

/** Where nothing tells of changes; also after each new subscription, which may have begun after a change. */
const PERIOD_MS = 30_000;
const PERIOD_WITH_EVENTS_MS = 300_000;
/** A pull is a burst of changes. */
const SETTLE_MS = 1_000;
/** A runtime without such events may be replaced by one that has them. */
const NO_STREAM_RETRY_MS = 300_000;

type Source = Pick<ImageService, 'listImages'> & ImageEvents;

export class ImageList {
  readonly #images: Source;
  readonly #clock: Clock;
  readonly #log: Logger;
  #following = false;
  #changed = false;
  #wake: (() => void) | undefined;
  current: readonly Image[] = [];

  constructor(images: Source, deps: { clock: Clock; log: Logger }) {
    this.#images = images;
    this.#clock = deps.clock;
    this.#log = deps.log.child({ component: 'images' });
  }

  async run(signal: AbortSignal): Promise<void> {
    await runTasks(signal, { list: (s) => this.#listLoop(s), changes: (s) => this.#follow(s) });
  }

  async #listLoop(signal: AbortSignal): Promise<void> {
    for (let slow = false; !signal.aborted; ) {
      this.#changed = false; // before the list: a change during it must cause another
      let listed = false;
      try {
        this.current = await this.#images.listImages({ signal });
        listed = true;
      } catch (err) {
        if (!signal.aborted) this.#log.warn({ err }, 'images not listed');
      }
      await this.#clock.sleep(SETTLE_MS, signal);
      await this.#untilChange(slow && listed ? PERIOD_WITH_EVENTS_MS : PERIOD_MS, signal);
      slow = this.#following;
    }
  }

  async #untilChange(ms: number, signal: AbortSignal): Promise<void> {
    if (this.#changed) return;
    using waiting = linkedSignal(signal);
    this.#wake = () => waiting.abort();
    await this.#clock.sleep(ms, waiting.signal);
    this.#wake = undefined;
  }

  async #follow(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      let retryMs = PERIOD_MS;
      try {
        this.#following = true;
        for await (const _change of this.#images.imageChanges(signal)) this.#request();
      } catch (err) {
        if (isCriError(err, 'UNIMPLEMENTED')) retryMs = NO_STREAM_RETRY_MS;
        else if (!signal.aborted) this.#log.warn({ err }, 'changes of images are not told any more, will ask again');
      }
      this.#following = false;
      this.#request(); // what changed since nobody tells
      await this.#clock.sleep(retryMs, signal);
    }
  }

  #request(): void {
    this.#changed = true;
    this.#wake?.();
  }
}
