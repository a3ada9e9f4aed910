import { beforeEach, describe, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { CriError } from '../../cri/errors.ts';
import type { AuthConfig, Image, ImageSpec } from '../../cri/gen/messages.ts';
import type { ImageService, Init } from '../../cri/runtime-service.ts';
import { ImagePuller, type ImagePullerOptions } from './image-puller.ts';
import { Keyring } from './registry-auth.ts';

const pod: Pod = { metadata: { name: 'p', namespace: 'ns', uid: 'u' }, spec: { containers: [] } };
const never = new AbortController().signal;
const DEFAULTS: ImagePullerOptions = { maxParallelPulls: 1, pullsPerSecond: 5, pullBurst: 10 };

/** A registry and a node: pulls succeed for what the registry has. */
class FakeImages implements ImageService {
  readonly present = new Map<string, Image>();
  readonly calls: string[] = [];
  inspectError: Error | undefined;
  pull: (image: string, auth: Init<AuthConfig> | undefined) => Promise<void> = async () => {};

  add(name: string): void {
    this.present.set(name, {
      id: `sha256:${name}`,
      repoTags: [name],
      repoDigests: [],
      size: 42,
      username: '',
      pinned: false,
    });
  }
  async imageStatus(spec: Init<ImageSpec>) {
    this.calls.push(`status ${spec.image}`);
    if (this.inspectError) throw this.inspectError;
    return this.present.get((spec.image ?? '').replace('sha256:', ''));
  }
  async pullImage(spec: Init<ImageSpec>, auth: Init<AuthConfig> | undefined) {
    this.calls.push(`pull ${spec.image}${auth ? ` as ${auth.username}` : ''}`);
    await this.pull(spec.image!, auth);
    this.add(spec.image!);
    return `sha256:${spec.image}`;
  }
  listImages = async () => [...this.present.values()];
  removeImage = async () => {};
  imageFsInfo = async () => ({ image: [], container: [] });
}

let clock: FakeClock;
let images: FakeImages;
let events: string[];
let puller: ImagePuller;
const setUp = (opts = DEFAULTS) => {
  clock = new FakeClock();
  images = new FakeImages();
  events = [];
  const recorder = {
    event: (_: unknown, type: string, reason: string, message: string) =>
      void events.push(`${type} ${reason} ${message}`),
  };
  puller = new ImagePuller(opts, { images, recorder, clock });
};
beforeEach(() => setUp());

const ensure = (image: string, pullPolicy?: string, keys = new Keyring([])) =>
  puller.ensureImage({
    pod,
    about: {},
    image,
    pullPolicy,
    sandboxConfig: {},
    keyring: async () => keys,
    signal: never,
  });

test('IfNotPresent uses what is there', async () => {
  images.add('busybox:1');
  expect(await ensure('busybox:1')).toMatchObject({ imageRef: 'sha256:busybox:1' });
  expect(images.calls).toEqual(['status busybox:1']);
  expect(events).toEqual(['Normal Pulled Container image "busybox:1" already present on machine']);
});

test('what was looked up too early is looked up again: a container before this one may have pulled it', async () => {
  const keyring = async () => new Keyring([]);
  const lookedUp = puller.lookUp({ pod, image: 'busybox:1', keyring, signal: never });
  await lookedUp;
  images.add('busybox:1');
  const input = { pod, about: {}, image: 'busybox:1', pullPolicy: 'IfNotPresent', sandboxConfig: {}, lookedUp };
  const result = await puller.ensureImage({ ...input, keyring, signal: never });
  expect(result).toMatchObject({ imageRef: 'sha256:busybox:1' });
  expect(images.calls).toEqual(['status busybox:1', 'status busybox:1']);
});

test('IfNotPresent pulls what is not there', async () => {
  images.pull = () => clock.sleep(1234);
  const result = ensure('busybox:1', 'IfNotPresent');
  await clock.advance(1234);
  expect(await result).toMatchObject({ imageRef: 'sha256:busybox:1', image: { size: 42 } });
  expect(events).toEqual([
    'Normal Pulling Pulling image "busybox:1"',
    'Normal Pulled Successfully pulled image "busybox:1" in 1.234s (1.234s including waiting). Image size: 42 bytes.',
  ]);
});

test('Always pulls without looking, and is the default for latest', async () => {
  images.add('busybox:latest');
  await ensure('busybox');
  expect(images.calls[0]).toBe('pull busybox:latest');
});

test('Never does not pull', async () => {
  const message = 'Container image "busybox" is not present with pull policy of Never';
  expect(await ensure('busybox', 'Never')).toEqual({ reason: 'ErrImageNeverPull', message });
  expect(events).toEqual([`Warning ErrImageNeverPull ${message}`]);
  expect(images.calls).toEqual(['status busybox:latest']);
});

test('an unparsable name', async () => {
  const message = 'Failed to apply default image tag "a b": couldn\'t parse image name "a b": invalid reference format';
  expect(await ensure('a b')).toEqual({ reason: 'InvalidImageName', message });
  expect(events).toEqual([`Warning InspectFailed ${message}`]);
});

test('an inspection that fails', async () => {
  images.inspectError = new Error('no answer');
  expect(await ensure('busybox:1')).toEqual({
    reason: 'ImageInspectError',
    message: 'Failed to inspect image "": no answer',
  });
  expect(events).toEqual(['Warning InspectFailed Failed to inspect image "": no answer']);
});

test('a failed pull backs off, then tries again with a longer wait; another pod starts afresh', async () => {
  images.pull = async () => {
    throw new CriError('PullImage', 'NOT_FOUND', 'not found');
  };
  expect(await ensure('nope:1')).toEqual({
    reason: 'ErrImagePull',
    message: 'not found',
    retryAtMs: clock.now() + 1_000, // soon: to show ImagePullBackOff, which asks for the next pull
  });
  expect(events.slice(1)).toEqual(['Warning Failed Failed to pull image "nope:1": not found']);
  await clock.advance(9_999);
  expect(await ensure('nope:1')).toEqual({
    reason: 'ImagePullBackOff',
    message: 'Back-off pulling image "nope:1": ErrImagePull: not found',
    retryAtMs: clock.now() + 1,
  });
  expect(events.at(-1)).toBe('Normal BackOff Back-off pulling image "nope:1"');
  await clock.advance(1);
  expect(await ensure('nope:1')).toMatchObject({ reason: 'ErrImagePull' });
  await clock.advance(19_999);
  expect(await ensure('nope:1')).toMatchObject({ reason: 'ImagePullBackOff' });
  const other = { ...pod, metadata: { ...pod.metadata, uid: 'v' } };
  const result = await puller.ensureImage({
    pod: other,
    about: {},
    image: 'nope:1',
    pullPolicy: undefined,
    sandboxConfig: {},
    keyring: async () => new Keyring([]),
    signal: never,
  });
  expect(result).toMatchObject({ reason: 'ErrImagePull' });
});

test.each([
  [
    'RegistryUnavailable: timeout',
    'RegistryUnavailable',
    'image pull failed for a:1 because the registry is unavailable: timeout',
  ],
  [
    'SignatureValidationFailed: bad',
    'SignatureValidationFailed',
    'image pull failed for a:1 because the signature validation failed: bad',
  ],
])('%s', async (text, reason, message) => {
  images.pull = async () => {
    throw new Error(text);
  };
  expect(await ensure('a:1')).toMatchObject({ reason, message });
});

test('each credential is tried until one works', async () => {
  images.pull = async (_, auth) => {
    if (auth?.username !== 'good') throw new Error('denied');
  };
  const keys = new Keyring([
    { key: 'reg.io/team', credential: { username: 'bad', password: '' } },
    { key: 'reg.io', credential: { username: 'good', password: '' } },
  ]);
  expect(await ensure('reg.io/team/x:1', 'Always', keys)).toMatchObject({ imageRef: 'sha256:reg.io/team/x:1' });
  expect(images.calls.slice(0, 2)).toEqual(['pull reg.io/team/x:1 as bad', 'pull reg.io/team/x:1 as good']);
});

test('of credentials that all fail each reason is told, once', async () => {
  images.pull = async (_, auth) => {
    throw new Error(auth?.username === 'old' ? 'expired' : 'denied');
  };
  const keys = (...usernames: string[]) =>
    new Keyring(usernames.map((username) => ({ key: 'reg.io', credential: { username, password: '' } })));
  expect(await ensure('reg.io/x:1', 'Always', keys('a', 'b'))).toMatchObject({ message: 'denied' });
  expect(await ensure('reg.io/y:1', 'Always', keys('a', 'old', 'b'))).toMatchObject({ message: '[denied, expired]' });
});

test('pulls follow one another by default, and the waiting is told apart', async () => {
  images.pull = () => clock.sleep(1000);
  const both = Promise.all([ensure('a:1'), ensure('b:1')]);
  await clock.advance(1000);
  expect(images.calls.filter((c) => c.startsWith('pull'))).toEqual(['pull a:1', 'pull b:1']);
  await clock.advance(1000);
  await both;
  expect(events.at(-1)).toContain('"b:1" in 1s (2s including waiting)');
});

test('parallel pulls are bounded', async () => {
  setUp({ ...DEFAULTS, maxParallelPulls: 2 });
  images.pull = () => clock.sleep(1000);
  const all = Promise.all([ensure('a:1'), ensure('b:1'), ensure('c:1')]);
  await clock.advance(999);
  expect(images.calls.filter((c) => c.startsWith('pull'))).toEqual(['pull a:1', 'pull b:1']);
  await clock.advance(1001);
  await all;
});

test('a limit of 0 pulls per second is none', async () => {
  setUp({ ...DEFAULTS, pullsPerSecond: 0, pullBurst: 1 });
  for (const image of ['a:1', 'b:1', 'c:1']) expect(await ensure(image)).toMatchObject({ imageRef: `sha256:${image}` });
});

test('more pulls per second than allowed fail at once', async () => {
  setUp({ ...DEFAULTS, pullsPerSecond: 1, pullBurst: 1 });
  await ensure('a:1');
  expect(await ensure('b:1')).toMatchObject({ reason: 'ErrImagePull', message: 'pull QPS exceeded' });
});

describe('images that are present but were pulled with credentials', () => {
  const source = { secret: { uid: 'u', namespace: 'ns', name: 's', credentialHash: 'h' } };
  const keys = () => new Keyring([{ key: 'reg.io', credential: { username: 'bob', password: 'p', source } }]);
  let steps: string[];
  let mustPull: boolean;

  beforeEach(() => {
    steps = [];
    mustPull = true;
    const pullRecords = {
      mustPull: async (image: string, ref: string, sources: () => Promise<readonly object[]>) => {
        steps.push(`ask ${image} ${ref} ${JSON.stringify(await sources())}`);
        return mustPull;
      },
      beginPull: async (image: string) => void steps.push(`begin ${image}`),
      pulled: async (image: string, ref: string, from: object) =>
        void steps.push(`pulled ${image} ${ref} ${JSON.stringify(from)}`),
      pullFailed: async (image: string) => void steps.push(`failed ${image}`),
      pullUnanswered: async (image: string) => void steps.push(`unanswered ${image}`),
    };
    const recorder = {
      event: (_: unknown, type: string, reason: string, m: string) => void events.push(`${type} ${reason} ${m}`),
    };
    puller = new ImagePuller(DEFAULTS, { images, recorder, clock, pullRecords });
    images.add('reg.io/app:1');
  });

  test('a pod that may use it does not pull', async () => {
    mustPull = false;
    await ensure('reg.io/app:1', 'IfNotPresent', keys());
    expect(steps).toEqual([`ask reg.io/app:1 sha256:reg.io/app:1 ${JSON.stringify([source])}`]);
    expect(events).toEqual([
      'Normal Pulled Container image "reg.io/app:1" already present on machine and can be accessed by the pod',
    ]);
  });

  test('another one pulls, to show that it may; what worked is recorded', async () => {
    await ensure('reg.io/app:1', 'IfNotPresent', keys());
    expect(steps.slice(1)).toEqual([
      'begin reg.io/app:1',
      `pulled reg.io/app:1 sha256:reg.io/app:1 ${JSON.stringify(source)}`,
    ]);
  });

  test('what the container before it has shown meanwhile is not pulled once more', async () => {
    const keyring = async () => keys();
    const lookedUp = puller.lookUp({ pod, image: 'reg.io/app:1', keyring, signal: never });
    await lookedUp;
    mustPull = false;
    const input = { pod, about: {}, image: 'reg.io/app:1', pullPolicy: 'IfNotPresent', sandboxConfig: {}, lookedUp };
    const result = await puller.ensureImage({ ...input, keyring, signal: never });
    expect(result).toMatchObject({ imageRef: 'sha256:reg.io/app:1' });
    expect(images.calls.filter((c) => c.startsWith('pull'))).toEqual([]);
  });

  test("a refusal of the registry is the pod's", async () => {
    images.pull = () => Promise.reject(new CriError('PullImage', 'UNKNOWN', 'no basic auth'));
    expect(await ensure('reg.io/app:1', 'IfNotPresent')).toMatchObject({ reason: 'ErrImagePull' });
    expect(steps.slice(1)).toEqual(['begin reg.io/app:1', 'failed reg.io/app:1']);
  });

  test.each([
    ['with a credential', keys],
    ['without', () => new Keyring([])],
  ])('an answer that is lost is no refusal: the image may be there by now, pulled %s', async (_name, keyring) => {
    images.pull = () => Promise.reject(new CriError('PullImage', 'UNAVAILABLE', 'error reading from server: EOF'));
    expect(await ensure('reg.io/app:1', 'IfNotPresent', keyring())).toMatchObject({ reason: 'ErrImagePull' });
    expect(steps.slice(1)).toEqual(['begin reg.io/app:1', 'unanswered reg.io/app:1']);
  });

  test('with policy Never it is as if it were not there', async () => {
    expect(await ensure('reg.io/app:1', 'Never')).toMatchObject({ reason: 'ErrImageNeverPull' });
    expect(images.calls.filter((c) => c.startsWith('pull'))).toEqual([]);
  });

  test('an anonymous pull opens it to all', async () => {
    await ensure('reg.io/other:1', 'Always');
    expect(steps).toEqual(['begin reg.io/other:1', 'pulled reg.io/other:1 sha256:reg.io/other:1 {}']);
  });
});

test('a pull that is cut off has not failed: it is told as nothing else, and the next try need not wait', async () => {
  const stop = new AbortController();
  images.pull = async () => {
    stop.abort(new Error('the pod is to end'));
    throw new CriError('PullImage', 'CANCELLED', 'context canceled');
  };
  const input = { pod, about: {}, image: 'busybox:1', pullPolicy: 'Always', sandboxConfig: {} };
  const keyring = async () => new Keyring([]);
  await expect(puller.ensureImage({ ...input, keyring, signal: stop.signal })).rejects.toThrow('the pod is to end');
  expect(events).toEqual(['Normal Pulling Pulling image "busybox:1"']);
  images.pull = async () => {};
  expect(await ensure('busybox:1', 'Always')).toMatchObject({ imageRef: 'sha256:busybox:1' });
});

test('a look that is cut off is no fault of the image', async () => {
  const stop = new AbortController();
  stop.abort(new Error('the pod is to end'));
  images.inspectError = new CriError('ImageStatus', 'CANCELLED', 'context canceled');
  const input = { pod, about: {}, image: 'busybox:1', pullPolicy: 'IfNotPresent', sandboxConfig: {} };
  const keyring = async () => new Keyring([]);
  await expect(puller.ensureImage({ ...input, keyring, signal: stop.signal })).rejects.toThrow('the pod is to end');
  expect(events).toEqual([]);
});

test('an image that could be pulled starts afresh: when it fails again the first wait is the short one', async () => {
  const refuse = async () => {
    throw new Error('no such host');
  };
  const pulls = () => images.calls.filter((c) => c.startsWith('pull')).length;
  images.pull = refuse;
  await ensure('busybox:1', 'Always');
  await clock.advance(10_000);
  images.pull = async () => {};
  expect(await ensure('busybox:1', 'Always')).toMatchObject({ imageRef: 'sha256:busybox:1' });
  images.pull = refuse;
  await ensure('busybox:1', 'Always');
  await clock.advance(10_000);
  await ensure('busybox:1', 'Always');
  expect(pulls()).toBe(4);
});
