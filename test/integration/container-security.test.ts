// What a container may do: users, groups, capabilities, seccomp, masked paths, namespaces, sysctls; seen from inside,
// in real containerd.
import { existsSync } from 'node:fs';
import { readlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { dockerArchive } from '../../lab/images.ts';
import { containerdMissing } from '../harness/containerd.ts';
import { BUSYBOX, RuntimePods } from '../harness/runtime-pods.ts';

const missing = containerdMissing();
if (missing !== undefined) console.warn(`container tests are skipped: ${missing}`);

/** Bits of include/uapi/linux/capability.h. */
const CAP = { CHOWN: 0n, NET_BIND_SERVICE: 10n, NET_ADMIN: 12n, SYS_TIME: 25n };
const DENY_CHMOD = {
  defaultAction: 'SCMP_ACT_ALLOW',
  syscalls: [{ names: ['chmod', 'fchmod', 'fchmodat', 'fchmodat2'], action: 'SCMP_ACT_ERRNO' }],
};

describe.skipIf(missing !== undefined)('containers from inside', () => {
  let pods: RuntimePods;
  beforeAll(async () => {
    pods = await RuntimePods.start();
    await writeFile(path.join(pods.rootDir, 'seccomp/no-chmod.json'), JSON.stringify(DENY_CHMOD));
  });
  afterAll(async () => {
    await pods?.[Symbol.asyncDispose]();
  });

  const capabilities = async (container: Parameters<RuntimePods['run']>[0]) => {
    const status = await pods.run({ script: 'grep ^Cap /proc/self/status', ...container });
    const of = (set: string) => BigInt(`0x${new RegExp(`^Cap${set}:\\s*(\\w+)`, 'm').exec(status)?.[1]}`);
    const has = (set: string, bit: bigint) => ((of(set) >> bit) & 1n) === 1n;
    return { has, of };
  };

  describe('users and groups', () => {
    test('root and no more groups when nothing is said', async () => {
      expect(await pods.run({ script: 'id -u; id -g' })).toBe('0\n0');
    });

    test("the container's user wins over the pod's; groups are fsGroup and the supplemental ones", async () => {
      const seen = await pods.run(
        { script: 'id -u; id -g; id -G', securityContext: { runAsUser: 1001 } },
        { securityContext: { runAsUser: 1000, runAsGroup: 2000, fsGroup: 3000, supplementalGroups: [4000, 5000] } },
      );
      expect(seen).toBe('1001\n2000\n2000 3000 4000 5000');
    });

    test.each([
      [{ runAsUser: 0 }, "container's runAsUser breaks non-root policy"],
      [{}, 'container has runAsNonRoot and image will run as root'],
    ])('runAsNonRoot with %j does not start', async (more, message) => {
      const securityContext = { runAsNonRoot: true, ...more };
      expect(await pods.refusal({ script: 'true', securityContext })).toContain(
        `CreateContainerConfigError: ${message} (pod: "p`,
      );
    });

    test('runAsNonRoot: a number in the image does, a name does not', async () => {
      for (const [name, user] of [
        ['numbered', '1234'],
        ['named', 'nobody'],
      ] as const) {
        const entries = [
          { kind: 'directory', path: 'etc', mode: 0o755 } as const,
          {
            kind: 'file',
            path: 'etc/passwd',
            content: Buffer.from('nobody:x:65534:65534::/:/bin/false\n'),
            mode: 0o644,
          } as const,
        ];
        const archive = path.join(pods.dir, `${name}.tar`);
        const config = { Cmd: ['/none'], Env: [], User: user };
        await writeFile(archive, dockerArchive({ names: [`docker.io/library/${name}:1`], entries, config }));
        await pods.containerd.importImage(archive);
      }
      const securityContext = { runAsNonRoot: true };
      expect(await pods.refusal({ image: 'docker.io/library/named:1', securityContext })).toContain(
        'CreateContainerConfigError: container has runAsNonRoot and image has non-numeric user (nobody), cannot verify user is non-root',
      );
      // It gets as far as the program that the image does not have.
      expect(await pods.refusal({ image: 'docker.io/library/numbered:1', securityContext })).toMatch(
        /^RunContainerError: .*\/none/s,
      );
    });
  });

  describe('privileges', () => {
    test('added and dropped capabilities', async () => {
      const plain = await capabilities({});
      expect([plain.has('Eff', CAP.CHOWN), plain.has('Eff', CAP.NET_ADMIN)]).toEqual([true, false]);
      const changed = await capabilities({
        securityContext: { capabilities: { add: ['NET_ADMIN', 'SYS_TIME'], drop: ['CHOWN'] } },
      });
      const { CHOWN, NET_ADMIN, SYS_TIME } = CAP;
      expect([CHOWN, NET_ADMIN, SYS_TIME].map((bit) => changed.has('Eff', bit))).toEqual([false, true, true]);
      const none = await capabilities({ securityContext: { capabilities: { drop: ['ALL'] } } });
      expect(none.of('Bnd')).toBe(0n);
      const one = await capabilities({
        securityContext: { capabilities: { drop: ['ALL'], add: ['NET_BIND_SERVICE'] } },
      });
      expect(one.of('Bnd')).toBe(1n << CAP.NET_BIND_SERVICE);
    });

    test('escalation is shut off only where that is said', async () => {
      const flag = (allowPrivilegeEscalation?: boolean) =>
        pods.run({
          script: 'grep NoNewPrivs /proc/self/status',
          securityContext: allowPrivilegeEscalation === undefined ? {} : { allowPrivilegeEscalation },
        });
      expect(await flag()).toMatch(/\t0$/);
      expect(await flag(true)).toMatch(/\t0$/);
      expect(await flag(false)).toMatch(/\t1$/);
    });

    test('a read-only root file system, with volumes still writable', async () => {
      const script = 'touch /new 2>/dev/null && echo root; touch /data/new && echo volume';
      const volumes = [{ name: 'v', emptyDir: {} }];
      const container = { script, volumeMounts: [{ name: 'v', mountPath: '/data' }] };
      expect(await pods.run({ ...container, securityContext: { readOnlyRootFilesystem: true } }, { volumes })).toBe(
        'volume',
      );
      expect(await pods.run(container, { volumes })).toBe('root\nvolume');
    });

    test('a privileged container sees devices and may mount', async () => {
      const script = 'ls /dev | wc -l; mkdir /m && mount -t tmpfs none /m 2>/dev/null && echo mounted';
      const [plain] = (await pods.run({ script })).split('\n');
      const [devices, mounted] = (await pods.run({ script, securityContext: { privileged: true } })).split('\n');
      expect(Number(devices)).toBeGreaterThan(Number(plain));
      expect(mounted).toBe('mounted');
    });
  });

  describe('seccomp', () => {
    const script = 'grep ^Seccomp: /proc/self/status; chmod 700 /tmp 2>/dev/null && echo changed';

    test.each([
      ['nothing said', undefined, 'Seccomp:\t0\nchanged'],
      ['Unconfined', { type: 'Unconfined' }, 'Seccomp:\t0\nchanged'],
      ['RuntimeDefault', { type: 'RuntimeDefault' }, 'Seccomp:\t2\nchanged'],
      ['a profile of the node', { type: 'Localhost', localhostProfile: 'no-chmod.json' }, 'Seccomp:\t2'],
    ])('%s', async (_, seccompProfile, want) => {
      const securityContext = seccompProfile === undefined ? {} : { seccompProfile };
      expect(await pods.run({ script, securityContext })).toBe(want);
    });

    test("the container's wins over the pod's", async () => {
      const spec = { securityContext: { seccompProfile: { type: 'Localhost', localhostProfile: 'no-chmod.json' } } };
      expect(await pods.run({ script }, spec)).toBe('Seccomp:\t2');
      const securityContext = { seccompProfile: { type: 'Unconfined' } };
      expect(await pods.run({ script, securityContext }, spec)).toBe('Seccomp:\t0\nchanged');
    });

    test('a profile that is not there', async () => {
      const seccompProfile = { type: 'Localhost', localhostProfile: 'none.json' };
      expect(await pods.refusal({ script, securityContext: { seccompProfile } })).toMatch(
        /^CreateContainerError: .*seccomp\/none\.json/s,
      );
    });
  });

  describe('AppArmor', () => {
    test('a profile that the host does not have keeps the container from starting', async () => {
      const appArmorProfile = { type: 'Localhost', localhostProfile: 'not-loaded' };
      const securityContext = { appArmorProfile } as object;
      expect(await pods.refusal({ script: 'true', securityContext })).toMatch(/^CreateContainerError: .*apparmor/is);
    });
  });

  describe('/proc and /sys', () => {
    const script = [
      'cat /proc/kcore 2>/dev/null | head -c 1 | wc -c', // masked by /dev/null
      'ls /sys/firmware | wc -l', // masked by an empty tmpfs
      'touch /proc/sys/kernel/hostname 2>/dev/null && (echo x > /proc/sys/kernel/domainname) 2>/dev/null && echo writable',
    ].join('; ');

    test('are hidden and read-only', async () => {
      expect(await pods.run({ script })).toBe('0\n0');
      const mounts = await pods.run({ script: 'cat /proc/mounts' });
      expect(mounts).toMatch(/ \/proc\/sys proc ro,/);
      const there = ['asound', 'acpi', 'interrupts', 'kcore', 'keys', 'timer_list', 'scsi']
        .map((name) => `/proc/${name}`)
        .filter((name) => existsSync(name));
      expect(there.filter((name) => !mounts.includes(` ${name} tmpfs `))).toEqual([]);
    });

    test('procMount Unmasked shows them', async () => {
      const seen = await pods.run({
        script: 'grep -c -E " /proc/" /proc/mounts; echo x > /proc/sys/kernel/domainname && echo writable',
        securityContext: { procMount: 'Unmasked' },
      });
      expect(seen).toBe('0\nwritable');
    });
  });

  describe('namespaces', () => {
    const links = 'for n in net ipc pid uts user; do readlink /proc/self/ns/$n; done';
    const own = async (kinds: readonly string[]) => {
      return await Promise.all(kinds.map((k) => readlink(`/proc/${pods.containerd.pid}/ns/${k}`)));
    };

    test('a pod has its own, a host pod has those of the node', async () => {
      const host = await own(['net', 'ipc', 'pid', 'uts', 'user']);
      const plain = (await pods.run({ script: links })).split('\n');
      for (const i of [0, 1, 2, 3]) expect(plain[i]).not.toBe(host[i]);
      const shared = await pods.run({ script: links }, { hostNetwork: true, hostIPC: true, hostPID: true });
      expect(shared.split('\n').slice(0, 3)).toEqual(host.slice(0, 3));
    });

    test('containers of a pod share network and IPC, and processes where asked', async () => {
      for (const shareProcessNamespace of [false, true]) {
        const pod = pods.podOf(
          [
            { name: 'a', script: `${links}; exec sleep 1000` },
            { name: 'b', script: `${links}; exec sleep 1000` },
          ],
          { shareProcessNamespace },
        );
        await pods.start(pod);
        const seen = async (name: string) => (await pods.exec(pod, ['sh', '-c', links], name)).split('\n');
        const [a, b] = [await seen('a'), await seen('b')];
        expect([a[0], a[1]]).toEqual([b[0], b[1]]);
        expect(a[2] === b[2]).toBe(shareProcessNamespace);
        const processes = await pods.exec(pod, ['sh', '-c', 'cat /proc/[0-9]*/comm | sort | uniq -c'], 'a');
        expect(/pause/.test(processes)).toBe(shareProcessNamespace);
      }
    });

    test('an ephemeral container sees the processes of its target', async () => {
      const pod = pods.podOf([{ name: 'a', script: 'exec sleep 4321' }]);
      await pods.start(pod);
      const debug = { name: 'd', image: BUSYBOX, imagePullPolicy: 'IfNotPresent', targetContainerName: 'a' };
      const command = ['sh', '-c', 'exec sleep 1000'];
      await pods.start({ ...pod, spec: { ...pod.spec!, ephemeralContainers: [{ ...debug, command }] } });
      expect(await pods.exec(pod, ['ps'], 'd')).toContain('sleep 4321');
    });

    test('sysctls are set in the pod, with slashes or dots', async () => {
      const securityContext = {
        sysctls: [
          { name: 'kernel.shm_rmid_forced', value: '1' },
          { name: 'net/ipv4/ip_local_port_range', value: '30000 40000' },
        ],
      };
      const script = 'cat /proc/sys/kernel/shm_rmid_forced /proc/sys/net/ipv4/ip_local_port_range';
      expect(await pods.run({ script }, { securityContext })).toBe('1\n30000\t40000');
    });

    test('a user namespace is refused where the runtime has none', async () => {
      expect(await pods.refusal({ script: 'true' }, { hostUsers: false })).toContain(
        "can't set `spec.hostUsers: false`, runtime does not support user namespaces",
      );
    });
  });

  describe('resources', () => {
    test('limits reach the cgroup, the score of the OOM killer the process', async () => {
      const pod = pods.pod({
        script: 'cat /proc/self/oom_score_adj; exec sleep 1000',
        resources: { requests: { cpu: '100m', memory: '64Mi' }, limits: { cpu: '500m', memory: '128Mi' } },
      });
      await pods.start(pod);
      const { cri } = (await pods.statusOf(pod)).containers[0]!;
      const linux = cri.resources?.linux;
      if (linux !== undefined) {
        expect(linux).toMatchObject({ cpuShares: 102, cpuQuota: 50_000, cpuPeriod: 100_000 });
        expect(linux.memoryLimitInBytes).toBe(128 * 2 ** 20);
      }
      // 1000 − 1000 × 64 Mi / 4 Gi
      expect(await pods.exec(pod, ['cat', '/proc/1/oom_score_adj'])).toBe('985');
    });
  });
});
