// What every runtime does, asked in the same words of real containerd (test/integration/cri.test.ts) and of FakeRuntime
// (cri/fake-runtime.test.ts): a fake that drifts from the real thing fails here.
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { type GrpcCode, isCriError } from '../../cri/errors.ts';
import type { ContainerConfig, ContainerStatus } from '../../cri/gen/messages.ts';
import type { ImageService, Init, RuntimeService } from '../../cri/runtime-service.ts';
import { EventLog } from './event-log.ts';
import { sandboxConfig } from './sandbox-config.ts';

export interface RuntimeUnderTest extends AsyncDisposable {
  readonly runtime: RuntimeService;
  readonly images: ImageService;
  /** An image that is present and has a shell. */
  readonly image: string;
  readonly logDirectory: string;
  readonly cgroupParent: string;
  /** Runs until `end` is called, or SIGKILL comes. */
  readonly command: readonly string[];
  /** Makes the process of a container that runs `command` end. */
  end(containerId: string, exitCode: number): Promise<void>;
}

/** Fails with one of `codes`: releases of containerd differ in how they class a refusal. */
async function expectRefusal(call: Promise<unknown>, codes: readonly GrpcCode[], text: RegExp): Promise<void> {
  const err = await call.then(
    () => undefined,
    (e: unknown) => e,
  );
  if (!isCriError(err)) throw new Error(`expected a refusal, got ${String(err)}`);
  expect(codes).toContain(err.grpcCode);
  expect(err.message).toMatch(text);
}

