// The CRI client against real containerd, in every supported version: a shared contract, and what only a real runtime
// has (restarts, logs, streams, versions).

import { once } from 'node:events';
import { mkdir, readFile, rename } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { streamContainerLog } from '../../cri/container-log.ts';
import { isCriError } from '../../cri/errors.ts';
import { CONTAINERD_VERSIONS, containerdMissing, TestContainerd } from '../harness/containerd.ts';
import { describeRuntimeContract, type RuntimeUnderTest } from '../harness/cri-contract.ts';
import { EventLog } from '../harness/event-log.ts';
import { sandboxConfig } from '../harness/sandbox-config.ts';

const missing = containerdMissing();
if (missing !== undefined) console.warn(`CRI tests are skipped: ${missing}`);
const IMAGE = 'docker.io/library/busybox:latest';
/** Ends when its exit code is written into a pipe: a reader waits there, nothing polls. */
const COMMAND = ['sh', '-c', 'mkfifo /end && read code < /end && exit $code'];

async function end(containerd: TestContainerd, containerId: string, exitCode: number): Promise<void> {
  // The pipe may not be there yet: the container has only just started.
  const script = `until [ -p /end ]; do :; done; echo ${exitCode} > /end`;
  await containerd.runtime.execSync(containerId, ['sh', '-c', script], 10);
}

function underTest(containerd: TestContainerd): RuntimeUnderTest {
  return {
    runtime: containerd.runtime,
    images: containerd.images,
    image: IMAGE,
    logDirectory: path.join(containerd.dir, 'logs'),
    cgroupParent: containerd.cgroupParent,
    command: COMMAND,
    end: (containerId, exitCode) => end(containerd, containerId, exitCode),
    [Symbol.asyncDispose]: () => containerd[Symbol.asyncDispose](),
  };
}

