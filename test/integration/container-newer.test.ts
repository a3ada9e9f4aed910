// What only a newer runtime has: user namespaces, recursive read-only mounts, images as volumes, strict groups; in
// containerd 2.1 with a runc that knows idmapped mounts.
import { mkdir, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { execOk, systemExec } from '../../host/exec.ts';
import { mountsUnder, systemMounter } from '../../host/mounts.ts';
import { dockerArchive } from '../../lab/images.ts';
import { containerdMissing } from '../harness/containerd.ts';
import { findNewerRunc } from '../harness/newer-runc.ts';
import { RuntimePods } from '../harness/runtime-pods.ts';

const noContainerd = containerdMissing();
const runc = noContainerd === undefined ? await findNewerRunc() : { missing: noContainerd };
const missing = 'missing' in runc ? runc.missing : undefined;
if (missing !== undefined) console.warn(`container tests are skipped: ${missing}`);

const TOOLS = 'docker.io/library/tools:1';

describe.skipIf(missing !== undefined)('with containerd 2.1', () => {
  let pods: RuntimePods;
  beforeAll(async () => {
    pods = await RuntimePods.start({
      version: '2.1',
      ...('program' in runc ? { runc: runc.program } : {}),
      configMaps: [
        { apiVersion: 'v1', kind: 'ConfigMap', metadata: { namespace: 'ns', name: 'cm' }, data: { k: 'v' } },
      ],
    });
    const archive = path.join(pods.dir, 'tools.tar');
    const entries = [
      { kind: 'directory', path: 'dir', mode: 0o755 } as const,
      { kind: 'file', path: 'dir/file', content: Buffer.from('from the image'), mode: 0o644 } as const,
    ];
    await writeFile(archive, dockerArchive({ names: [TOOLS], entries, config: { Env: [] } }));
    await pods.containerd.importImage(archive);
  });
  afterAll(async () => {
    await pods?.[Symbol.asyncDispose]();
  });

  const hostPath = async (name: string) => {
    const dir = path.join(pods.dir, name);
    await mkdir(path.join(dir, 'below'), { recursive: true });
    return { dir, spec: { volumes: [{ name: 'v', hostPath: { path: dir } }] } };
  };
  const mounted = (more: object = {}) => [{ name: 'v', mountPath: '/v', ...more }];

  describe('user namespaces', () => {
    test('root inside is nobody outside, with volumes and files as without one', async () => {
      const pod = pods.pod(
        {
          script:
            'cat /proc/self/uid_map /proc/self/gid_map; id -u; stat -c "%u:%g" /etc/hosts /cm/k; echo hi > /data/mine; stat -c %u /data/mine; touch /etc/hosts && echo -n bye > /dev/termination-log; exec sleep 1000',
          volumeMounts: [
            { name: 'data', mountPath: '/data' },
            { name: 'cm', mountPath: '/cm' },
          ],
        },
        {
          hostUsers: false,
          volumes: [
            { name: 'data', emptyDir: {} },
            { name: 'cm', configMap: { name: 'cm' } },
          ],
        },
      );
      await pods.start(pod);
      await pods.exec(pod, ['sh', '-c', 'until [ -s /dev/termination-log ]; do :; done']);
      const [uids, gids, ...rest] = (await pods.log(pod)).split('\n').map((l) => l.trim().replace(/\s+/g, ' '));
      const hostId = Number(uids?.split(' ')[1]);
      expect(hostId % 65_536).toBe(0);
      expect(hostId).toBeGreaterThanOrEqual(65_536);
      expect([uids, gids]).toEqual([`0 ${hostId} 65536`, `0 ${hostId} 65536`]);
      expect(rest).toEqual(['0', '0:0', '0:0', '0']);

      const dir = path.join(pods.rootDir, 'pods', pod.metadata!.uid!);
      expect((await stat(path.join(dir, 'volumes/kubernetes.io~empty-dir/data/mine'))).uid).toBe(0);
      expect(JSON.parse(await readFile(path.join(dir, 'userns'), 'utf8'))).toEqual({
        uidMappings: [{ hostId, containerId: 0, length: 65_536 }],
        gidMappings: [{ hostId, containerId: 0, length: 65_536 }],
      });
      const pid = await processOf(pods, pod.metadata!.name!);
      expect(await readFile(`/proc/${pid}/status`, 'utf8')).toMatch(new RegExp(`^Uid:\\t${hostId}\\t`, 'm'));
    });

    test('two pods have different ranges; a pod that shares the users of the host has all', async () => {
      const range = (hostUsers: boolean) => pods.run({ script: 'cat /proc/self/uid_map' }, { hostUsers });
      const [a, b] = [await range(false), await range(false)];
      expect(a).not.toBe(b);
      expect((await range(true)).trim().split(/\s+/)).toEqual(['0', '0', '4294967295']);
    });

    test('a sub-path and procMount Unmasked, which is allowed only there', async () => {
      const seen = await pods.run(
        {
          script: 'echo x > /v/file && stat -c %u:%a /v; grep -c " /proc/" /proc/mounts',
          volumeMounts: mounted({ subPath: 'a/b' }),
          securityContext: { procMount: 'Unmasked' },
        },
        { hostUsers: false, volumes: [{ name: 'v', emptyDir: {} }] },
      );
      expect(seen).toBe('0:777\n0');
    });
  });

  describe('recursive read-only', () => {
    const mounter = systemMounter(systemExec);
    test.each<[string, object, string]>([
      ['Enabled', { readOnly: true, recursiveReadOnly: 'Enabled' }, 'no\nno'],
      ['IfPossible', { readOnly: true, recursiveReadOnly: 'IfPossible' }, 'no\nno'],
      ['Disabled', { readOnly: true, recursiveReadOnly: 'Disabled' }, 'no\nyes'],
    ])('%s', async (name, more, want) => {
      const { dir, spec } = await hostPath(`rro-${name}`);
      await execOk(systemExec, 'mount', ['-t', 'tmpfs', 'none', path.join(dir, 'below')]);
      const write = (file: string) => `(touch ${file} 2>/dev/null && echo yes || echo no)`;
      const script = `${write('/v/a')}; ${write('/v/below/a')}`;
      expect(await pods.run({ script, volumeMounts: mounted(more) }, spec)).toBe(want);
      for (const { mountPoint } of mountsUnder(await mounter.list(), dir)) await mounter.unmount(mountPoint);
    });
  });

  describe('image volumes', () => {
    const spec = (reference = TOOLS, pullPolicy = 'IfNotPresent') =>
      ({ volumes: [{ name: 'v', image: { reference, pullPolicy } }] }) as object;

    test('show the files of the image, read-only', async () => {
      const script = 'cat /v/dir/file; echo; touch /v/new 2>/dev/null || echo read-only';
      expect(await pods.run({ script, volumeMounts: mounted() }, spec())).toBe('from the image\nread-only');
    });

    test('a sub-path, which containerd ignores before 2.2', async () => {
      const container = { script: 'ls /v', volumeMounts: mounted({ subPath: 'dir' }) };
      const version = (await pods.containerd.runtime.version()).runtimeVersion;
      if (/^v?2\.1\./.test(version)) {
        expect(await pods.refusal(container, spec())).toContain('does not mount sub-paths of images, containerd 2.2');
      } else {
        expect(await pods.run(container, spec())).toBe('file'); // the newest of Debian moves on
      }
    });

    test('an image that is not there keeps its container from starting', async () => {
      const container = { script: 'true', volumeMounts: mounted() };
      expect(await pods.refusal(container, spec('docker.io/library/none:1', 'Never'))).toBe(
        'ErrImageNeverPull: Container image "docker.io/library/none:1" is not present with pull policy of Never',
      );
    });
  });

  test('strict groups: those of the image stay away', async () => {
    const archive = path.join(pods.dir, 'grouped.tar');
    const image = 'docker.io/library/grouped:1';
    const text = (file: string, content: string) =>
      ({ kind: 'file', path: file, content: Buffer.from(content), mode: 0o644 }) as const;
    const busybox = await readFile('/bin/busybox');
    const entries = [
      { kind: 'directory', path: 'etc', mode: 0o755 } as const,
      { kind: 'directory', path: 'bin', mode: 0o755 } as const,
      { kind: 'file', path: 'bin/busybox', content: busybox, mode: 0o755 } as const,
      text('etc/passwd', 'alice:x:1000:1000::/:/bin/false\n'),
      text('etc/group', 'alice:x:1000:\nimage:x:50000:alice\n'),
    ];
    await writeFile(archive, dockerArchive({ names: [image], entries, config: { Env: [] } }));
    await pods.containerd.importImage(archive);
    const groups = (supplementalGroupsPolicy: string) =>
      pods.run({ image, command: ['/bin/busybox', 'id', '-G'] }, {
        securityContext: { runAsUser: 1000, supplementalGroups: [60_000], supplementalGroupsPolicy },
      } as object);
    expect((await groups('Merge')).split(' ').sort()).toEqual(['1000', '50000', '60000']);
    expect((await groups('Strict')).split(' ').sort()).toEqual(['1000', '60000']);
  });
});

/** The process of the host whose arguments name the pod's script. */
async function processOf(pods: RuntimePods, podName: string): Promise<number> {
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name)) continue;
    const [uts, command] = await Promise.all([
      readFile(`/proc/${name}/root/etc/hostname`, 'utf8').catch(() => ''),
      readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => ''),
    ]);
    if (uts.trim() !== podName || !command.startsWith('sleep\0')) continue;
    const cgroup = await readFile(`/proc/${name}/cgroup`, 'utf8');
    if (cgroup.includes(pods.containerd.cgroupParent)) return Number(name);
  }
  throw new Error(`no process of ${podName}`);
}
