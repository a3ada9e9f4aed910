// What a container finds mounted: sub-paths under attack, propagation, read-only mounts, termination messages; with
// real mounts in real containerd.
import { lstat, mkdir, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { silentLog } from '../../core/log.ts';
import { execOk, systemExec } from '../../host/exec.ts';
import { mountsUnder, systemMounter } from '../../host/mounts.ts';
import { prepareSubPath } from '../../kubelet/runtime/sub-path.ts';
import { containerdMissing } from '../harness/containerd.ts';
import { RuntimePods } from '../harness/runtime-pods.ts';

const missing = containerdMissing();
if (missing !== undefined) console.warn(`container tests are skipped: ${missing}`);

const mounter = systemMounter(systemExec);

describe.skipIf(missing !== undefined)('what a container finds mounted', () => {
  let pods: RuntimePods;
  let count = 0;
  /** A directory of the host for one test, with `volume` to be mounted and `outside` to be kept from the pod. */
  let host: string;
  beforeAll(async () => {
    pods = await RuntimePods.start({ version: '1.6' }); // of which it is known what it cannot do
  });
  afterAll(async () => {
    await pods?.[Symbol.asyncDispose]();
  });
  beforeEach(async () => {
    host = path.join(pods.dir, `host-${count++}`);
    await mkdir(path.join(host, 'volume'), { recursive: true });
    await mkdir(path.join(host, 'outside'));
    await writeFile(path.join(host, 'outside/secret'), 'secret');
  });
  const volume = () => ({ volumes: [{ name: 'v', hostPath: { path: path.join(host, 'volume') } }] });
  const mounted = (more: object) => [{ name: 'v', mountPath: '/v', ...more }];

  describe('subPath', () => {
    test('shows a file or directory of the volume, which it makes for every user to write', async () => {
      await writeFile(path.join(host, 'volume/file'), 'content');
      expect(await pods.run({ script: 'cat /v', volumeMounts: mounted({ subPath: 'file' }) }, volume())).toBe(
        'content',
      );
      const spec = { volumes: [{ name: 'v', emptyDir: {} }], securityContext: { runAsUser: 1000 } };
      const script = 'touch /v/mine && stat -c %a /v';
      expect(await pods.run({ script, volumeMounts: mounted({ subPath: 'a/b' }) }, spec)).toBe('777');
    });

    test('subPathExpr is expanded, and refused where a variable is missing or leads up', async () => {
      const env = [
        { name: 'NAME', value: 'mine' },
        { name: 'UP', value: '..' },
        { name: 'ABS', value: '/tmp' },
      ];
      const mount = (subPathExpr: string) => ({ env, volumeMounts: mounted({ subPathExpr }) });
      await pods.run({ script: 'echo here > /v/file', ...mount('logs/$(NAME)') }, volume());
      expect(await readFile(path.join(host, 'volume/logs/mine/file'), 'utf8')).toBe('here\n');
      for (const [expression, message] of [
        ['$(NONE)', 'missing value for'],
        ['$(UP)/outside', "must not contain '..'"],
        ['$(ABS)', 'must not be an absolute path'],
      ] as const) {
        expect(await pods.refusal({ script: 'true', ...mount(expression) }, volume())).toMatch(
          new RegExp(`^CreateContainerConfigError: .*${message}`),
        );
      }
    });

    const failed = 'CreateContainerConfigError: failed to prepare subPath for volumeMount "v" of container "c"';
    test.each<[string, string, () => Promise<unknown>]>([
      ['a link up', 'out/secret', () => symlink('../outside', path.join(host, 'volume/out'))],
      ['an absolute link', 'out', () => symlink(path.join(host, 'outside'), path.join(host, 'volume/out'))],
      ['a link to the root', 'out/etc', () => symlink('/', path.join(host, 'volume/out'))],
      ['a link into /proc', 'out', () => symlink('/proc/self/root', path.join(host, 'volume/out'))],
      ["a link to another process's root", 'out', () => symlink('/proc/1/root/etc', path.join(host, 'volume/out'))],
      ['a link to an open file', 'out', () => symlink('/proc/self/fd/0', path.join(host, 'volume/out'))],
      [
        'a chain of links, the last of which leads out',
        'a/secret',
        async () => {
          await symlink('b', path.join(host, 'volume/a'));
          await symlink('c', path.join(host, 'volume/b'));
          await symlink('../outside', path.join(host, 'volume/c'));
        },
      ],
      [
        'directories that would be made outside',
        'out/new/dir',
        () => symlink('../outside', path.join(host, 'volume/out')),
      ],
      ['a link to itself', 'out', () => symlink('out', path.join(host, 'volume/out'))],
    ])('%s does not lead out of the volume', async (_, subPath, prepare) => {
      await prepare();
      const container = { script: 'cat /v /v/secret', volumeMounts: mounted({ subPath }) };
      expect(await pods.refusal(container, volume())).toBe(failed);
      expect(await readdir(path.join(host, 'outside'))).toEqual(['secret']);
    });

    test('a path that goes up is refused before anything is looked at', async () => {
      for (const subPath of ['..', '../outside', 'a/../../outside']) {
        expect(await pods.refusal({ script: 'true', volumeMounts: mounted({ subPath }) }, volume())).toContain(
          `CreateContainerConfigError: unable to provision SubPath \`${subPath}\``,
        );
      }
    });

    test('whoever swaps a component for a link all the while never gets a file of the host', async () => {
      const name = path.join(host, 'volume/sub');
      await mkdir(path.join(host, 'volume/real'));
      await writeFile(path.join(host, 'volume/real/secret'), 'inside');
      const real = path.join(host, 'volume/real');
      const swapping = new AbortController();
      let swaps = 0;
      // In turn: the real directory, nothing, a link to the outside, nothing. What the agent makes meanwhile goes too.
      const swapper = (async () => {
        while (!swapping.signal.aborted) {
          const ignoreMade = () => {};
          await rename(real, name).catch(ignoreMade);
          await rename(name, real).catch(ignoreMade);
          await symlink('../outside', name).then(() => swaps++, ignoreMade);
          await rm(name, { recursive: true, force: true });
        }
      })();
      const tools = {
        bindMount: (source: string, target: string) => mounter.bind(source, target),
        unmount: (target: string) => mounter.unmount(target),
        log: silentLog,
      };
      const seen = new Map<string, number>();
      const source = { name: 'v', hostPath: path.join(host, 'volume'), readOnly: false, selinuxRelabel: false };
      for (let i = 0; i < 60; i++) {
        const request = { index: i, volume: source, subPath: 'sub/secret' };
        const result = await prepareSubPath(pods.rootDir, 'swapped', 'c', request, tools).then(
          async (target) => ((await lstat(target)).isDirectory() ? 'made' : await readFile(target, 'utf8')),
          () => 'refused',
        );
        seen.set(result, (seen.get(result) ?? 0) + 1);
      }
      swapping.abort();
      await swapper;
      expect([...seen.keys()].filter((k) => !['inside', 'made', 'refused'].includes(k))).toEqual([]);
      expect(swaps).toBeGreaterThan(0);
      expect(await readdir(path.join(host, 'outside'))).toEqual(['secret']);
      expect(await readFile(path.join(host, 'outside/secret'), 'utf8')).toBe('secret');
      for (const { mountPoint } of mountsUnder(await mounter.list(), path.join(pods.rootDir, 'pods/swapped'))) {
        await mounter.unmount(mountPoint);
      }
    });

    test('a pod that swaps its own volume, and starts again and again', async () => {
      const container = (more: object, script: string) => ({ script, ...more });
      const attack = pods.podOf(
        [
          {
            name: 'a',
            script:
              'cd /all; while :; do mkdir x 2>/dev/null; mv x y 2>/dev/null; ln -s / x 2>/dev/null; rm -rf x y 2>/dev/null; done',
            volumeMounts: [{ name: 'v', mountPath: '/all' }],
          },
          container({ name: 'c', volumeMounts: mounted({ subPath: 'x' }) }, 'ls /v'),
        ],
        { volumes: [{ name: 'v', emptyDir: {} }], restartPolicy: 'Never' },
      );
      for (let i = 0; i < 5; i++) {
        const pod = {
          ...attack,
          spec: {
            ...attack.spec!,
            containers: attack.spec!.containers.map((c) => (c.name === 'a' ? c : { ...c, name: `c${i}` })),
          },
        };
        const { failures } = await pods.sync(pod);
        if (failures.length > 0) {
          expect(failures[0]).toMatchObject({
            reason: expect.stringMatching(/^(CreateContainerConfigError|CreateContainerError|RunContainerError)$/),
          });
          continue;
        }
        await pods.ended(pod, `c${i}`);
        expect(await pods.log(pod, `c${i}`)).not.toMatch(/\b(proc|etc|usr)\b/);
      }
    });
  });

  describe('mount propagation', () => {
    test.each([
      ['None', '', false],
      ['HostToContainer', 'host', false],
      ['Bidirectional', 'host', true],
    ] as const)('%s', async (mountPropagation, fromHost, toHost) => {
      const dir = path.join(host, 'volume');
      await execOk(systemExec, 'mount', ['--bind', dir, dir]);
      await execOk(systemExec, 'mount', ['--make-rshared', dir]);
      await mkdir(path.join(dir, 'by-host'));
      await mkdir(path.join(dir, 'by-pod'));
      const pod = pods.pod(
        {
          script: 'mount -t tmpfs none /v/by-pod && touch /v/by-pod/pod; touch /v/ready; exec sleep 1000',
          securityContext: { privileged: true },
          volumeMounts: mounted({ mountPropagation }),
        },
        volume(),
      );
      await pods.start(pod);
      await pods.exec(pod, ['sh', '-c', 'until [ -e /v/ready ]; do :; done']);
      await execOk(systemExec, 'mount', ['-t', 'tmpfs', 'none', path.join(dir, 'by-host')]);
      await writeFile(path.join(dir, 'by-host/host'), '');
      expect(await pods.exec(pod, ['ls', '/v/by-host'])).toBe(fromHost);
      expect(await readdir(path.join(dir, 'by-pod'))).toEqual(toHost ? ['pod'] : []);
      for (const { mountPoint } of mountsUnder(await mounter.list(), dir)) await mounter.unmount(mountPoint);
    });
  });

  describe('read-only', () => {
    test('a mount that is read-only, of a volume that another mount may write', async () => {
      const volumeMounts = [...mounted({ readOnly: true }), { name: 'v', mountPath: '/w' }];
      const script = 'touch /w/a; touch /v/b 2>/dev/null; ls /v';
      expect(await pods.run({ script, volumeMounts }, volume())).toBe('a');
    });

    test('recursively: refused without the runtime, or where it makes no sense', async () => {
      const refusal = (more: object) => pods.refusal({ script: 'true', volumeMounts: mounted(more) }, volume());
      const asked = 'CreateContainerConfigError: volume "v" requested recursive read-only mode';
      expect(await refusal({ recursiveReadOnly: 'Enabled' })).toBe(`${asked}, but it is not read-only`);
      expect(await refusal({ recursiveReadOnly: 'Enabled', readOnly: true })).toBe(
        `${asked}, but it is not supported by the runtime`,
      );
      const script = 'touch /v/b 2>/dev/null || echo read-only';
      const volumeMounts = mounted({ recursiveReadOnly: 'IfPossible', readOnly: true });
      expect(await pods.run({ script, volumeMounts }, volume())).toBe('read-only');
    });

    test('an image volume: said to be beyond this runtime', async () => {
      const volumes = [{ name: 'v', image: { reference: 'docker.io/library/busybox:1.36' } }];
      expect(await pods.refusal({ script: 'true', volumeMounts: mounted({}) }, { volumes })).toMatch(
        /^CreateContainerConfigError: image volume "v" cannot be mounted: containerd 1\.\S+ does not mount images/,
      );
    });
  });

  describe('termination message', () => {
    const message = async (container: Parameters<RuntimePods['pod']>[0], spec = {}) => {
      const pod = pods.pod(container, spec);
      await pods.start(pod);
      return (await pods.ended(pod)).message;
    };

    test('is what stands in the file, written by any user', async () => {
      expect(await message({ script: 'echo -n done > /dev/termination-log' })).toBe('done');
      const container = { script: 'echo -n mine > /tmp/last', terminationMessagePath: '/tmp/last' };
      expect(await message(container, { securityContext: { runAsUser: 10_001 } })).toBe('mine');
      expect(await message({ script: 'true' })).toBe('');
    });

    test('is the end of a long file', async () => {
      const script = 'yes 0123456789abcde | head -c 8000 > /dev/termination-log; echo -n end >> /dev/termination-log';
      const text = await message({ script });
      expect(text).toHaveLength(4096);
      expect(text.endsWith('end')).toBe(true);
    });

    test('falls back to the log only after a failure and with an empty file', async () => {
      const terminationMessagePolicy = 'FallbackToLogsOnError' as const;
      const of = (script: string) => message({ script, terminationMessagePolicy });
      expect(await of('echo last words; exit 1')).toBe('last words\n');
      expect(await of('echo last words; exit 0')).toBe('');
      expect(await of('echo -n file > /dev/termination-log; echo log; exit 1')).toBe('file');
      expect(await message({ script: 'echo last words; exit 1' })).toBe('');
      const lines = (await of('for i in $(seq 1 200); do echo line $i; done; exit 1')).split('\n');
      expect([lines[0], lines.at(-2)]).toEqual(['line 121', 'line 200']);
      const long = await of('yes 0123456789abcde | head -n 1000; exit 1');
      expect(Buffer.byteLength(long)).toBeLessThanOrEqual(2048);
    });

    test('a pod cannot make the agent read another file through it', async () => {
      const script = 'rm -f /dev/termination-log; ln -s /etc/passwd /dev/termination-log; exit 1';
      expect(await message({ script })).toBe('');
      // A volume in the place of the file: a pipe that nobody writes to, and a link to a file of the host.
      const there = { volumeMounts: [{ name: 'v', mountPath: '/tmp/last' }], terminationMessagePath: '/tmp/last' };
      const of = (file: string) =>
        message({ script: 'true', ...there }, { volumes: [{ name: 'v', hostPath: { path: path.join(host, file) } }] });
      await execOk(systemExec, 'mkfifo', [path.join(host, 'pipe')]);
      await symlink('outside/secret', path.join(host, 'link'));
      expect(await of('pipe')).toBe('');
      expect(await of('link')).toBe('');
      const pod = pods.pod({ script: 'echo -n x > /dev/termination-log' });
      await pods.start(pod);
      await pods.ended(pod);
      const dir = path.join(pods.rootDir, 'pods', pod.metadata!.uid!, 'containers/c');
      const [file] = await readdir(dir);
      expect(((await stat(path.join(dir, file!))).mode & 0o777).toString(8)).toBe('666');
      expect(((await stat(dir)).mode & 0o777).toString(8)).toBe('750');
    });
  });
});
