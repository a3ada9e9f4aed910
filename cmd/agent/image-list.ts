// The images on this node, for Node.status: read now and then, since nothing tells of them (images manager, 30 s).
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { Image } from '../../cri/gen/messages.ts';
import type { ImageService } from '../../cri/runtime-service.ts';

/** Upstream reads every 30 s; the list is sent with the status at most every five minutes, so this is soon enough. */
const PERIOD_MS = 60_000;

export class ImageList {
  readonly #images: ImageService;
  readonly #clock: Clock;
  readonly #log: Logger;
  current: readonly Image[] = [];

  constructor(images: ImageService, deps: { clock: Clock; log: Logger }) {
    this.#images = images;
    this.#clock = deps.clock;
    this.#log = deps.log.child({ component: 'images' });
  }

  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        this.current = await this.#images.listImages({ signal });
      } catch (err) {
        if (!signal.aborted) this.#log.warn({ err }, 'images not listed');
      }
      await this.#clock.sleep(PERIOD_MS, signal);
    }
  }
}
