import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CgroupFs, findCgroups, refuseMissingControllers, renderLimits, sharesToWeight } from './cgroup.ts';

const V1 = [
  '31 24 0:27 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755',
  '32 31 0:28 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct',
  '33 31 0:29 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory',
  '34 31 0:30 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw',
].join('\n');
const V2 = '31 24 0:27 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate';

let dir = '';
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'cgroup-'));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

test('a hybrid host counts as v1, a unified one as v2', () => {
  const v1 = findCgroups(V1);
  expect(v1.version).toBe(1);
  expect(v1.mounts.get('cpu')).toBe('/sys/fs/cgroup/cpu,cpuacct');
  expect(v1.mounts.get('pids')).toBeUndefined();
  expect(findCgroups(V2).version).toBe(2);
  expect(() => findCgroups('1 0 0:1 / / rw - ext4 x rw')).toThrow(/no cgroup file system/);
});

test('a v1 host without a controller that pods need is refused, one with v2 never', () => {
  const refusal = 'system validation failed - Following Cgroup subsystem not mounted: [cpuset]';
  expect(() => refuseMissingControllers(findCgroups(V1))).toThrow(refusal);
  expect(() => refuseMissingControllers(findCgroups(V2))).not.toThrow();
  const cpuset = '35 31 0:31 / /sys/fs/cgroup/cpuset rw - cgroup cgroup rw,cpuset';
  expect(() => refuseMissingControllers(findCgroups(`${V1}\n${cpuset}`))).not.toThrow();
});

test('limits in the words of v1', () => {
  const writes = renderLimits(findCgroups(V1), '/kubepods/podx', {
    cpuShares: 512,
    cpuQuotaUs: 50_000,
    memoryBytes: 64 << 20,
    memoryMinBytes: 4096, // v1 has nothing of the kind
    pids: 100,
    cpus: '0-3',
  });
  expect(writes.map((w) => `${w.file}=${w.value}`)).toEqual([
    '/sys/fs/cgroup/cpu,cpuacct/kubepods/podx/cpu.shares=512',
    '/sys/fs/cgroup/cpu,cpuacct/kubepods/podx/cpu.cfs_period_us=100000',
    '/sys/fs/cgroup/cpu,cpuacct/kubepods/podx/cpu.cfs_quota_us=50000',
    '/sys/fs/cgroup/memory/kubepods/podx/memory.limit_in_bytes=67108864',
  ]);
});

test('limits in the words of v2, with max for none', () => {
  const writes = renderLimits(findCgroups(V2), '/kubepods/podx', {
    cpuShares: 1024,
    cpuQuotaUs: -1,
    memoryBytes: -1,
    memoryMinBytes: 4096,
    memoryLowBytes: 0,
    pids: 7,
    cpus: '0-3',
    hugetlbBytes: { '2MB': 0 },
  });
  expect(writes.map((w) => `${path.basename(w.file)}=${w.value}`)).toEqual([
    'cpu.weight=39',
    'cpu.max=max 100000',
    'memory.max=max',
    'memory.min=4096',
    'memory.low=0',
    'pids.max=7',
    'cpuset.cpus=0-3',
    'hugetlb.2MB.max=0',
  ]);
});

test.each([
  [2, 1],
  [0, 1],
  [1024, 39],
  [262_144, 10_000],
])('%i shares weigh %i', (shares, weight) => {
  expect(sharesToWeight(shares)).toBe(weight);
});

test('a v2 group is made with its controllers delegated by every ancestor', async () => {
  await mkdir(path.join(dir, 'kubepods/podx'), { recursive: true });
  for (const at of ['', 'kubepods']) {
    await writeFile(path.join(dir, at, 'cgroup.controllers'), 'cpu io memory pids\n');
    await writeFile(path.join(dir, at, 'cgroup.subtree_control'), '');
  }
  await writeFile(path.join(dir, 'kubepods/podx/memory.max'), 'max');
  const fs = new CgroupFs({ version: 2, mounts: new Map([['unified', dir]]) });
  await fs.ensure('/kubepods/podx', { memoryBytes: 1 << 20 });
  expect(await readFile(path.join(dir, 'kubepods/cgroup.subtree_control'), 'utf8')).toBe('+cpu +memory +pids');
  expect(await readFile(path.join(dir, 'kubepods/podx/memory.max'), 'utf8')).toMatch(/^1048576/);
  expect(await fs.children('/kubepods')).toEqual(['podx']);
  expect(await fs.children('/nothing')).toEqual([]);
});

test('a limit file that must exist but does not is an error that names the group', async () => {
  const fs = new CgroupFs({ version: 2, mounts: new Map([['unified', dir]]) });
  await writeFile(path.join(dir, 'cgroup.controllers'), '');
  await expect(fs.ensure('/podx', { memoryBytes: 1 })).rejects.toMatchObject({
    code: 'CGROUP_WRITE_FAILED',
    message: expect.stringContaining('/podx'),
  });
});

test.each<[1 | 2, Record<string, string>, object, object]>([
  [
    1,
    {
      'memory.usage_in_bytes': '4096\n',
      'memory.limit_in_bytes': '9223372036854771712\n',
      'cpu.cfs_quota_us': '-1\n',
      'cpu.shares': '512\n',
    },
    { usageBytes: 4096, limitBytes: -1 },
    { quotaUs: -1, share: 512 },
  ],
  [
    1,
    { 'memory.usage_in_bytes': '4096', 'memory.limit_in_bytes': '8192', 'cpu.shares': '2' },
    { usageBytes: 4096, limitBytes: 8192 },
    { quotaUs: -1, share: 2 },
  ],
  [
    2,
    { 'memory.current': '4096\n', 'memory.max': 'max\n', 'cpu.max': 'max 100000\n', 'cpu.weight': '39\n' },
    { usageBytes: 4096, limitBytes: -1 },
    { quotaUs: -1, share: 39 },
  ],
  [
    2,
    { 'memory.current': '0', 'memory.max': '8192', 'cpu.max': '50000 100000', 'cpu.weight': '100' },
    { usageBytes: 0, limitBytes: 8192 },
    { quotaUs: 50_000, share: 100 },
  ],
])('what a group of v%i uses and may use: %j', async (version, files, memory, cpu) => {
  const names = version === 2 ? ['unified'] : ['cpu', 'memory'];
  const fs = new CgroupFs({ version, mounts: new Map(names.map((name) => [name, dir])) });
  await mkdir(path.join(dir, 'group'));
  for (const [file, text] of Object.entries(files)) await writeFile(path.join(dir, 'group', file), text);
  expect(await fs.readMemory('/group')).toEqual(memory);
  expect(await fs.readCpu('/group')).toEqual(cpu);
});

test('making a group tells whether it was there', async () => {
  const fs = new CgroupFs({
    version: 1,
    mounts: new Map(['cpu', 'memory'].map((name) => [name, path.join(dir, name)])),
  });
  expect(await fs.make('/a/b')).toBe(true);
  expect(await fs.make('/a/b')).toBe(false);
  await rm(path.join(dir, 'memory', 'a'), { recursive: true });
  expect(await fs.make('/a/b')).toBe(true);
});
