// Cgroups of the real kernel, in a tree of our own: what processes are in them, and what the QoS classes may have.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { accessSync, constants } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { createInterface } from 'node:readline';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { silentLog } from '../../core/log.ts';
import { CgroupFs, type CgroupHierarchies, detectCgroups } from '../../host/cgroup.ts';
import { SystemCgroupMembers } from '../../host/cgroup-members.ts';
import { destroyCgroupTree } from '../../host/cgroup-tree.ts';
import { PodCgroups } from '../../kubelet/resources/pod-cgroup.ts';

const MIB = 2 ** 20;

/** Why there are no cgroups to be made here; undefined when there are. */
const hierarchies: CgroupHierarchies | undefined = await detectCgroups().catch(() => undefined);
const memory = hierarchies?.mounts.get(hierarchies.version === 2 ? 'unified' : 'memory');

function isWritable(dir: string | undefined): boolean {
  if (dir === undefined || process.getuid?.() !== 0) return false;
  try {
    accessSync(dir, constants.W_OK);
    return true;
  } catch {
    return false;
  }
}

describe.skipIf(!isWritable(memory))('cgroups', () => {
  const fs = new CgroupFs(hierarchies!);
  const isV1 = hierarchies?.version === 1;
  let count = 0;
  let root: string;
  let children: ChildProcess[];
  beforeEach(() => {
    root = `/nodelet-cgroups-${process.pid}-${count++}`;
    children = [];
  });
  afterEach(async () => {
    const closed = children.map((child) => once(child, 'close'));
    for (const child of children) child.kill('SIGKILL');
    await Promise.all(closed);
    expect(await destroyCgroupTree(root)).toEqual([]);
  });

  async function start(...command: [string, ...string[]]): Promise<ChildProcess> {
    const child = spawn(command[0], command.slice(1), { stdio: ['pipe', 'pipe', 'inherit'] });
    await once(child, 'spawn');
    children.push(child);
    return child;
  }

  test('a process is moved into a group of every hierarchy, which is made where it is missing', async () => {
    const members = new SystemCgroupMembers(fs);
    const { pid } = await start('sleep', '600');
    const name = `${root}/inner`;
    await members.join(name, pid!);
    await members.join(name, pid!);
    expect(await members.groupOf(pid!)).toBe(name);
    expect(await members.processesIn(name)).toEqual([pid]);
    expect(await members.processesIn(root)).toEqual([]);
    const groups = (await readFile(`/proc/${pid}/cgroup`, 'utf8')).trimEnd().split('\n');
    // Beside those of v1 the tree of v2 is empty.
    const ours = isV1 ? groups.filter((line) => !line.startsWith('0::')) : groups;
    expect(ours.filter((line) => !line.endsWith(`:${name}`))).toEqual([]);
  });

  test('a process that has ended meanwhile is nobody’s fault', async () => {
    const members = new SystemCgroupMembers(fs);
    const child = await start('true');
    if (child.exitCode === null) await once(child, 'exit');
    children = [];
    await members.join(root, child.pid!);
  });

  const limitOf = async (level: string): Promise<number> =>
    (await fs.readMemory(`${root}/kubepods/${level}`)).limitBytes;

  function podOf(uid: string, requestMib: number, isGuaranteed: boolean): Pod {
    const amounts = { cpu: '100m', memory: `${requestMib}Mi` };
    const resources = { requests: amounts, ...(isGuaranteed ? { limits: amounts } : {}) };
    return { metadata: { uid, name: uid, namespace: 'n' }, spec: { containers: [{ name: 'c', resources }] } };
  }

  const agent = (percent: number, allocatableMib: number) =>
    new PodCgroups(
      {
        cgroupsPerQos: true,
        driver: 'cgroupfs',
        root,
        cpuCfsQuota: true,
        cpuPeriodUs: 100_000,
        podPidsLimit: 0,
        qosReserved: { percent, allocatableBytes: allocatableMib * MIB },
      },
      { fs, log: silentLog },
    );

  test('with qosReserved the classes below are kept from the memory that pods ask for', async () => {
    const cgroups = agent(50, 512);
    await cgroups.ensureTree();
    await cgroups.ensurePodCgroup(podOf('g', 128, true));
    await cgroups.ensurePodCgroup(podOf('b', 64, false));
    expect([await limitOf('burstable'), await limitOf('besteffort')]).toEqual([448 * MIB, 416 * MIB]);
    await cgroups.removePodCgroup('g');
    expect([await limitOf('burstable'), await limitOf('besteffort')]).toEqual([512 * MIB, 480 * MIB]);
  });

  // On v2 the kernel takes the limit, and what it cannot take back it kills.
  test.skipIf(!isV1)('with qosReserved a class that uses more already is kept to what it uses', async () => {
    const cgroups = agent(100, 256);
    await cgroups.ensureTree();
    const hoarder = await start(
      'sh',
      '-c',
      'read go; x=$(head -c 33554432 /dev/zero | tr "\\0" x); echo full; read go',
    );
    const lines = createInterface({ input: hoarder.stdout! })[Symbol.asyncIterator]();
    await new SystemCgroupMembers(fs).join(`${root}/kubepods/besteffort`, hoarder.pid!);
    hoarder.stdin!.write('go\n');
    expect((await lines.next()).value).toBe('full');
    await cgroups.ensurePodCgroup(podOf('g', 250, true));
    expect(await limitOf('burstable')).toBe(6 * MIB);
    expect(await limitOf('besteffort')).toBeGreaterThanOrEqual(32 * MIB);
    expect(hoarder.exitCode ?? hoarder.signalCode).toBeNull();
    const ended = once(hoarder, 'exit');
    hoarder.kill('SIGKILL');
    await ended;
    children = [];
    await cgroups.refreshLevels();
    expect(await limitOf('besteffort')).toBe(6 * MIB);
  });

  test('a weight that somebody else has set is taken back', async () => {
    const cgroups = agent(0, 512);
    await cgroups.ensureTree();
    await cgroups.ensurePodCgroup(podOf('b', 64, false));
    const level = `${root}/kubepods/burstable`;
    const before = await fs.readCpu(level);
    await fs.setLimits(level, { cpuShares: 5000 });
    expect((await fs.readCpu(level)).share).not.toBe(before.share);
    await cgroups.refreshLevels();
    expect(await fs.readCpu(level)).toEqual(before);
  });
});
