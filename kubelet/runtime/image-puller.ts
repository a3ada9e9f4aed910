// Makes sure that an image is on the node before a container is created from it: pull policy, credentials, back-off,
// and the reasons and Events a user sees (pkg/kubelet/images/image_manager.go).
import type { ObjectReference } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import type { EventRecorder } from '../../client/event-recorder.ts';
import { TokenBucket } from '../../client/token-bucket.ts';
import { KeyedBackoff } from '../../core/backoff.ts';
import type { Clock } from '../../core/clock.ts';
import { errorMessage } from '../../core/errors.ts';
import { formatGoDuration } from '../../core/go-duration.ts';
import { Slots } from '../../core/slots.ts';
import { isCriError } from '../../cri/errors.ts';
import type { Image, PodSandboxConfig } from '../../cri/gen/messages.ts';
import type { ImageService, Init } from '../../cri/runtime-service.ts';
import type { CredentialSource } from '../images/pull-access.ts';
import type { PullRecorder } from '../images/pull-records.ts';
import type { KubeletObserver } from '../metrics/observer.ts';
import { applyDefaultTag, defaultPullPolicy } from './image-ref.ts';
import { authConfigOf, type CredentialLookup, type RegistryCredential } from './registry-auth.ts';

const BACKOFF_INITIAL_MS = 10_000;
/** A look this soon after a failed pull finds it in back-off, and says so: else users would never see ImagePullBackOff. */
const SHOW_BACKOFF_MS = 1_000;
const BACKOFF_MAX_MS = 300_000;

export interface ImagePullerOptions {
  /** Pulls at the same time; 1 is the kubelet's default (serializeImagePulls). */
  readonly maxParallelPulls: number;
  /** registryPullQPS: pulls that may begin per second, 0 for no limit. */
  readonly pullsPerSecond: number;
  /** registryBurst. */
  readonly pullBurst: number;
}

export interface EnsureImageInput {
  readonly pod: Pod;
  /** What the Events are about: the pod with the container's field path. */
  readonly about: ObjectReference;
  /** As written in the spec. */
  readonly image: string;
  readonly pullPolicy: string | undefined;
  readonly sandboxConfig: Init<PodSandboxConfig>;
  /** Asked for only when something is pulled. */
  readonly keyring: () => Promise<CredentialLookup>;
  /** An answer that is already under way (`lookUp`), so that it costs no time here. */
  readonly lookedUp?: Promise<ImageLookup> | undefined;
  readonly signal: AbortSignal;
}

/** What is asked about an image before it is used. */
export type ImageLookupInput = Pick<EnsureImageInput, 'pod' | 'image' | 'keyring' | 'signal'>;

export type ImageLookup =
  /** `mustPull`: it is there, but somebody else's credentials may have brought it. */
  { readonly image: Image | undefined; readonly mustPull: boolean } | { readonly error: unknown };

export type EnsureImageResult =
  | { readonly imageRef: string; readonly image: Image | undefined }
  /** Reason and message of `state.waiting`; wall ms at which another try makes sense, where that is known. */
  | { readonly reason: string; readonly message: string; readonly retryAtMs?: number };

export class ImagePuller {
  readonly #images: ImageService;
  readonly #recorder: EventRecorder;
  readonly #clock: Clock;
  readonly #records: PullRecorder | undefined;
  readonly #observer: Pick<KubeletObserver, 'imagePulled'> | undefined;
  readonly #slots: Slots;
  /** Undefined: as many as there are. */
  readonly #rate: TokenBucket | undefined;
  readonly #backoff: KeyedBackoff<string>;
  /** Why the last pull of a key failed, shown again while backing off. */
  readonly #lastFailures = new Map<string, { reason: string; message: string }>();

  /** Without `records` any pod may use any image that is present (gate KubeletEnsureSecretPulledImages off). */
  constructor(
    opts: ImagePullerOptions,
    deps: {
      images: ImageService;
      recorder: EventRecorder;
      clock: Clock;
      pullRecords?: PullRecorder | undefined;
      observer?: Pick<KubeletObserver, 'imagePulled'> | undefined;
    },
  ) {
    this.#images = deps.images;
    this.#recorder = deps.recorder;
    this.#clock = deps.clock;
    this.#records = deps.pullRecords;
    this.#observer = deps.observer;
    this.#slots = new Slots(Math.max(1, opts.maxParallelPulls));
    const { pullsPerSecond: qps, pullBurst: burst } = opts;
    this.#rate = qps === 0 ? undefined : new TokenBucket({ qps, burst }, deps);
    this.#backoff = new KeyedBackoff({ initialMs: BACKOFF_INITIAL_MS, maxMs: BACKOFF_MAX_MS }, deps);
  }

