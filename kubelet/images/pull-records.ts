// Keeps the pull records true over pulls, garbage collection and crashes, and answers whether a present image must be
// pulled again to show that a pod may use it. After pkg/kubelet/images/pullmanager/image_pull_manager.go.
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { ImageService } from '../../cri/runtime-service.ts';
import { repositoryOf } from '../runtime/image-ref.ts';
import { type CredentialSource, grantedBy, mustVerify, type VerificationOptions, withAccess } from './pull-access.ts';
import { PullRecordFiles } from './pull-record-files.ts';

export interface PullRecordsDeps {
  readonly images: Pick<ImageService, 'listImages'>;
  readonly clock: Clock;
  readonly log: Logger;
}

/** What pulling needs of the records. */
export type PullRecorder = Pick<PullRecords, 'mustPull' | 'beginPull' | 'pulled' | 'pullFailed' | 'pullUnanswered'>;

export class PullRecords {
  readonly #files: PullRecordFiles;
  readonly #opts: VerificationOptions;
  readonly #deps: PullRecordsDeps;
  readonly #log: Logger;
  /** Pulls of an image that go on now: its intent stays until the last has ended. */
  readonly #pulling = new Map<string, number>();
  /** Images of which a pull may have succeeded unseen: their intents stay until one is seen to. */
  readonly #unanswered = new Set<string>();
  /** One change of a record, or of an intent, at a time. */
  readonly #turns = new Map<string, Promise<unknown>>();

  constructor(opts: VerificationOptions & { readonly rootDir: string }, deps: PullRecordsDeps) {
    this.#files = new PullRecordFiles(opts.rootDir);
    this.#opts = opts;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'pull-records' });
  }

  /**
   * To be called once, before the first pull. A pull of which the end was not written may have succeeded: its image
   * gets a record that opens it to nobody, so that access is shown again. @throws when the directories cannot be made.
   */
  async recover(): Promise<void> {
    await this.#files.prepare();
    const intents = await this.#files.intents();
    if (intents.length === 0) return;
    const present = await this.#deps.images.listImages();
    for (const image of intents) {
      const found = present.filter((i) => [...i.repoTags, ...i.repoDigests].some((name) => sameImage(name, image)));
      for (const { id } of found) {
        const record = await this.#files.pulled(id).catch(() => undefined); // one that cannot be read is made anew
        const credentialMapping = { [repositoryOf(image)]: {}, ...record?.credentialMapping };
        await this.#files.writePulled({ imageRef: id, lastUpdatedTime: this.#now(), credentialMapping });
      }
      await this.#files.removeIntent(image);
    }
  }

  /** Before each pull. @throws when it cannot be written: an unrecorded image would be open to everybody. */
  async beginPull(image: string): Promise<void> {
    await this.#inTurn(image, async () => {
      const count = this.#pulling.get(image) ?? 0;
      if (count === 0) await this.#files.writeIntent(image);
      this.#pulling.set(image, count + 1);
    });
  }

  /** After a pull that failed. */
  async pullFailed(image: string): Promise<void> {
    await this.#endPull(image);
  }

  /**
   * After a pull of which nobody knows how it ended. The image may be there: without an intent it would count as one that
   * this node never pulled, and be open to pods without credentials.
   */
  async pullUnanswered(image: string): Promise<void> {
    this.#unanswered.add(image);
    await this.#endPull(image);
  }

  /** After a pull with the credential from `source`. What cannot be written leaves the intent, which is as strict. */
  async pulled(image: string, imageRef: string, source: CredentialSource): Promise<void> {
    try {
      await this.#grant(image, imageRef, source);
    } catch (err) {
      this.#log.warn({ err, image }, 'pull record not written, the image is pulled again for each pod');
      this.#countDown(image);
      return;
    }
    this.#unanswered.delete(image);
    await this.#endPull(image);
  }

  /** `sources` is asked for only when the image is not open to all. Records that cannot be read force a pull. */
  async mustPull(
    image: string,
    imageRef: string,
    sources: () => Promise<readonly CredentialSource[]>,
  ): Promise<boolean> {
    if (this.#opts.policy === 'NeverVerify') return false;
    try {
      const record = await this.#files.pulled(imageRef);
      const pulledByUs = record !== undefined || this.#pulling.has(image) || (await this.#files.hasIntent(image));
      if (!mustVerify(image, pulledByUs, this.#opts)) return false;
      const access = record?.credentialMapping[repositoryOf(image)];
      if (access === undefined) return true;
      if (grantedBy(access, []) === 'everyone') return false;
      const granted = grantedBy(access, await sources());
      if (granted === undefined || granted === 'everyone') return true;
      // A copy of the secret, or its new content, is known from now on. To remember is not needed to grant.
      await this.#grant(image, imageRef, granted).catch((err: unknown) => {
        this.#log.warn({ err, image }, 'pull record not brought up to date');
      });
      return false;
    } catch (err) {
      this.#log.warn({ err, image }, 'pull records not readable, pulling to be sure');
      return true;
    }
  }

  /** After image garbage collection: drops records, not written since, of images that are gone. */
  async prune(imageIds: readonly string[], startedAtMs: number): Promise<void> {
    const left = new Set(imageIds);
    for (const record of await this.#files.allPulled()) {
      // Seconds are all that a record tells.
      const isOlder = Date.parse(record.lastUpdatedTime) + 1000 <= startedAtMs || record.lastUpdatedTime === '';
      if (isOlder && !left.has(record.imageRef)) await this.#files.removePulled(record.imageRef);
    }
  }

  async #grant(image: string, imageRef: string, source: CredentialSource): Promise<void> {
    await this.#inTurn(imageRef, async () => {
      const record = await this.#files.pulled(imageRef).catch(() => undefined); // a broken one is written anew
      const next = withAccess(record, imageRef, image, source, this.#deps.clock.now());
      if (next !== undefined) await this.#files.writePulled(next);
    });
  }

  async #endPull(image: string): Promise<void> {
    await this.#inTurn(image, async () => {
      if (this.#countDown(image) && !this.#unanswered.has(image)) await this.#files.removeIntent(image);
    }).catch((err: unknown) => this.#log.warn({ err, image }, 'pull intent not removed'));
  }

  /** True when it was the last. */
  #countDown(image: string): boolean {
    const count = (this.#pulling.get(image) ?? 1) - 1;
    if (count > 0) this.#pulling.set(image, count);
    else this.#pulling.delete(image);
    return count <= 0;
  }

  async #inTurn(key: string, change: () => Promise<void>): Promise<void> {
    const before = this.#turns.get(key) ?? Promise.resolve();
    const turn = before.then(change);
    const settled = turn.catch(() => {}); // the caller of the one before has its error
    this.#turns.set(key, settled);
    try {
      await turn;
    } finally {
      if (this.#turns.get(key) === settled) this.#turns.delete(key);
    }
  }

  #now(): string {
    return new Date(this.#deps.clock.now()).toISOString().replace(/\.\d+Z$/, 'Z');
  }
}

/** Runtimes write names out in full: `busybox:1` is `docker.io/library/busybox:1`. */
function sameImage(fullName: string, image: string): boolean {
  try {
    return fullName === `${repositoryOf(image)}${suffixOf(image)}`;
  } catch {
    return false; // not a name: nothing of that kind was pulled
  }
}

function suffixOf(image: string): string {
  const at = image.indexOf('@');
  if (at >= 0) return image.slice(at);
  return image.slice(image.lastIndexOf(':'));
}