/** Registers the tests. `open` is called once, before the first. */
export function describeRuntimeContract(open: () => Promise<RuntimeUnderTest>): void {
  let under: RuntimeUnderTest;

  beforeAll(async () => {
    under = await open();
  });

  afterEach(async () => {
    for (const { id } of await under.runtime.listPodSandboxes()) {
      await under.runtime.stopPodSandbox(id);
      await under.runtime.removePodSandbox(id);
    }
  });

  afterAll(async () => {
    await under?.[Symbol.asyncDispose]();
  });

  const pod = async (labels: Record<string, string> = {}) => {
    const config = sandboxConfig(under, labels);
    return { config, id: await under.runtime.runPodSandbox(config, '') };
  };
  const containerConfig = (name: string, attempt = 0): Init<ContainerConfig> => ({
    metadata: { name, attempt },
    image: { image: under.image },
    command: under.command,
    logPath: `${name}_${attempt}.log`,
    labels: { name },
    annotations: { hash: '1' },
    linux: { resources: { cpuShares: 100 } },
  });
  const create = async (name: string, attempt = 0) => {
    const { config, id } = await pod();
    const containerId = await under.runtime.createContainer(id, containerConfig(name, attempt), config);
    return { sandboxId: id, config, containerId };
  };
  const run = async (name: string) => {
    const made = await create(name);
    await under.runtime.startContainer(made.containerId);
    return made;
  };
  const status = (id: string): Promise<ContainerStatus> => under.runtime.containerStatus(id);

  describe('sandboxes', () => {
    test('have addresses of ranges that the runtime may be told of, when they are some', async () => {
      await under.runtime.updateRuntimeConfig('10.250.0.0/24,fd00:250::/64');
      await expectRefusal(under.runtime.updateRuntimeConfig('nowhere'), ['UNKNOWN', 'INTERNAL'], /invalid CIDR/);
    });

    test('run, are listed by label and state, stop, and go', async () => {
      const { runtime } = under;
      const a = await pod({ app: 'a' });
      const b = await pod({ app: 'b' });
      expect(await runtime.podSandboxStatus(a.id)).toMatchObject({
        id: a.id,
        metadata: a.config.metadata,
        state: 'SANDBOX_READY',
        labels: { app: 'a' },
        annotations: { note: 'kept' },
      });
      expect((await runtime.podSandboxStatus(a.id)).createdAt).toBeGreaterThan(0n);
      const ids = async (filter: Parameters<RuntimeService['listPodSandboxes']>[0]) =>
        (await runtime.listPodSandboxes(filter)).map((s) => s.id).sort();
      expect(await ids({ labelSelector: { app: 'a' } })).toEqual([a.id]);
      expect(await ids({})).toEqual([a.id, b.id].sort());
      await runtime.stopPodSandbox(a.id);
      // containerd 2 may answer before it has heard that the sandbox has ended.
      await vi.waitFor(async () => expect(await ids({ state: { state: 'SANDBOX_READY' } })).toEqual([b.id]), 60_000);
      expect((await runtime.podSandboxStatus(a.id)).state).toBe('SANDBOX_NOTREADY');
      await runtime.stopPodSandbox(a.id);
      await runtime.removePodSandbox(a.id);
      await runtime.removePodSandbox(a.id);
      await expectRefusal(runtime.podSandboxStatus(a.id), ['NOT_FOUND'], /not found|does not exist/);
      expect(await ids({})).toEqual([b.id]);
    });

    test('a name is taken until its sandbox is removed', async () => {
      const { runtime } = under;
      const { config, id } = await pod();
      await expectRefusal(
        runtime.runPodSandbox(config, ''),
        ['UNKNOWN', 'FAILED_PRECONDITION'],
        /reserve sandbox name/,
      );
      await runtime.stopPodSandbox(id);
      await expectRefusal(
        runtime.runPodSandbox(config, ''),
        ['UNKNOWN', 'FAILED_PRECONDITION'],
        /reserve sandbox name/,
      );
      await runtime.runPodSandbox({ ...config, metadata: { ...config.metadata, attempt: 1 } }, '');
      await runtime.removePodSandbox(id);
      await runtime.runPodSandbox(config, '');
    });

    test('stopping and removing what is not there is fine; an unknown runtime handler is not', async () => {
      await under.runtime.stopPodSandbox('no-such-sandbox');
      await under.runtime.removePodSandbox('no-such-sandbox');
      const config = sandboxConfig(under);
      await expectRefusal(
        under.runtime.runPodSandbox(config, 'no-such-handler'),
        ['UNKNOWN', 'NOT_FOUND'],
        /no runtime for "no-such-handler" is configured/,
      );
    });

    test('stopping one ends its containers, removing it removes them', async () => {
      const { containerId, sandboxId } = await run('main');
      await under.runtime.stopPodSandbox(sandboxId);
      expect(await status(containerId)).toMatchObject({ state: 'CONTAINER_EXITED', exitCode: 137 });
      await under.runtime.removePodSandbox(sandboxId);
      await expectRefusal(status(containerId), ['NOT_FOUND'], /not found/);
    });
  });

  describe('containers', () => {
    test('are created, started and end with their exit code', async () => {
      const { runtime } = under;
      const { containerId, sandboxId } = await create('main');
      expect(await status(containerId)).toMatchObject({
        id: containerId,
        metadata: { name: 'main', attempt: 0 },
        state: 'CONTAINER_CREATED',
        labels: { name: 'main' },
        annotations: { hash: '1' },
        startedAt: 0n,
        finishedAt: 0n,
      });
      await runtime.startContainer(containerId);
      const running = await status(containerId);
      expect(running.state).toBe('CONTAINER_RUNNING');
      expect(running.startedAt).toBeGreaterThanOrEqual(running.createdAt);
      await using log = await EventLog.open(runtime);
      await under.end(containerId, 7);
      await log.next('stopped', containerId);
      const ended = await status(containerId);
      expect(ended).toMatchObject({ state: 'CONTAINER_EXITED', exitCode: 7, reason: 'Error' });
      expect(ended.finishedAt).toBeGreaterThanOrEqual(ended.startedAt);
      expect((await runtime.listContainers({ podSandboxId: sandboxId })).map((c) => c.state)).toEqual([
        'CONTAINER_EXITED',
      ]);
      await runtime.removeContainer(containerId);
      await expectRefusal(status(containerId), ['NOT_FOUND'], /not found/);
      expect(await runtime.listContainers({ podSandboxId: sandboxId })).toEqual([]);
    });

    test('exit code 0 reads as Completed', async () => {
      const { containerId } = await run('main');
      await using log = await EventLog.open(under.runtime);
      await under.end(containerId, 0);
      await log.next('stopped', containerId);
      expect(await status(containerId)).toMatchObject({ exitCode: 0, reason: 'Completed' });
    });

    test('start only once', async () => {
      const { containerId } = await run('main');
      await expectRefusal(
        under.runtime.startContainer(containerId),
        ['UNKNOWN', 'FAILED_PRECONDITION'],
        /CONTAINER_RUNNING state/,
      );
      await under.runtime.stopContainer(containerId, 0);
      await expectRefusal(
        under.runtime.startContainer(containerId),
        ['UNKNOWN', 'FAILED_PRECONDITION'],
        /CONTAINER_EXITED state/,
      );
    });

    test('a name and attempt is taken until its container is removed', async () => {
      const { config, sandboxId, containerId } = await create('main');
      const again = () => under.runtime.createContainer(sandboxId, containerConfig('main'), config);
      await expectRefusal(again(), ['UNKNOWN', 'FAILED_PRECONDITION'], /reserve container name/);
      await under.runtime.createContainer(sandboxId, containerConfig('main', 1), config);
      await under.runtime.removeContainer(containerId);
      await again();
      expect(
        (await under.runtime.listContainers({ podSandboxId: sandboxId })).map((c) => c.metadata?.attempt).sort(),
      ).toEqual([0, 1]);
    });

    test('stop with SIGKILL after no grace at all; stopping again and stopping nothing is fine', async () => {
      const { containerId } = await run('main');
      await under.runtime.stopContainer(containerId, 0);
      expect(await status(containerId)).toMatchObject({ state: 'CONTAINER_EXITED', exitCode: 137 });
      await under.runtime.stopContainer(containerId, 0);
      await under.runtime.stopContainer('no-such-container', 0);
      await under.runtime.removeContainer('no-such-container');
    });

    test('a running one is ended when it is removed', async () => {
      const { containerId } = await run('main');
      await using log = await EventLog.open(under.runtime);
      await under.runtime.removeContainer(containerId);
      expect((await log.next('stopped', containerId)).exitCode ?? 137).toBe(137);
      await log.next('deleted', containerId);
      await expectRefusal(status(containerId), ['NOT_FOUND'], /not found/);
    });

    test('need a sandbox that runs and an image that is there', async () => {
      const { config, id } = await pod();
      const missing = { ...containerConfig('main'), image: { image: 'docker.io/library/no-such-image:1' } };
      await expectRefusal(
        under.runtime.createContainer(id, missing, config),
        ['NOT_FOUND', 'UNKNOWN'],
        /not found|resolve image/,
      );
      await expectRefusal(
        under.runtime.createContainer('no-such-sandbox', containerConfig('main'), config),
        ['NOT_FOUND', 'UNKNOWN'],
        /not found/,
      );
      await expectRefusal(under.runtime.startContainer('no-such-container'), ['NOT_FOUND'], /not found/);
      await under.runtime.stopPodSandbox(id);
      // containerd 2 makes the container and refuses to start it.
      const startIn = async () =>
        under.runtime.startContainer(await under.runtime.createContainer(id, containerConfig('main'), config));
      await expectRefusal(startIn(), ['UNKNOWN', 'FAILED_PRECONDITION', 'NOT_FOUND'], /sandbox/);
    });

    test('are listed by id, sandbox, label and state', async () => {
      const a = await run('a');
      const b = await create('b');
      const names = async (filter: Parameters<RuntimeService['listContainers']>[0]) =>
        (await under.runtime.listContainers(filter)).map((c) => c.metadata?.name).sort();
      expect(await names({})).toEqual(['a', 'b']);
      expect(await names({ id: b.containerId })).toEqual(['b']);
      expect(await names({ podSandboxId: a.sandboxId })).toEqual(['a']);
      expect(await names({ labelSelector: { name: 'b' } })).toEqual(['b']);
      expect(await names({ state: { state: 'CONTAINER_RUNNING' } })).toEqual(['a']);
      expect(await names({ state: { state: 'CONTAINER_EXITED' } })).toEqual([]);
    });

    test('take new resources while they run, and report what they use', async () => {
      const { containerId } = await run('main');
      await under.runtime.updateContainerResources(containerId, { cpuShares: 200 });
      const stats = await under.runtime.listContainerStats();
      expect(stats.map((s) => s.attributes?.id)).toContain(containerId);
      expect((await under.runtime.containerStats(containerId)).attributes?.metadata?.name).toBe('main');
      await expectRefusal(
        under.runtime.updateContainerResources('no-such-container', { cpuShares: 2 }),
        ['NOT_FOUND', 'UNKNOWN'],
        /not found/,
      );
      await expectRefusal(under.runtime.containerStats('no-such-container'), ['NOT_FOUND', 'UNKNOWN'], /not found/);
    });
  });

  describe('commands in containers', () => {
    test('run to their end and give back output and exit code, which is no event', async () => {
      const { containerId } = await run('main');
      await using log = await EventLog.open(under.runtime);
      const r = await under.runtime.execSync(containerId, ['sh', '-c', 'echo out; echo err >&2; exit 3'], 10);
      expect({ ...r, stdout: Buffer.from(r.stdout).toString(), stderr: Buffer.from(r.stderr).toString() }).toEqual({
        stdout: 'out\n',
        stderr: 'err\n',
        exitCode: 3,
      });
      await under.end(containerId, 0);
      await log.next('stopped', containerId);
      expect(log.of(containerId)).toEqual(['stopped']);
    });

    test('are cut off at their time limit', async () => {
      const { containerId } = await run('main');
      await expectRefusal(
        under.runtime.execSync(containerId, ['sh', '-c', 'sleep 60'], 1),
        ['DEADLINE_EXCEEDED', 'UNKNOWN'],
        /timeout|timed out|deadline exceeded/,
      );
    });

    test('need a container that runs', async () => {
      const { containerId } = await create('main');
      await expectRefusal(
        under.runtime.execSync(containerId, ['true'], 10),
        ['UNKNOWN', 'FAILED_PRECONDITION'],
        /CONTAINER_CREATED state/,
      );
      await expectRefusal(under.runtime.execSync('no-such-container', ['true'], 10), ['NOT_FOUND'], /not found/);
      await expectRefusal(
        under.runtime.exec({ containerId, cmd: ['sh'], stdout: true }),
        ['UNKNOWN', 'FAILED_PRECONDITION'],
        /CONTAINER_CREATED state/,
      );
    });

    test('have streams behind a URL of the runtime', async () => {
      const { containerId, sandboxId } = await run('main');
      const urls = [
        await under.runtime.exec({ containerId, cmd: ['sh'], stdin: true, stdout: true }),
        await under.runtime.attach({ containerId, stdout: true }),
        await under.runtime.portForward({ podSandboxId: sandboxId, port: [80] }),
      ];
      for (const [i, kind] of ['exec', 'attach', 'portforward'].entries()) {
        expect(urls[i]).toMatch(new RegExp(`^http://127\\.0\\.0\\.1:\\d+/${kind}/[\\w-]+$`));
      }
    });
  });

  describe('events', () => {
    test('tell the whole life of a sandbox and a container, in order', async () => {
      await using log = await EventLog.open(under.runtime);
      const { containerId, sandboxId } = await run('main');
      await under.runtime.stopContainer(containerId, 0);
      await under.runtime.stopPodSandbox(sandboxId);
      // The end of a task is told by its shim, the removal by containerd: the one may overtake the other.
      await log.next('stopped', containerId);
      await log.next('stopped', sandboxId);
      await under.runtime.removePodSandbox(sandboxId);
      await log.next('deleted', sandboxId);
      await log.next('deleted', containerId);
      expect(log.of(containerId)).toEqual(['created', 'started', 'stopped', 'deleted']);
      expect(log.of(sandboxId)).toEqual(['created', 'started', 'stopped', 'deleted']);
    });

    test('reach every listener, and end quietly when the listener goes', async () => {
      const first = await EventLog.open(under.runtime);
      await using second = await EventLog.open(under.runtime);
      const { id } = await pod();
      await first.next('started', id);
      await second.next('started', id);
      await first[Symbol.asyncDispose]();
      await under.runtime.stopPodSandbox(id);
      await second.next('stopped', id);
      expect(first.of(id)).toEqual(['created', 'started']);
    });
  });

  describe('images', () => {
    test('that are there are found by name and id', async () => {
      const image = await under.images.imageStatus({ image: under.image });
      expect(image?.repoTags).toContain(under.image);
      expect((await under.images.imageStatus({ image: image!.id }))?.id).toBe(image!.id);
      expect((await under.images.listImages()).map((i) => i.id)).toContain(image!.id);
      expect(await under.images.imageStatus({ image: 'docker.io/library/no-such-image:1' })).toBeUndefined();
    });

    test('that are not there can be removed, but not pulled from a registry that does not answer', async () => {
      await under.images.removeImage({ image: 'docker.io/library/no-such-image:1' });
      await expect(
        under.images.pullImage({ image: 'registry.invalid/no-such-image:1' }, undefined, undefined),
      ).rejects.toSatisfy((err) => isCriError(err));
    });

    test('fill a file system', async () => {
      const { image } = await under.images.imageFsInfo();
      expect(image.length).toBeGreaterThan(0);
      expect(image[0]?.fsId?.mountpoint).toMatch(/^\//);
    });
  });
}