  /** True when the policy makes `ensureImage` begin with an ImageStatus call. */
  static looksUp(image: string, pullPolicy: string | undefined): boolean {
    return (pullPolicy ?? defaultPullPolicy(image)) !== 'Always';
  }

  /** Begins early. Never rejects, so that nobody has to await it. Undefined for an unparsable name. */
  lookUp(input: ImageLookupInput): Promise<ImageLookup> | undefined {
    let tagged: string;
    try {
      tagged = applyDefaultTag(input.image);
    } catch {
      return undefined; // ensureImage says so, with the Event
    }
    return this.#lookUp(input, tagged);
  }

  /** Never throws for what an image or a registry can cause. @throws when `signal` aborts: then nothing has failed. */
  async ensureImage(input: EnsureImageInput): Promise<EnsureImageResult> {
    const { image } = input;
    let tagged: string;
    try {
      tagged = applyDefaultTag(image);
    } catch (err) {
      const message = `Failed to apply default image tag "${image}": ${errorMessage(err)}`;
      this.#recorder.event(input.about, 'Warning', 'InspectFailed', message);
      return { reason: 'InvalidImageName', message };
    }
    const policy = input.pullPolicy ?? defaultPullPolicy(image);
    if (policy === 'Always') return this.#pull(input, tagged);
    let found = await input.lookedUp;
    // One that could not be used may have been pulled since, for a container before this one.
    if (found === undefined || ('image' in found && (found.image === undefined || found.mustPull))) {
      found = await this.#lookUp(input, tagged);
    }
    if ('error' in found) {
      input.signal.throwIfAborted();
      const message = `Failed to inspect image "": ${errorMessage(found.error)}`;
      this.#recorder.event(input.about, 'Warning', 'InspectFailed', message);
      return { reason: 'ImageInspectError', message };
    }
    if (found.image !== undefined && !found.mustPull) {
      const access = this.#records === undefined ? '' : ' and can be accessed by the pod';
      this.#recorder.event(
        input.about,
        'Normal',
        'Pulled',
        `Container image "${image}" already present on machine${access}`,
      );
      return { imageRef: found.image.id, image: found.image };
    }
    if (policy === 'Never') {
      const message = `Container image "${image}" is not present with pull policy of Never`;
      this.#recorder.event(input.about, 'Warning', 'ErrImageNeverPull', message);
      return { reason: 'ErrImageNeverPull', message };
    }
    return this.#pull(input, tagged);
  }

  /** Forgets failures of long ago; to be called now and then. */
  collect(): void {
    this.#backoff.collect();
    for (const key of this.#lastFailures.keys()) if (this.#backoff.get(key) === 0) this.#lastFailures.delete(key);
  }

  async #pull(input: EnsureImageInput, tagged: string): Promise<EnsureImageResult> {
    const { image, about } = input;
    const key = `${input.pod.metadata?.uid ?? ''}_${image}`;
    if (this.#backoff.isInBackoffSinceUpdate(key)) {
      const text = `Back-off pulling image "${image}"`;
      this.#recorder.event(about, 'Normal', 'BackOff', text);
      const last = this.#lastFailures.get(key);
      const message = last ? `${text}: ${last.reason}: ${last.message}` : text;
      return { reason: 'ImagePullBackOff', message, ...this.#retryAt(key) };
    }
    this.#recorder.event(about, 'Normal', 'Pulling', `Pulling image "${image}"`);
    const startMs = this.#clock.monotonicMs();
    try {
      const pulled = await this.#pullWithLimits(input, tagged);
      const took = (fromMs: number) => formatGoDuration(Math.trunc(this.#clock.monotonicMs() - fromMs));
      const [alone, all] = [took(pulled.startMs), took(startMs)];
      const local = await this.#imageStatus(input, pulled.imageRef).catch(() => undefined);
      const tookSeconds = (this.#clock.monotonicMs() - pulled.startMs) / 1000;
      this.#observer?.imagePulled(input.pod.metadata?.uid ?? '', tookSeconds, local?.size);
      const text = `Successfully pulled image "${image}" in ${alone} (${all} including waiting). Image size: ${local?.size ?? 0} bytes.`;
      this.#recorder.event(about, 'Normal', 'Pulled', text);
      this.#backoff.delete(key);
      this.#lastFailures.delete(key);
      return { imageRef: pulled.imageRef, image: local };
    } catch (err) {
      input.signal.throwIfAborted(); // the pod is to end: neither the image nor the registry is to blame
      const failure = pullFailure(image, err);
      this.#recorder.event(about, 'Warning', 'Failed', `Failed to pull image "${image}": ${failure.message}`);
      this.#backoff.next(key, this.#clock.now());
      this.#lastFailures.set(key, failure);
      return { ...failure, retryAtMs: this.#clock.now() + SHOW_BACKOFF_MS };
    }
  }

  #retryAt(key: string): { retryAtMs?: number } {
    const retryAtMs = this.#backoff.untilMs(key);
    return retryAtMs === undefined ? {} : { retryAtMs };
  }

  async #pullWithLimits(input: EnsureImageInput, tagged: string): Promise<{ imageRef: string; startMs: number }> {
    if (this.#rate?.tryTake() === false) throw new Error('pull QPS exceeded');
    const credentials = await (await input.keyring()).lookup(tagged);
    await this.#records?.beginPull(tagged);
    try {
      const pulled = await this.#pullWith(input, tagged, credentials);
      await this.#records?.pulled(tagged, pulled.imageRef, pulled.source ?? {});
      return pulled;
    } catch (err) {
      if (isUnanswered(err)) await this.#records?.pullUnanswered(tagged);
      else await this.#records?.pullFailed(tagged);
      throw err;
    }
  }

  /** Tries one credential after the other. */
  async #pullWith(
    input: EnsureImageInput,
    tagged: string,
    credentials: readonly RegistryCredential[],
  ): Promise<{ imageRef: string; startMs: number; source?: CredentialSource | undefined }> {
    using _slot = await this.#slots.take(input.signal);
    const startMs = this.#clock.monotonicMs();
    const spec = imageSpec(input.pod, input.image, tagged);
    const opts = { signal: input.signal };
    if (credentials.length === 0) {
      return { imageRef: await this.#images.pullImage(spec, undefined, input.sandboxConfig, opts), startMs };
    }
    const failures: unknown[] = [];
    for (const credential of credentials) {
      try {
        const imageRef = await this.#images.pullImage(spec, authConfigOf(credential), input.sandboxConfig, opts);
        return { imageRef, startMs, source: credential.source };
      } catch (err) {
        if (input.signal.aborted) throw err;
        failures.push(err);
      }
    }
    const distinct = [...new Set(failures.map(errorMessage))];
    const cause = failures.find(isUnanswered);
    throw new Error(distinct.length === 1 ? distinct[0] : `[${distinct.join(', ')}]`, { cause });
  }

  async #lookUp(input: ImageLookupInput, tagged: string): Promise<ImageLookup> {
    try {
      const image = await this.#imageStatus(input, tagged);
      if (image === undefined || this.#records === undefined) return { image, mustPull: false };
      const mustPull = await this.#records.mustPull(tagged, image.id, async () => {
        const credentials = await (await input.keyring()).lookup(tagged);
        return credentials.flatMap((c) => c.source ?? []);
      });
      return { image, mustPull };
    } catch (error) {
      return { error };
    }
  }

  #imageStatus({ pod, image, signal }: ImageLookupInput, name: string): Promise<Image | undefined> {
    return this.#images.imageStatus(imageSpec(pod, image, name), { signal });
  }
}

function imageSpec(pod: Pod, userSpecifiedImage: string, image: string) {
  return { image, userSpecifiedImage, annotations: pod.metadata?.annotations ?? {} };
}

/** Runtimes begin the text with one of two words when the cause is known (cri-api pkg/errors). */
function pullFailure(image: string, err: unknown): { reason: string; message: string } {
  const text = errorMessage(err);
  for (const [reason, why] of [
    ['RegistryUnavailable', 'the registry is unavailable'],
    ['SignatureValidationFailed', 'the signature validation failed'],
  ] as const) {
    if (text.startsWith(reason)) {
      return { reason, message: `image pull failed for ${image} because ${why}${text.slice(reason.length)}` };
    }
  }
  return { reason: 'ErrImagePull', message: text };
}

/** The runtime has not said how it ended: it may have gone on, or have been done. */
function isUnanswered(err: unknown): boolean {
  if (isCriError(err)) return ['UNAVAILABLE', 'DEADLINE_EXCEEDED', 'CANCELLED'].includes(err.grpcCode);
  return err instanceof Error && isCriError(err.cause) && isUnanswered(err.cause);
}
