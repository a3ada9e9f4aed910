// Images on real containerd, pulled from a real registry: credentials of all kinds, what happens to those without, back-off,
// parallel pulls, plugins, garbage collection.
import { chmod, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import type { Secret } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import type { ImageService } from '../../cri/runtime-service.ts';
import { systemExec } from '../../host/exec.ts';
import { fileSystemFigures } from '../../host/file-system-use.ts';
import { CredentialProviders } from '../../kubelet/images/credential-providers.ts';
import { ImageGc } from '../../kubelet/images/image-gc.ts';
import { parseProviderConfigs } from '../../kubelet/images/provider-config.ts';
import { PullRecords } from '../../kubelet/images/pull-records.ts';
import { ImagePuller, type ImagePullerOptions } from '../../kubelet/runtime/image-puller.ts';
import { type CredentialLookup, Keyring, keyringFromSecrets } from '../../kubelet/runtime/registry-auth.ts';
import { PAUSE_IMAGE } from '../../lab/images.ts';
import { containerdMissing, TestContainerd } from '../harness/containerd.ts';
import { TestRegistry } from '../harness/registry.ts';
import { sandboxConfig } from '../harness/sandbox-config.ts';

const missing = containerdMissing();
if (missing !== undefined) console.warn(`image tests are skipped: ${missing}`);

const anonymous = new Keyring([]);
const pod = (uid: string): Pod => ({ metadata: { name: uid, namespace: 'ns', uid }, spec: { containers: [] } });

describe.skipIf(missing !== undefined)('images from a registry', () => {
  let containerd: TestContainerd;
  let registry: TestRegistry;
  let rootDir: string;
  let events: string[];
  let count = 0;
  let pulling = 0;
  /** Most pulls that went on at once. */
  let peak = 0;

  beforeAll(async () => {
    containerd = await TestContainerd.start();
    registry = await TestRegistry.start();
  });
  afterAll(async () => {
    await registry?.[Symbol.asyncDispose]();
    await containerd?.[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    events = [];
    peak = 0;
    rootDir = await mkdtemp(path.join(tmpdir(), 'nodelet-images-'));
  });
  afterEach(async () => {
    registry.failWith = undefined;
    registry.gate = undefined;
    await rm(rootDir, { recursive: true, force: true });
  });

  const recorder = {
    event: (_: unknown, type: string, reason: string, message: string) =>
      void events.push(`${type} ${reason} ${message}`),
  };
  const newImage = (opts: Parameters<TestRegistry['add']>[1] = {}) => registry.add(`app-${++count}`, opts);
  const secret = (name: string, ...users: [string, string][]): Secret => {
    const entries = users.map(([username, password], n) => [
      `${registry.host}${'/'.repeat(n)}`,
      { username, password },
    ]);
    const config = JSON.stringify({ auths: Object.fromEntries(entries) });
    return {
      metadata: { uid: `uid-${name}`, namespace: 'ns', name },
      type: 'kubernetes.io/dockerconfigjson',
      data: { '.dockerconfigjson': Buffer.from(config).toString('base64') },
    };
  };

  async function openRecords(policy: 'NeverVerifyPreloadedImages' | 'NeverVerify' = 'NeverVerifyPreloadedImages') {
    const { images } = containerd;
    const records = new PullRecords({ rootDir, policy, allowlist: [] }, { images, clock: systemClock, log: silentLog });
    await records.recover();
    return records;
  }

  async function start(opts: Partial<ImagePullerOptions> = {}) {
    const real = containerd.images;
    const images: ImageService = {
      listImages: (...args) => real.listImages(...args),
      imageStatus: (...args) => real.imageStatus(...args),
      removeImage: (...args) => real.removeImage(...args),
      imageFsInfo: (...args) => real.imageFsInfo(...args),
      pullImage: async (...args) => {
        peak = Math.max(peak, ++pulling);
        try {
          return await real.pullImage(...args);
        } finally {
          pulling--;
        }
      },
    };
    const pullRecords = await openRecords();
    const limits = { maxParallelPulls: 1, pullsPerSecond: 0, pullBurst: 1, ...opts };
    const puller = new ImagePuller(limits, { images, recorder, clock: systemClock, pullRecords });
    const signal = new AbortController().signal;
    return (image: string, uid: string, keys: CredentialLookup = anonymous, pullPolicy = 'IfNotPresent') => {
      const keyring = async () => keys;
      return puller.ensureImage({ pod: pod(uid), about: {}, image, pullPolicy, sandboxConfig: {}, keyring, signal });
    };
  }

  test('an image that everybody may pull, with how long it took and how large it is', async () => {
    const ensure = await start();
    const image = newImage();
    const result = await ensure(image, 'a');
    expect(result).toMatchObject({ imageRef: expect.stringMatching(/^sha256:/) });
    expect(events[0]).toBe(`Normal Pulling Pulling image "${image}"`);
    const pulled =
      /^Normal Pulled Successfully pulled image "(.+)" in \S+ \(\S+ including waiting\)\. Image size: (\d+) bytes\.$/;
    expect(pulled.exec(events[1]!)?.[1]).toBe(image);
    expect(Number(pulled.exec(events[1]!)?.[2])).toBeGreaterThan(100_000);
    await ensure(image, 'b');
    expect(events[2]).toBe(
      `Normal Pulled Container image "${image}" already present on machine and can be accessed by the pod`,
    );
  });

  test.each(['basic', 'bearer'] as const)(
    'a private image (%s): refused without, and pulled with, its secret',
    async (auth) => {
      const ensure = await start();
      const image = newImage({ users: { bob: 'right' }, auth });
      expect(await ensure(image, 'a')).toMatchObject({ reason: 'ErrImagePull' });
      expect(events).toEqual([
        `Normal Pulling Pulling image "${image}"`,
        expect.stringContaining(`Warning Failed Failed to pull image "${image}": `),
      ]);
      expect(await ensure(image, 'b', keyringFromSecrets([secret('s', ['bob', 'wrong'])]))).toHaveProperty('reason');
      expect(await ensure(image, 'c', keyringFromSecrets([secret('s', ['bob', 'right'])]))).toHaveProperty('imageRef');
    },
  );

  test('credentials are tried one after the other until one is let in', async () => {
    const ensure = await start();
    const image = newImage({ users: { bob: 'right' } });
    const keys = keyringFromSecrets([
      secret('a', ['eve', 'x']),
      secret('b', ['bob', 'old']),
      secret('c', ['bob', 'right']),
    ]);
    expect(await ensure(image, 'a', keys)).toHaveProperty('imageRef');
  });

  test('a private image that is present stays closed to pods without its secret, also after a restart', async () => {
    const image = newImage({ users: { bob: 'right' } });
    const bobs = keyringFromSecrets([secret('s', ['bob', 'right'])]);
    expect(await (await start())(image, 'a', bobs)).toHaveProperty('imageRef');
    for (const ensure of [await start(), await start()]) {
      registry.requests.length = 0;
      expect(await ensure(image, 'b', bobs)).toHaveProperty('imageRef');
      expect(registry.requests).toEqual([]); // the secret is known: nothing was asked
      expect(await ensure(image, 'c')).toMatchObject({ reason: 'ErrImagePull' });
      expect(await ensure(image, 'd', anonymous, 'Never')).toMatchObject({ reason: 'ErrImageNeverPull' });
      const copy = keyringFromSecrets([secret('copy', ['bob', 'right'])]);
      expect(await ensure(image, 'e', copy, 'Never')).toHaveProperty('imageRef');
    }
  });

  test('a pull whose end nobody wrote leaves the image closed', async () => {
    const image = newImage({ users: { bob: 'right' } });
    const bobs = keyringFromSecrets([secret('s', ['bob', 'right'])]);
    const killed = await openRecords();
    await killed.beginPull(image);
    await containerd.images.pullImage({ image }, { username: 'bob', password: 'right' }, undefined);
    const ensure = await start();
    expect(await ensure(image, 'a', anonymous)).toMatchObject({ reason: 'ErrImagePull' });
    expect(await ensure(image, 'b', bobs)).toHaveProperty('imageRef');
  });

  test('images that were there before are open', async () => {
    expect(await (await start())('docker.io/library/busybox:1.36', 'a')).toHaveProperty('imageRef');
  });

  test('an unknown image and a registry that fails back off, and a pod of its own is not held up', async () => {
    const ensure = await start();
    expect(await ensure(`${registry.host}/nothing:1`, 'a')).toMatchObject({ reason: 'ErrImagePull' });
    const image = newImage();
    registry.failWith = 503;
    expect(await ensure(image, 'b')).toMatchObject({ reason: 'ErrImagePull', message: expect.stringContaining('503') });
    registry.failWith = undefined;
    expect(await ensure(image, 'b')).toMatchObject({
      reason: 'ImagePullBackOff',
      message: expect.stringMatching(/^Back-off pulling image ".+": ErrImagePull: .*503/),
    });
    expect(await ensure(image, 'c')).toHaveProperty('imageRef');
  });

  test('with Always an image that is present but cannot be pulled does not do', async () => {
    const ensure = await start();
    const image = newImage();
    await ensure(image, 'a');
    registry.failWith = 500;
    expect(await ensure(image, 'b', anonymous, 'Always')).toMatchObject({ reason: 'ErrImagePull' });
  });

  test.each([1, 2])('%i pulls at a time', async (maxParallelPulls) => {
    const ensure = await start({ maxParallelPulls });
    const arrived = new Set<string>();
    const enough = Promise.withResolvers<void>();
    registry.gate = async (name) => {
      arrived.add(name);
      if (arrived.size >= maxParallelPulls) enough.resolve();
      await enough.promise; // comes only when as many as may are there together
    };
    const results = await Promise.all(['a', 'b', 'c'].map((uid) => ensure(newImage(), uid)));
    for (const result of results) expect(result).toHaveProperty('imageRef');
    expect(peak).toBe(maxParallelPulls);
  });

  test('a credential provider plugin, a real program, lets a pod in', async () => {
    const image = newImage({ users: { plugin: 'from-plugin' } });
    const answer = {
      kind: 'CredentialProviderResponse',
      apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
      cacheKeyType: 'Registry',
      auth: { [registry.host]: { username: 'plugin', password: 'from-plugin' } },
    };
    const program = path.join(rootDir, 'provider');
    await writeFile(program, `#!/bin/sh\ncat > "$SEEN"\necho '${JSON.stringify(answer)}'\n`);
    await chmod(program, 0o755);
    const document = {
      apiVersion: 'kubelet.config.k8s.io/v1',
      kind: 'CredentialProviderConfig',
      providers: [
        {
          name: 'provider',
          matchImages: [registry.host],
          defaultCacheDuration: '1m',
          apiVersion: 'credentialprovider.kubelet.k8s.io/v1',
          env: [{ name: 'SEEN', value: path.join(rootDir, 'request') }],
        },
      ],
    };
    const configs = parseProviderConfigs([document], (fault) => {
      throw new Error(fault);
    });
    const unused = () => Promise.reject(new Error('no service account is asked for'));
    const deps = { exec: systemExec, env: process.env, serviceAccount: unused, token: unused, observe: () => {} };
    const providers = new CredentialProviders(configs, rootDir, { ...deps, clock: systemClock, log: silentLog });
    const keys = { lookup: (name: string) => providers.lookup(name, pod('a')) };
    expect(await (await start())(image, 'a', keys)).toHaveProperty('imageRef');
  });

  test('garbage collection removes what no container uses, and its record', async () => {
    const ensure = await start();
    const [used, unused] = [newImage(), newImage()];
    const usedRef = await ensure(used, 'a');
    await ensure(unused, 'b');
    const { runtime, images, dir, cgroupParent } = containerd;
    const config = sandboxConfig({ logDirectory: path.join(dir, 'logs-gc'), cgroupParent });
    const sandboxId = await runtime.runPodSandbox(config, '');
    const image = { image: 'imageRef' in usedRef ? usedRef.imageRef : '' };
    await runtime.createContainer(sandboxId, { metadata: { name: 'main' }, image, logPath: 'main.log' }, config);
    const records = await openRecords();
    const gc = new ImageGc(
      { minAgeMs: 0, maxAgeMs: 0, highPercent: 85, lowPercent: 80 },
      {
        runtime,
        images,
        alsoInUse: async () => [PAUSE_IMAGE, 'docker.io/library/busybox:1.36'],
        fileSystem: fileSystemFigures,
        onCollected: (ids, startedAtMs) => records.prune(ids, startedAtMs + 10_000),
        recorder,
        node: { kind: 'Node', name: 'n' },
        clock: systemClock,
        log: silentLog,
      },
    );
    expect(await gc.removeUnused(new AbortController().signal)).toBeGreaterThan(100_000);
    expect(await images.imageStatus({ image: unused })).toBeUndefined();
    expect(await images.imageStatus({ image: used })).toBeDefined();
    expect(await images.imageStatus({ image: PAUSE_IMAGE })).toBeDefined();
    await runtime.stopPodSandbox(sandboxId);
    await runtime.removePodSandbox(sandboxId);
  });
});
