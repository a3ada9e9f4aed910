// Rotation of a container's log on real containerd, under a reader that follows it.
import { readdir, readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { streamContainerLog } from '../../cri/container-log.ts';
import { LogRotation } from '../../kubelet/logs/log-rotation.ts';
import { containerdMissing, TestContainerd } from '../harness/containerd.ts';
import { sandboxConfig } from '../harness/sandbox-config.ts';

const missing = containerdMissing();
if (missing !== undefined) console.warn(`log rotation tests are skipped: ${missing}`);

const IMAGE = 'docker.io/library/busybox:latest';
const never = new AbortController().signal;

describe.skipIf(missing !== undefined)('rotating the log of a running container', () => {
  let containerd: TestContainerd;
  beforeAll(async () => {
    containerd = await TestContainerd.start();
  });
  afterAll(async () => {
    await containerd?.[Symbol.asyncDispose]();
  });

  async function start(name: string, opts: { maxFiles: number }) {
    const { runtime, dir, cgroupParent } = containerd;
    const config = sandboxConfig({ logDirectory: path.join(dir, name), cgroupParent });
    const sandboxId = await runtime.runPodSandbox(config, '');
    const container = {
      metadata: { name: 'main' },
      image: { image: IMAGE },
      command: ['/bin/sh', '-c', 'trap "exit 0" TERM; while :; do sleep 3600 & wait; done'],
      logPath: '0.log',
      linux: { securityContext: { namespaceOptions: { pid: 'CONTAINER' } } }, // so that its process is number 1
    } as const;
    const containerId = await runtime.createContainer(sandboxId, container, config);
    await runtime.startContainer(containerId);
    const logPath = (await runtime.containerStatus(containerId)).logPath;
    const clock = new FakeClock();
    const rotation = new LogRotation(
      { maxSizeBytes: 1, maxFiles: opts.maxFiles, workers: 1, intervalMs: 10_000 },
      { runningLogs: () => [{ containerId, logPath }], runtime, clock, log: silentLog },
    );
    let printed = 0;
    return {
      logPath,
      containerId,
      /** The container's own standard output gets more lines. */
      async print(lines: number): Promise<void> {
        const [from, to] = [printed, printed + lines - 1];
        printed += lines;
        const script = `i=${from}; while [ $i -le ${to} ]; do echo line-$i; i=$((i+1)); done > /proc/1/fd/1`;
        const { exitCode } = await runtime.execSync(containerId, ['/bin/sh', '-c', script], 0);
        expect(exitCode).toBe(0);
      },
      async rotate(): Promise<void> {
        await clock.advance(1000); // names tell seconds apart
        await rotation.rotateAll(never);
      },
      files: async () => (await readdir(path.dirname(logPath))).sort(),
      stop: () => runtime.stopContainer(containerId, 30),
      async remove(): Promise<void> {
        await runtime.stopPodSandbox(sandboxId);
        await runtime.removePodSandbox(sandboxId);
      },
    };
  }

  /** What a follower of the log has read, and a way to wait for a line. */
  function follow(logPath: string, ended: Promise<void>, signal = never) {
    let text = '';
    let news = Promise.withResolvers<void>();
    const sink = async (chunk: Uint8Array) => {
      text += Buffer.from(chunk).toString();
      news.resolve();
    };
    return {
      done: streamContainerLog(logPath, { follow: true }, sink, { signal, ended }),
      text: () => text,
      async until(line: string): Promise<void> {
        while (!text.includes(`${line}\n`)) {
          await news.promise;
          news = Promise.withResolvers<void>();
        }
      },
    };
  }
  /** The runtime copies what a container prints to the file in its own time. */
  async function written(file: string, line: string): Promise<void> {
    const stop = new AbortController();
    const follower = follow(file, new Promise(() => {}), stop.signal);
    await follower.until(line);
    stop.abort();
    await follower.done;
  }
  const linesUpTo = (count: number) => Array.from({ length: count }, (_, n) => `line-${n}\n`).join('');

  test('a follower reads every line once over several rotations; the number of files is kept, older ones are compressed', async () => {
    const c = await start('follow', { maxFiles: 3 });
    const ended = Promise.withResolvers<void>();
    const follower = follow(c.logPath, ended.promise);
    for (let round = 1; round <= 4; round++) {
      await c.print(200);
      await follower.until(`line-${round * 200 - 1}`);
      await c.rotate();
    }
    await c.print(200);
    await follower.until('line-999');
    const [live, packed, newest, ...more] = await c.files();
    expect(more).toEqual([]);
    expect(live).toBe('0.log');
    expect(packed).toMatch(/^0\.log\.\d{8}-\d{6}\.gz$/);
    expect(newest).toMatch(/^0\.log\.\d{8}-\d{6}$/);
    const dir = path.dirname(c.logPath);
    expect(gunzipSync(await readFile(path.join(dir, packed!))).toString()).toContain(' stdout F line-400\n');
    expect(await readFile(path.join(dir, newest!), 'utf8')).toContain(' stdout F line-600\n');
    expect(await readFile(c.logPath, 'utf8')).toContain(' stdout F line-800\n');
    await c.stop();
    ended.resolve();
    await follower.done;
    expect(follower.text()).toBe(linesUpTo(1000));
    await c.remove();
  });

  test('killed between renaming and reopening: the next round has the container write to a file again', async () => {
    const c = await start('killed', { maxFiles: 5 });
    await c.print(1);
    await rename(c.logPath, `${c.logPath}.20260101-000000`);
    await c.print(1); // goes to the renamed file, nothing is lost
    await written(`${c.logPath}.20260101-000000`, 'line-1');
    await c.rotate();
    expect(await readFile(`${c.logPath}.20260101-000000`, 'utf8')).toMatch(/ line-0\n.* line-1\n$/);
    await c.print(1);
    await written(c.logPath, 'line-2');
    await c.stop();
    await c.remove();
  });

  test('the log of a container that has ended is put back when the runtime does not reopen it', async () => {
    const c = await start('ended', { maxFiles: 5 });
    await c.print(3);
    await written(c.logPath, 'line-2');
    await c.stop();
    const before = await readFile(c.logPath, 'utf8');
    await c.rotate();
    expect(await c.files()).toEqual(['0.log']);
    expect(await readFile(c.logPath, 'utf8')).toBe(before);
    await c.remove();
  });
});
