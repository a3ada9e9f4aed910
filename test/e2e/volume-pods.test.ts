// What pods find in the volumes that a node makes by itself, and how that follows the objects it comes from: the cases of
// the sig-storage conformance suite, asked inside real containers. Each test has pods of its own on one node.
import { mkdir, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Pod, Volume } from '../../api/pod.ts';
import { parseQuantity, quantityMilliValue, quantityValue } from '../../api/quantity.ts';
import { configMaps, nodes, pods, secrets } from '../../api/resources.ts';
import { execOk, systemExec } from '../../host/exec.ts';
import { labMissing } from '../harness/cluster.ts';
import { FaultNode, NODE } from '../harness/fault-node.ts';
import { LabPods, STAY } from '../harness/lab-pods.ts';

const missing = labMissing();
if (missing !== undefined) console.warn(`volume tests of pods are skipped: ${missing}`);

/** Each volume below /v, under its name. */
const atV = (volumes: readonly Volume[]) => volumes.map(({ name }) => ({ name, mountPath: `/v/${name}` }));
/** Every file of every such volume with its content. */
const READ_ALL = 'cd /v; for f in */*; do [ -e "$f" ] && echo "$f=$(cat "$f")"; done; true';

describe.skipIf(missing !== undefined)('volumes of pods', () => {
  let node: FaultNode;
  let lab: LabPods;
  /** A directory of the node. */
  let host: string;

  beforeAll(async () => {
    node = await FaultNode.start();
    lab = await LabPods.create(node, 'volumes');
    host = path.join(node.cluster.dir, 'host');
    await mkdir(host);
  });
  afterAll(async () => {
    await node?.[Symbol.asyncDispose]();
  });

  describe.concurrent('emptyDir', () => {
    test.each([
      ['root', {}, '777 0:0', '1777 0:0', '0:0'],
      ['root with fsGroup', { fsGroup: 1234 }, '2777 0:1234', '3777 0:1234', '0:1234'],
      ['a user', { runAsUser: 1001 }, '777 0:0', '1777 0:0', '1001:0'],
      ['a user with fsGroup', { runAsUser: 1001, fsGroup: 1234 }, '2777 0:1234', '3777 0:1234', '1001:1234'],
    ])('%s writes files of any mode, on disk and in memory', async (who, securityContext, onDisk, inMemory, ofFile) => {
      const volumes: Volume[] = [
        { name: 'disk', emptyDir: {} },
        { name: 'memory', emptyDir: { medium: 'Memory', sizeLimit: '10Mi' } },
      ];
      const script = `
        for v in disk memory; do
          cd /v/$v; stat -c '%F %a %u:%g' .
          for mode in 644 666 777; do
            echo -n 'content of' > $mode; chmod $mode $mode; echo "$(cat $mode) $(stat -c '%n %u:%g %a' $mode)"
          done
        done
        awk '$2 == "/v/memory" { print $3 }' /proc/mounts; df -k /v/memory | awk 'NR == 2 { print $2 }'`;
      const files = ['644', '666', '777'].map((m) => `content of ${m} ${ofFile} ${m}`);
      const both = [`directory ${onDisk}`, ...files, `directory ${inMemory}`, ...files];
      const name = `empty-${who.replaceAll(' ', '-').toLowerCase()}`;
      const told = await lab.run(name, { script, volumeMounts: atV(volumes) }, { volumes, securityContext });
      expect(told.split('\n')).toEqual([...both, 'tmpfs', '10240']);
    });

    test('is shared by the containers of a pod, and kept when one of them starts anew', async () => {
      const volumes: Volume[] = [{ name: 'shared', emptyDir: {} }];
      const script = `echo started >> /v/shared/starts; [ $(wc -l < /v/shared/starts) = 2 ] || exit 1; ${STAY}`;
      const reader = { name: 'reader', image: 'busybox', imagePullPolicy: 'IfNotPresent', command: ['sh', '-c', STAY] };
      const containers = [{ ...reader, volumeMounts: [{ name: 'shared', mountPath: '/other' }] }];
      await lab.apply('empty-shared', { script, volumeMounts: atV(volumes) }, { volumes, containers });
      // Ready alone would not do: it may be so for the moment before the first run of `main` ends.
      const restarts = (p: Pod) => p.status?.containerStatuses?.map((c) => `${c.name} ${c.restartCount} ${c.ready}`);
      const pod = await lab.until('empty-shared', (p) => restarts(p)?.join() === 'main 1 true,reader 0 true');
      expect(await lab.exec(pod, 'cat /other/starts', 'reader')).toBe('started\nstarted');
    });

    test('is mounted twice, for reading only at one place, and inside another volume', async () => {
      await lab.make(configMaps, { metadata: { name: 'outer' }, data: { key: 'of the configMap' } });
      const volumes: Volume[] = [
        { name: 'twice', emptyDir: {} },
        { name: 'outer', configMap: { name: 'outer' } },
        { name: 'again', configMap: { name: 'outer' } },
      ];
      const volumeMounts = [
        { name: 'twice', mountPath: '/rw' },
        { name: 'twice', mountPath: '/ro', readOnly: true },
        { name: 'twice', mountPath: '/v/outer/inner' },
        ...atV(volumes.slice(1)),
      ];
      const script = `
        echo written > /rw/file; cat /ro/file /v/outer/inner/file; touch /ro/other 2>/dev/null || echo read-only
        cat /v/outer/key; echo; cat /v/again/key`;
      const told = await lab.run('empty-twice', { script, volumeMounts }, { volumes });
      expect(told.split('\n')).toEqual(['written', 'written', 'read-only', 'of the configMap', 'of the configMap']);
    });
  });

  describe.concurrent('configMap, secret, downwardAPI and projected', () => {
    beforeAll(async () => {
      const binaryData = { bin: Buffer.from([0, 255, 10]).toString('base64') };
      await lab.make(configMaps, { metadata: { name: 'files' }, data: { plain: 'text' }, binaryData });
      await lab.make(secrets, { metadata: { name: 'files' }, stringData: { password: 'hidden' } });
    });

    test('files are of their type and mode, behind links, and cannot be written', async () => {
      const items = [
        { key: 'plain', path: 'deep/er/file', mode: 0o440 },
        { key: 'bin', path: 'bin' },
      ];
      const volumes: Volume[] = [
        { name: 'all', configMap: { name: 'files', defaultMode: 0o400 } },
        { name: 'items', configMap: { name: 'files', items, defaultMode: 0o604 } },
        { name: 'secret', secret: { secretName: 'files' } },
      ];
      const script = `
        cd /v; stat -c '%n %F %a' all all/plain all/..data; readlink all/plain
        stat -L -c '%n %F %a %u:%g' all/plain all/bin all/..data items/deep items/deep/er/file items/bin secret/password
        od -An -tx1 all/bin; ls items items/deep/er; cat secret/password; echo
        for v in all items secret; do touch $v/new 2>/dev/null || echo $v read-only; done`;
      const told = await lab.run('files', { script, volumeMounts: atV(volumes) }, { volumes });
      expect(told.split('\n')).toEqual([
        ...['all directory 777', 'all/plain symbolic link 777', 'all/..data symbolic link 777', '..data/plain'],
        ...['all/plain regular file 400 0:0', 'all/bin regular file 400 0:0', 'all/..data directory 755 0:0'],
        ...['items/deep directory 755 0:0', 'items/deep/er/file regular file 440 0:0'],
        ...['items/bin regular file 604 0:0', 'secret/password regular file 644 0:0', ' 00 ff 0a'],
        ...['items:', 'bin', 'deep', '', 'items/deep/er:', 'file', 'hidden'],
        ...['all read-only', 'items read-only', 'secret read-only'],
      ]);
    });

    test('a user who is not root reads through the group of the volume', async () => {
      const sources = [{ configMap: { name: 'files' } }, { secret: { name: 'files' } }];
      const volumes: Volume[] = [
        { name: 'config', configMap: { name: 'files', defaultMode: 0o440 } },
        { name: 'secret', secret: { secretName: 'files', defaultMode: 0o400 } },
        { name: 'projected', projected: { sources, defaultMode: 0o040 } },
      ];
      const script = `
        cd /v; stat -L -c '%n %a %u:%g' config/plain secret/password projected/plain projected
        cat config/plain secret/password projected/plain projected/password`;
      const securityContext = { runAsUser: 1000, fsGroup: 1001 };
      const told = await lab.run('files-group', { script, volumeMounts: atV(volumes) }, { volumes, securityContext });
      expect(told.split('\n')).toEqual([
        ...['config/plain 440 0:1001', 'secret/password 440 0:1001', 'projected/plain 440 0:1001'],
        ...['projected 3777 0:1001', 'texthiddentexthidden'],
      ]);
    });

    test('objects that come, change and go show in a pod that runs', async () => {
      // Only the group makes them readable for this user, also those that come later.
      const securityContext = { runAsUser: 1000, fsGroup: 1001 };
      const defaultMode = 0o400;
      const volumes = ['comes', 'changes', 'goes'].flatMap((name): Volume[] => [
        { name: `config-${name}`, configMap: { name, optional: true, defaultMode } },
        { name: `secret-${name}`, secret: { secretName: name, optional: true, defaultMode } },
        {
          name: `projected-config-${name}`,
          projected: { sources: [{ configMap: { name, optional: true } }], defaultMode },
        },
        {
          name: `projected-secret-${name}`,
          projected: { sources: [{ secret: { name, optional: true } }], defaultMode },
        },
      ]);
      const make = async (name: string) => {
        await lab.make(configMaps, { metadata: { name }, data: { key: 'first' } });
        await lab.make(secrets, { metadata: { name }, stringData: { key: 'first' } });
      };
      const shown = (values: Readonly<Record<string, string>>) =>
        volumes
          .map((v) => ({ name: v.name, value: values[v.name.replace(/^.*-/, '')] }))
          .filter(({ value }) => value !== undefined)
          .map(({ name, value }) => `${name}/key=${value}`)
          .sort()
          .join('\n');
      await Promise.all([make('changes'), make('goes')]);
      const pod = await lab.start('updates', { volumeMounts: atV(volumes) }, { volumes, securityContext });
      expect(await lab.exec(pod, READ_ALL)).toBe(shown({ changes: 'first', goes: 'first' }));
      await Promise.all([
        make('comes'),
        lab.patch(configMaps, 'changes', { data: { key: 'second' } }),
        lab.patch(secrets, 'changes', { stringData: { key: 'second' } }),
        lab.delete(configMaps, 'goes'),
        lab.delete(secrets, 'goes'),
      ]);
      await lab.untilExec(pod, READ_ALL, shown({ comes: 'first', changes: 'second' }));
    });

    test('an object or key that is missing is told of, and the pod starts as soon as it is there', async () => {
      await lab.make(configMaps, { metadata: { name: 'incomplete' }, data: { other: 'there' } });
      const items = [{ key: 'key', path: 'key' }];
      const volumes: Volume[] = [
        { name: 'key', configMap: { name: 'incomplete', items } },
        { name: 'object', secret: { secretName: 'absent' } },
        {
          name: 'projected',
          projected: { sources: [{ configMap: { name: 'absent' } }, { secret: { name: 'absent' } }] },
        },
        { name: 'spare', configMap: { name: 'incomplete', items, optional: true } },
      ];
      await lab.apply('missing', { volumeMounts: atV(volumes) }, { volumes });
      for (const [volume, why] of [
        ['key', 'configmap references non-existent config key: key'],
        ['object', 'secret "absent" not found'],
        ['projected', '[configmap "absent" not found, secret "absent" not found]'],
      ]) {
        await lab.untilEvent('missing', 'FailedMount', `MountVolume.SetUp failed for volume "${volume}" : ${why}`);
      }
      await lab.make(configMaps, { metadata: { name: 'absent' }, data: { config: 'late' } });
      await lab.make(secrets, { metadata: { name: 'absent' }, stringData: { secret: 'late' } });
      await lab.patch(configMaps, 'incomplete', { data: { key: 'late' } });
      const pod = await lab.ready('missing');
      const shown = ['key/key', 'object/secret', 'projected/config', 'projected/secret', 'spare/key'];
      await lab.untilExec(pod, READ_ALL, shown.map((file) => `${file}=late`).join('\n'));
    });

    test('an immutable object is read like any other, and nobody changes it', async () => {
      const metadata = { name: 'fixed' };
      await lab.make(configMaps, { metadata, data: { key: 'config' }, immutable: true });
      await lab.make(secrets, { metadata, stringData: { key: 'secret' }, immutable: true });
      const volumes: Volume[] = [
        { name: 'config', configMap: { name: 'fixed' } },
        { name: 'secret', secret: { secretName: 'fixed' } },
      ];
      const immutable = /field is immutable when `immutable` is set/;
      for (const change of [{ data: { key: 'b3RoZXI=' } }, { immutable: false }]) {
        await expect(lab.patch(configMaps, 'fixed', change)).rejects.toThrow(immutable);
        await expect(lab.patch(secrets, 'fixed', change)).rejects.toThrow(immutable);
      }
      const told = await lab.run('immutable', { script: READ_ALL, volumeMounts: atV(volumes) }, { volumes });
      expect(told).toBe('config/key=config\nsecret/key=secret');
    });

    test.each([
      ['anyone', {}, '644 0:0'],
      ['one user', { runAsUser: 1000 }, '600 1000:0'],
      ['a group', { fsGroup: 1234 }, '640 0:1234'],
      ['a user and a group', { runAsUser: 1000, fsGroup: 1234 }, '640 1000:1234'],
    ])('several sources in one volume, with a token for %s', async (who, securityContext, ofToken) => {
      const token = { path: 'token', audience: 'vault', expirationSeconds: 607 };
      const sources = [
        { configMap: { name: 'files', items: [{ key: 'plain', path: 'config/text' }] } },
        { secret: { name: 'files' } },
        { downwardAPI: { items: [{ path: 'name', fieldRef: { fieldPath: 'metadata.name' } }] } },
        { serviceAccountToken: token },
      ];
      const volumes: Volume[] = [{ name: 'all', projected: { sources } }];
      const script = `
        cd /v/all; stat -L -c '%a %u:%g' token; cat token; echo
        cat config/text; echo; cat password; echo; cat name`;
      const name = `projected-${who.replaceAll(' ', '-')}`;
      const told = await lab.run(name, { script, volumeMounts: atV(volumes) }, { volumes, securityContext });
      const [access, jwt, ...others] = told.split('\n');
      expect(access).toBe(ofToken);
      expect(others).toEqual(['text', 'hidden', name]);
      const claims = JSON.parse(Buffer.from(jwt!.split('.')[1]!, 'base64url').toString('utf8'));
      expect(claims).toMatchObject({
        aud: ['vault'],
        sub: 'system:serviceaccount:volumes:default',
        'kubernetes.io': { namespace: 'volumes', pod: { name } },
      });
      expect(claims.exp - claims.iat).toBe(607);
    });

    test('labels and annotations that change show in a pod that runs', async () => {
      const field = (name: string) => ({ path: name, fieldRef: { fieldPath: `metadata.${name}` } });
      const own = { path: 'team', fieldRef: { fieldPath: "metadata.annotations['team']" } };
      const volumes: Volume[] = [
        { name: 'plain', downwardAPI: { items: [field('labels'), field('annotations'), own] } },
        { name: 'projected', projected: { sources: [{ downwardAPI: { items: [field('labels')] } }] } },
      ];
      const metadata = { labels: { a: '1' }, annotations: { team: 'one' } };
      const pod = await lab.start('downward', { volumeMounts: atV(volumes) }, { volumes }, metadata);
      expect(await lab.exec(pod, 'cat /v/*/labels /v/plain/team')).toBe('a="1"a="1"one');
      await lab.patch(pods, 'downward', { metadata: { labels: { a: null, b: '2' }, annotations: { team: 't"wo' } } });
      await lab.untilExec(pod, 'cat /v/*/labels /v/plain/team', 'b="2"b="2"t"wo');
      expect(await lab.exec(pod, 'grep ^team /v/plain/annotations')).toBe('team="t\\"wo"');
    });

    test('resources of a container, which are those of the node where it has no limits', async () => {
      const resource = (path: string, resource: string, divisor = '0') => ({
        path,
        mode: 0o400,
        resourceFieldRef: { containerName: path.split('-')[0]!, resource, divisor },
      });
      const items = [
        resource('main-cpu-limit', 'limits.cpu'),
        resource('main-cpu-millis', 'limits.cpu', '1m'),
        resource('main-memory-limit', 'limits.memory', '1Mi'),
        resource('main-memory-request', 'requests.memory'),
        resource('free-cpu-limit', 'limits.cpu', '1m'),
        resource('free-memory-limit', 'limits.memory'),
        resource('free-memory-request', 'requests.memory'),
      ];
      const volumes: Volume[] = [{ name: 'd', downwardAPI: { items } }];
      const resources = { limits: { cpu: '1250m', memory: '64Mi' }, requests: { cpu: '10m', memory: '32Mi' } };
      const free = { name: 'free', image: 'busybox', imagePullPolicy: 'IfNotPresent', command: ['true'] };
      const container = { script: `stat -L -c %a /v/d/main-cpu-limit; ${READ_ALL}`, resources };
      const spec = { volumes, containers: [free] };
      const told = await lab.run('downward-resources', { ...container, volumeMounts: atV(volumes) }, spec);
      const { cpu = '', memory = '' } = (await node.client.get(nodes, { name: NODE })).status?.allocatable ?? {};
      expect(told.split('\n')).toEqual([
        '400',
        `d/free-cpu-limit=${quantityMilliValue(parseQuantity(cpu))}`,
        `d/free-memory-limit=${quantityValue(parseQuantity(memory))}`,
        'd/free-memory-request=0',
        ...['d/main-cpu-limit=2', 'd/main-cpu-millis=1250'],
        ...['d/main-memory-limit=64', `d/main-memory-request=${32 << 20}`],
      ]);
    });
  });

  describe.concurrent('subPath', () => {
    test('of a volume that follows objects stays as it was until the container starts anew', async () => {
      const metadata = { name: 'pinned' };
      await lab.make(configMaps, { metadata, data: { key: 'old' } });
      await lab.make(secrets, { metadata, stringData: { key: 'old' } });
      const note = { path: 'key', fieldRef: { fieldPath: "metadata.annotations['note']" } };
      const volumes: Volume[] = [
        { name: 'config', configMap: { name: 'pinned' } },
        { name: 'downward', downwardAPI: { items: [note] } },
        { name: 'projected', projected: { sources: [{ configMap: { name: 'pinned' } }] } },
        { name: 'secret', secret: { secretName: 'pinned' } },
      ];
      const pinned = volumes.map(({ name }) => ({ name, mountPath: `/pinned/${name}`, subPath: 'key' }));
      const overFile = { name: 'config', mountPath: '/etc/hosts', subPath: 'key' };
      const volumeMounts = [...atV(volumes), ...pinned, overFile];
      const pod = await lab.start('pinned', { volumeMounts }, { volumes }, { annotations: { note: 'old' } });
      await lab.patch(configMaps, 'pinned', { data: { key: 'new' } });
      await lab.patch(secrets, 'pinned', { stringData: { key: 'new' } });
      await lab.patch(pods, 'pinned', { metadata: { annotations: { note: 'new' } } });
      await lab.untilExec(pod, READ_ALL, volumes.map(({ name }) => `${name}/key=new`).join('\n'));
      expect(await lab.exec(pod, 'cat /pinned/* /etc/hosts')).toBe('old'.repeat(5));

      // The agent's mount still holds a file that the volume has no more: it must not be in the way of the next start.
      const statusOf = (p: Pod) => p.status?.containerStatuses?.[0];
      await node.runtime.stopContainer(statusOf(pod)!.containerID!.replace('containerd://', ''), 0);
      const again = await lab.until('pinned', (p) => statusOf(p)?.restartCount === 1 && statusOf(p)?.ready === true);
      expect(await lab.exec(again, 'cat /pinned/* /etc/hosts')).toBe('new'.repeat(5));
    });

    test('is a file, a directory that it makes, or named by variables', async () => {
      const volumes: Volume[] = [{ name: 'v', emptyDir: {} }];
      const mount = (mountPath: string, more: object = {}) => ({ name: 'v', mountPath, ...more });
      const prepare = ['sh', '-c', 'echo prepared > /v/file'];
      const first = { name: 'first', image: 'busybox', imagePullPolicy: 'IfNotPresent', command: prepare };
      const container = {
        env: [{ name: 'POD', valueFrom: { fieldRef: { fieldPath: 'metadata.name' } } }],
        volumeMounts: [
          mount('/file', { subPath: 'file' }),
          mount('/made', { subPath: 'a/b' }),
          mount('/named', { subPathExpr: 'logs/$(POD)' }),
          mount('/v'),
        ],
        script: 'cat /file; stat -c %a /made; touch /made/mine /named/mine; cd /v; find . -type f | sort',
      };
      const spec = {
        volumes,
        initContainers: [{ ...first, volumeMounts: [mount('/v')] }],
        securityContext: { runAsUser: 1000 },
      };
      const told = await lab.run('subpaths', container, spec);
      expect(told.split('\n')).toEqual(['prepared', '777', './a/b/mine', './file', './logs/subpaths/mine']);
    });

    test('that leads out is refused by the API, or by the node where only it knows; another value lets it start', async () => {
      const volumes: Volume[] = [{ name: 'v', emptyDir: {} }];
      const mount = (more: object) => ({ volumeMounts: [{ name: 'v', mountPath: '/v', ...more }] });
      const refused = (name: string, subPath: string) => lab.apply(name, mount({ subPath }), { volumes });
      await expect(refused('up', '../up')).rejects.toThrow("must not contain '..'");
      await expect(refused('absolute', '/tmp')).rejects.toThrow('must be a relative path');
      for (const [name, bad, why] of [
        ['expanded-up', '../up', "must not contain '..'"],
        ['expanded-absolute', '/tmp', 'must not be an absolute path'],
      ] as const) {
        const env = [{ name: 'DIR', valueFrom: { fieldRef: { fieldPath: "metadata.annotations['dir']" } } }];
        const container = { env, ...mount({ subPathExpr: '$(DIR)' }) };
        await lab.apply(name, container, { volumes }, { annotations: { dir: bad } });
        const waiting = (p: Pod) => p.status?.containerStatuses?.[0]?.state?.waiting ?? {};
        const failed = await lab.until(name, (p) => waiting(p).reason === 'CreateContainerConfigError');
        expect(waiting(failed).message).toContain(why);
        await lab.patch(pods, name, { metadata: { annotations: { dir: 'inside' } } });
        await lab.ready(name);
      }
    });
  });

  describe.concurrent('hostPath', () => {
    test('of every type, made where that is asked', async () => {
      const dir = path.join(host, 'types');
      await mkdir(path.join(dir, 'dir'), { recursive: true });
      await writeFile(path.join(dir, 'file'), '');
      await execOk(systemExec, 'mknod', [path.join(dir, 'char'), 'c', '1', '3']);
      await execOk(systemExec, 'mknod', [path.join(dir, 'block'), 'b', '7', '200']);
      const server = createServer();
      await new Promise<void>((resolve) => server.listen(path.join(dir, 'socket'), resolve));
      try {
        const volume = (name: string, type: string, file = name) => ({
          name,
          hostPath: { path: path.join(dir, file), type },
        });
        const volumes: Volume[] = [
          volume('dir', 'Directory'),
          volume('made', 'DirectoryOrCreate', 'made/deep'),
          volume('kept', 'DirectoryOrCreate', 'dir'),
          volume('file', 'File'),
          volume('touched', 'FileOrCreate'),
          volume('socket', 'Socket'),
          volume('char', 'CharDevice'),
          volume('block', 'BlockDevice'),
          volume('any', '', 'by-the-runtime'),
        ];
        const script = 'cd /v; for v in *; do stat -c "%n %F" $v; done; stat -c "%n %a" made touched';
        const told = await lab.run('host-types', { script, volumeMounts: atV(volumes) }, { volumes });
        expect(told.split('\n')).toEqual([
          ...['any directory', 'block block special file', 'char character special file', 'dir directory'],
          ...['file regular empty file', 'kept directory', 'made directory', 'socket socket'],
          ...['touched regular empty file', 'made 755', 'touched 644'],
        ]);
      } finally {
        await new Promise((resolve) => server.close(resolve));
      }
    });

    test('that is something else is told in an Event of each volume; once put right, the pod starts', async () => {
      const dir = path.join(host, 'wrong');
      await mkdir(path.join(dir, 'dir'), { recursive: true });
      const cases: readonly (readonly [string, string, string])[] = [
        ['Directory', 'later-dir', 'hostPath type check failed: % is not a directory'],
        ['File', 'later-file', 'hostPath type check failed: % is not a file'],
        ['FileOrCreate', 'later-parent/file', 'open %: no such file or directory'],
        ['Socket', 'dir', 'hostPath type check failed: % is not a socket file'],
        ['CharDevice', 'dir', 'hostPath type check failed: % is not a character device'],
        ['BlockDevice', 'dir', 'hostPath type check failed: % is not a block device'],
      ];
      const volumes = cases.map(
        ([type, file]): Volume => ({ name: type.toLowerCase(), hostPath: { path: path.join(dir, file), type } }),
      );
      const start = (name: string, some: Volume[]) => lab.apply(name, { volumeMounts: atV(some) }, { volumes: some });
      await start('host-wrong', volumes);
      for (const [type, file, why] of cases) {
        const text = `MountVolume.SetUp failed for volume "${type.toLowerCase()}" : `;
        await lab.untilEvent('host-wrong', 'FailedMount', text + why.replace('%', path.join(dir, file)));
      }
      await start('host-later', volumes.slice(0, 3));
      const [, file, why] = cases[0]!;
      const text = `MountVolume.SetUp failed for volume "directory" : ${why.replace('%', path.join(dir, file))}`;
      await lab.untilEvent('host-later', 'FailedMount', text);
      await mkdir(path.join(dir, 'later-dir'));
      await mkdir(path.join(dir, 'later-parent'));
      await writeFile(path.join(dir, 'later-file'), '');
      await lab.ready('host-later');
    });
  });

  test('an agent that is killed mounts nothing again, and brings what changed meanwhile', async () => {
    const metadata = { name: 'survives' };
    await lab.make(configMaps, { metadata, data: { key: 'old' } });
    await lab.make(secrets, { metadata, stringData: { key: 'kept' } });
    const volumes: Volume[] = [
      { name: 'config', configMap: { name: 'survives' } },
      { name: 'memory', emptyDir: { medium: 'Memory' } },
      { name: 'secret', secret: { secretName: 'survives' } },
    ];
    const volumeMounts = [...atV(volumes), { name: 'config', mountPath: '/pinned', subPath: 'key' }];
    const before = await lab.start('survives', { volumeMounts }, { volumes });
    await lab.exec(before, 'echo mine > /v/memory/file');
    const uid = before.metadata!.uid!;
    /** Their places with their ids, which a new mount would not have. */
    const mounts = async () =>
      (await node.cluster.inNode(NODE, 'cat', '/proc/self/mountinfo'))
        .split('\n')
        .map((line) => line.split(' '))
        .map(([id, , , , place = '']) => ({ id, place }))
        .filter(({ place }) => place.includes(uid) || place === `${node.paths.kubeletRoot}/volatile`);
    const mountsBefore = await mounts();
    const shownBefore = await lab.exec(before, 'readlink /v/secret/..data');

    await node.killAgent();
    await lab.patch(configMaps, 'survives', { data: { key: 'new' } });
    await (await node.startAgent())();
    await lab.untilExec(before, READ_ALL, 'config/key=new\nmemory/file=mine\nsecret/key=kept');
    expect(await lab.exec(before, 'cat /pinned; readlink /v/secret/..data')).toBe(`old${shownBefore}`);
    expect(mountsBefore).toHaveLength(3); // memory, the secrets' tmpfs of the node, the sub-path
    expect(await mounts()).toEqual(mountsBefore);
    await lab.patch(configMaps, 'survives', { data: { key: 'newer' } });
    await lab.untilExec(before, 'cat /v/config/key', 'newer');
    const [container] = (await lab.ready('survives')).status?.containerStatuses ?? [];
    expect(container).toMatchObject({
      containerID: before.status?.containerStatuses?.[0]?.containerID,
      restartCount: 0,
    });
  });

  test('pods of all these volumes leave nothing on the node, nor do those that never started', async () => {
    await lab.deletePods();
    await node.untilClean(60_000);
  });
});