describe.skipIf(missing !== undefined).each(CONTAINERD_VERSIONS)('containerd %s', (version) => {
  describe('contract', () => {
    describeRuntimeContract(async () => underTest(await TestContainerd.start({ version })));
  });

  describe('service', () => {
    let containerd: TestContainerd;
    const calls: string[] = [];

    beforeAll(async () => {
      containerd = await TestContainerd.start({
        version,
        observe: (operation, _tookSeconds, failed) => calls.push(failed ? `${operation} failed` : operation),
      });
    });

    afterAll(async () => {
      await containerd?.[Symbol.asyncDispose]();
    });

    const runContainer = async (command: readonly string[]) => {
      const { runtime } = containerd;
      const config = sandboxConfig(underTest(containerd));
      await mkdir(config.logDirectory!, { recursive: true });
      const sandboxId = await runtime.runPodSandbox(config, '');
      const container = { metadata: { name: 'main', attempt: 0 }, image: { image: IMAGE }, command, logPath: '0.log' };
      const containerId = await runtime.createContainer(sandboxId, { ...container, linux: {} }, config);
      await runtime.startContainer(containerId);
      return { sandboxId, containerId, log: path.join(config.logDirectory!, '0.log') };
    };

    test('tells when its images change', async () => {
      const { images } = containerd;
      const stop = new AbortController();
      const changes = images.imageChanges(stop.signal)[Symbol.asyncIterator]();
      const changed = changes.next();
      // Nothing tells when the subscription has begun: another name for an image, until one is told of.
      const work = (async () => {
        for (let i = 0; !stop.signal.aborted; i++) {
          await containerd.ctr('images', 'tag', IMAGE, `docker.io/library/other:${i}`);
          await systemClock.sleep(100, stop.signal);
        }
      })();
      expect((await changed).done).toBe(false);
      stop.abort();
      await work;
      await changes.return?.();
    });

    test('tells its version, its conditions and its cgroup driver, and each call is counted', async () => {
      calls.length = 0;
      const { runtime } = containerd;
      expect(await runtime.version()).toMatchObject({
        runtimeName: 'containerd',
        runtimeVersion: expect.stringMatching(new RegExp(`^${version.replace('.', '\\.')}\\.`)),
        runtimeApiVersion: 'v1',
      });
      const { status, info } = await runtime.status(true);
      expect(status?.conditions).toEqual(
        expect.arrayContaining([
          { type: 'RuntimeReady', status: true, reason: '', message: '' },
          expect.objectContaining({ type: 'NetworkReady', status: false, reason: 'NetworkPluginNotReady' }),
        ]),
      );
      expect(Object.keys(info)).toContain('config');
      const driver = await runtime.runtimeConfig().catch((err: unknown) => err);
      if (version === '2.1') expect(driver).toEqual({ linux: { cgroupDriver: 'CGROUPFS' } });
      else expect(isCriError(driver, 'UNIMPLEMENTED')).toBe(true);
      expect(calls).toEqual(['version', 'status', version === '2.1' ? 'runtime_config' : 'runtime_config failed']);
    });

    test('lists the images that were imported', async () => {
      const tags = (await containerd.images.listImages()).flatMap((image) => image.repoTags);
      expect(tags).toEqual(
        expect.arrayContaining([
          'docker.io/library/busybox:latest',
          'docker.io/library/busybox:1.36',
          'registry.k8s.io/pause:3.10',
        ]),
      );
    });

    test('removes a container with a task of which CRI knows nothing', async () => {
      const { runtime } = containerd;
      const config = sandboxConfig(underTest(containerd));
      const sandboxId = await runtime.runPodSandbox(config, '');
      const container = { metadata: { name: 'main', attempt: 0 }, image: { image: IMAGE } };
      const made = { ...container, command: ['sleep', '3600'], linux: {} };
      const containerId = await runtime.createContainer(sandboxId, made, config);
      await containerd.ctr('tasks', 'start', '--detach', containerId);
      await runtime.removeContainer(containerId);
      expect(await containerd.ctr('tasks', 'list', '--quiet')).not.toContain(containerId);
      expect(await runtime.listContainers({ id: containerId })).toEqual([]);
      await runtime.stopPodSandbox(sandboxId);
      await runtime.removePodSandbox(sandboxId);
    });

    test('writes a log that is followed over a rotation to its end', async () => {
      // Prints a line for each one that it is given.
      const script = 'mkfifo /in; exec 3<>/in; while read line <&3; do echo "$line"; [ "$line" = last ] && exit; done';
      const { containerId, log } = await runContainer(['sh', '-c', script]);
      const say = (line: string) =>
        containerd.runtime.execSync(containerId, ['sh', '-c', `until [ -p /in ]; do :; done; echo ${line} > /in`], 10);
      const seen = new SeenText();
      const ended = Promise.withResolvers<void>();
      const control = { signal: new AbortController().signal, ended: ended.promise };
      const following = streamContainerLog(log, { follow: true }, (chunk) => seen.add(chunk), control);
      await say('before');
      await seen.until('before\n');
      await rename(log, `${log}.rotated`);
      await say('between'); // still written to the renamed file
      await containerd.runtime.reopenContainerLog(containerId);
      await say('after');
      await seen.until('before\nbetween\nafter\n');
      await using events = await EventLog.open(containerd.runtime);
      await say('last');
      await events.next('stopped', containerId);
      ended.resolve();
      await following;
      expect(seen.text).toBe('before\nbetween\nafter\nlast\n');
      expect(await readFile(`${log}.rotated`, 'utf8')).toMatch(/^\S+ stdout F before\n\S+ stdout F between\n$/);
    });

    test('serves a stream at the URL it gives', async () => {
      const { containerId } = await runContainer(COMMAND);
      const url = new URL(await containerd.runtime.exec({ containerId, cmd: ['echo', 'hi'], stdout: true }));
      const socket = connect(Number(url.port), url.hostname);
      socket.write(
        `POST ${url.pathname} HTTP/1.1\r\nHost: ${url.host}\r\nConnection: Upgrade\r\nUpgrade: SPDY/3.1\r\n` +
          'X-Stream-Protocol-Version: v4.channel.k8s.io\r\nContent-Length: 0\r\n\r\n',
      );
      const [head] = (await once(socket, 'data')) as [Buffer];
      socket.destroy();
      expect(head.toString('latin1')).toMatch(/^HTTP\/1\.1 101 /);
    });

    test('a restart of the daemon breaks the event stream, not the containers', async () => {
      const { containerId, sandboxId } = await runContainer(COMMAND);
      const events = await EventLog.open(containerd.runtime);
      await containerd.stopDaemon('SIGKILL');
      await expect(events[Symbol.asyncDispose]()).rejects.toSatisfy((err) => isCriError(err, 'UNAVAILABLE'));
      await expect(containerd.runtime.version()).rejects.toSatisfy((err) => isCriError(err, 'UNAVAILABLE'));
      await containerd.startDaemon();
      expect(await containerd.runtime.containerStatus(containerId)).toMatchObject({ state: 'CONTAINER_RUNNING' });
      expect(await containerd.runtime.podSandboxStatus(sandboxId)).toMatchObject({ state: 'SANDBOX_READY' });
      await using again = await EventLog.open(containerd.runtime);
      await end(containerd, containerId, 5);
      expect(await again.next('stopped', containerId)).toMatchObject({ exitCode: 5 });
      expect(await containerd.runtime.containerStatus(containerId)).toMatchObject({ exitCode: 5 });
    });
  });
});

/** Collects a stream and tells when a text has come. */
class SeenText {
  text = '';
  #wake: (() => void) | undefined;

  async add(chunk: Uint8Array): Promise<void> {
    this.text += Buffer.from(chunk).toString();
    this.#wake?.();
  }

  async until(text: string): Promise<void> {
    while (!this.text.startsWith(text)) {
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }
}
