import { beforeEach, describe, expect, test } from 'vitest';
import { FakeClock } from '../core/fake-clock.ts';
import { describeRuntimeContract } from '../test/harness/cri-contract.ts';
import { EventLog } from '../test/harness/event-log.ts';
import { sandboxConfig } from '../test/harness/sandbox-config.ts';
import { CriError, isCriError } from './errors.ts';
import { FakeRuntime } from './fake-runtime.ts';

const IMAGE = 'docker.io/library/busybox:latest';
const PLACES = { logDirectory: '/logs', cgroupParent: '/pods' };

describe('contract', () => {
  describeRuntimeContract(async () => {
    const clock = new FakeClock();
    const fake = new FakeRuntime({ clock });
    fake.state.addImage(IMAGE);
    fake.onCommand = async (_container, [, , script], signal) => {
      if (script === undefined || script.startsWith('echo')) {
        return { stdout: Buffer.from('out\n'), stderr: Buffer.from('err\n'), exitCode: 3 };
      }
      await clock.advance(1000); // the time limit of the command passes
      return { exitCode: signal.aborted ? 137 : 0 };
    };
    return {
      runtime: fake.runtime,
      images: fake.images,
      image: IMAGE,
      ...PLACES,
      command: ['sh'],
      end: async (containerId, exitCode) => fake.state.exit(containerId, exitCode),
      [Symbol.asyncDispose]: async () => {},
    };
  });
});

describe('what tests can do to it', () => {
  let fake: FakeRuntime;

  beforeEach(() => {
    fake = new FakeRuntime({ clock: new FakeClock() });
    fake.state.addImage(IMAGE);
  });

  const lost = new CriError('RunPodSandbox', 'UNAVAILABLE', 'connection reset');

  test('a call fails once, without having done anything', async () => {
    const config = sandboxConfig(PLACES);
    fake.failNext('runPodSandbox', lost);
    await expect(fake.runtime.runPodSandbox(config, '')).rejects.toBe(lost);
    expect(fake.state.sandboxes.size).toBe(0);
    await fake.runtime.runPodSandbox(config, '');
    expect(fake.calls.map((c) => c.method)).toEqual(['runPodSandbox', 'runPodSandbox']);
  });

  test('an answer is lost after the work was done', async () => {
    const config = sandboxConfig(PLACES);
    fake.failNext('runPodSandbox', lost, true);
    await expect(fake.runtime.runPodSandbox(config, '')).rejects.toBe(lost);
    expect(fake.state.sandboxes.size).toBe(1);
    await expect(fake.runtime.runPodSandbox(config, '')).rejects.toThrow('failed to reserve sandbox name');
  });

  test('a call hangs until it is cancelled', async () => {
    const stop = new AbortController();
    fake.hangNext('version');
    const call = fake.runtime.version({ signal: stop.signal });
    stop.abort();
    await expect(call).rejects.toSatisfy((err) => isCriError(err, 'CANCELLED'));
    await expect(fake.runtime.version({ signal: stop.signal })).rejects.toSatisfy((e) => isCriError(e, 'CANCELLED'));
    expect((await fake.runtime.version()).runtimeName).toBe('fake');
  });

  test('a process that ends while it is being stopped keeps its own exit code', async () => {
    const config = sandboxConfig(PLACES);
    const sandboxId = await fake.runtime.runPodSandbox(config, '');
    const container = { metadata: { name: 'main' }, image: { image: IMAGE } };
    const id = await fake.runtime.createContainer(sandboxId, container, config);
    await fake.runtime.startContainer(id);
    fake.state.onStop = async (c, graceSeconds) => {
      expect(graceSeconds).toBe(30);
      fake.state.exit(c.status.id, 0);
      return 137;
    };
    await fake.runtime.stopContainer(id, 30);
    expect((await fake.runtime.containerStatus(id)).exitCode).toBe(0);
  });

  test('a broken event stream throws, and the next one works', async () => {
    const first = await EventLog.open(fake.runtime);
    fake.breakEvents();
    await expect(first[Symbol.asyncDispose]()).rejects.toSatisfy((err) => isCriError(err, 'UNAVAILABLE'));
    await using second = await EventLog.open(fake.runtime);
    fake.emit({ type: 'oom', containerId: 'c' });
    await second.next('oom', 'c');
  });

  test('only what is pullable can be pulled', async () => {
    const image = { image: 'docker.io/library/nginx:1' };
    await expect(fake.images.pullImage(image, undefined, undefined)).rejects.toSatisfy((e) =>
      isCriError(e, 'NOT_FOUND'),
    );
    fake.state.pullable.add(image.image);
    const ref = await fake.images.pullImage(image, undefined, undefined);
    expect((await fake.images.imageStatus(image))?.id).toBe(ref);
    expect(await fake.images.pullImage(image, undefined, undefined)).toBe(ref);
    await fake.images.removeImage(image);
    expect(await fake.images.imageStatus(image)).toBeUndefined();
  });

  test('callers cannot change its state through an answer', async () => {
    const id = await fake.runtime.runPodSandbox(sandboxConfig(PLACES, { app: 'a' }), '');
    const [listed] = await fake.runtime.listPodSandboxes();
    listed!.labels.app = 'changed';
    expect((await fake.runtime.podSandboxStatus(id)).labels).toEqual({ app: 'a' });
  });
});
