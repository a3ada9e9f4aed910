import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { flatValue, limitIn, parsePids } from './cgroup-stats.ts';
import { parseBlkio, v1Source } from './cgroup-stats-v1.ts';
import { parseIoStat, parsePressure, sharesOfWeight, v2Source } from './cgroup-stats-v2.ts';

let root = '';
beforeEach(async () => {
  root = await mkdtemp(path.join(tmpdir(), 'cgroup-stats-'));
});
afterEach(() => rm(root, { recursive: true, force: true }));

async function fill(dir: string, files: Readonly<Record<string, string>>): Promise<void> {
  await mkdir(path.join(root, dir), { recursive: true });
  for (const [name, text] of Object.entries(files)) await writeFile(path.join(root, dir, name), text);
}

const V1_MEMORY_STAT = [
  'cache 10',
  'rss 20',
  'mapped_file 1',
  'pgfault 7',
  'pgmajfault 3',
  'inactive_file 5',
  'total_cache 1000',
  'total_rss 2000',
  'total_mapped_file 300',
  'total_swap 40',
  'total_pgfault 70',
  'total_pgmajfault 30',
  'total_inactive_file 600',
  'total_active_file 400',
  '',
].join('\n');

function v1() {
  const controllers = ['cpu', 'cpuacct', 'memory', 'pids', 'blkio'];
  return v1Source({ version: 1, mounts: new Map(controllers.map((c) => [c, path.join(root, c)])) });
}

async function v1Group(name: string, stat = V1_MEMORY_STAT): Promise<void> {
  await fill(`memory/${name}`, {
    'memory.stat': stat,
    'memory.usage_in_bytes': '5000\n',
    'memory.max_usage_in_bytes': '9000\n',
    'memory.failcnt': '2\n',
    'memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 1\n',
    'memory.limit_in_bytes': '10000\n',
    'memory.memsw.limit_in_bytes': '15000\n',
    'memory.soft_limit_in_bytes': '9223372036854771712\n',
  });
  await fill(`cpuacct/${name}`, {
    'cpuacct.usage': '123456789\n',
    'cpuacct.stat': 'user 7\nsystem 3\n',
    'cgroup.procs': '11\n12\n',
  });
  await fill(`cpu/${name}`, {
    'cpu.stat': 'nr_periods 10\nnr_throttled 4\nthrottled_time 5000000\n',
    'cpu.shares': '512\n',
    'cpu.cfs_period_us': '100000\n',
    'cpu.cfs_quota_us': '50000\n',
  });
  await fill(`pids/${name}`, { 'pids.current': '3\n', 'pids.max': 'max\n' });
  await fill(`blkio/${name}`, {
    'blkio.throttle.io_service_bytes_recursive': '8:0 Read 4096\n8:0 Write 8192\n8:0 Total 12288\nTotal 12288\n',
    'blkio.throttle.io_serviced_recursive': '8:0 Read 1\n8:0 Write 2\nTotal 3\n',
  });
}

/** What the groups of both versions use. */
const MEMORY = {
  usageBytes: 5000,
  workingSetBytes: 4400,
  rssBytes: 2000,
  cacheBytes: 1000,
  mappedBytes: 300,
  activeFileBytes: 400,
  inactiveFileBytes: 600,
  swapBytes: 40,
  pageFaults: 70,
  majorPageFaults: 30,
};

test('a group of v1 is read from the directory of each controller', async () => {
  await v1Group('kubepods/podx');
  const group = v1().open('/kubepods/podx')!;
  expect(group.use()).toEqual({
    cpuNs: 123_456_789,
    memory: { ...MEMORY, ownPageFaults: 7, ownMajorPageFaults: 3 },
  });
  expect(group.details()).toEqual({
    userNs: 70_000_000,
    systemNs: 30_000_000,
    maxUsageBytes: 9000,
    kernelBytes: 0,
    failures: 2,
    oomKills: 1,
    threads: 3,
    io: [{ major: 8, minor: 0, readBytes: 4096, writeBytes: 8192, reads: 1, writes: 2 }],
  });
  expect(group.pids()).toEqual([11, 12]);
  expect(group.throttling()).toEqual({ periods: 10, throttledPeriods: 4, throttledNs: 5_000_000 });
  expect(group.spec()).toEqual({
    cpuShares: 512,
    cpuPeriodUs: 100_000,
    cpuQuotaUs: 50_000,
    memoryLimitBytes: 10_000,
    memoryReservationBytes: undefined,
    swapLimitBytes: 5000,
    maxThreads: undefined,
  });
  expect(group.pressure()).toBeUndefined();
  expect(group.createdAtMs).toBeGreaterThan(0);
});

test('a working set is never below nothing', async () => {
  await v1Group('a', 'total_inactive_file 6000\n');
  expect(v1().open('/a')!.use().memory.workingSetBytes).toBe(0);
});

test('a group that is not there cannot be opened, and one that goes away says so', async () => {
  expect(v1().open('/nothing')).toBeUndefined();
  await v1Group('gone');
  const group = v1().open('/gone')!;
  await rm(path.join(root, 'memory/gone'), { recursive: true });
  expect(() => group.use()).toThrow(/ENOENT/);
  expect(() => group.details()).toThrow(/ENOENT/);
});

test('a file that a group lacks is zero and not asked for again, and another group may have it', async () => {
  await v1Group('a');
  await v1Group('b');
  await fill('memory/b', { 'memory.kmem.usage_in_bytes': '77\n' });
  const source = v1();
  const group = source.open('/a')!;
  expect(group.details().kernelBytes).toBe(0);
  await fill('memory/a', { 'memory.kmem.usage_in_bytes': '77\n' });
  expect(group.details().kernelBytes).toBe(0);
  expect(source.open('/b')!.details().kernelBytes).toBe(77);
});

test('a file that cannot be read this time is asked for again', async () => {
  await v1Group('a');
  await rm(path.join(root, 'memory/a/memory.limit_in_bytes'));
  await mkdir(path.join(root, 'memory/a/memory.limit_in_bytes')); // EISDIR, as EOPNOTSUPP of the kernel
  const group = v1().open('/a')!;
  expect(group.spec().memoryLimitBytes).toBeUndefined();
  await rm(path.join(root, 'memory/a/memory.limit_in_bytes'), { recursive: true });
  await fill('memory/a', { 'memory.limit_in_bytes': '10000\n' });
  expect(group.spec().memoryLimitBytes).toBe(10_000);
});

const V2_MEMORY_STAT = [
  'anon 2000',
  'file 1000',
  'kernel 150',
  'file_mapped 300',
  'inactive_file 600',
  'active_file 400',
  'pgfault 70',
  'pgmajfault 30',
  '',
].join('\n');
const PRESSURE = [
  'some avg10=1.50 avg60=0.70 avg300=0.10 total=2000',
  'full avg10=0.50 avg60=0.00 avg300=0.00 total=900',
].join('\n');

function v2() {
  return v2Source({ version: 2, mounts: new Map([['unified', root]]) }, path.join(root, 'meminfo'));
}

test('a group of v2 is read from its one directory', async () => {
  await fill('kubepods/podx', {
    'memory.stat': V2_MEMORY_STAT,
    'memory.current': '5000\n',
    'memory.peak': '9000\n',
    'memory.swap.current': '40\n',
    'memory.max': 'max\n',
    'memory.min': '0\n',
    'memory.swap.max': '0\n',
    'memory.events': 'low 0\nhigh 0\nmax 2\noom 1\noom_kill 1\n',
    'cpu.stat':
      'usage_usec 123456\nuser_usec 70000\nsystem_usec 30000\nnr_periods 10\nnr_throttled 4\nthrottled_usec 5000\n',
    'cpu.max': '50000 100000\n',
    'cpu.weight': '20\n',
    'pids.current': '3\n',
    'pids.max': '100\n',
    'cgroup.procs': '11\n0\n',
    'io.stat': '8:0 rbytes=4096 wbytes=8192 rios=1 wios=2 dbytes=0 dios=0\n',
    'cpu.pressure': PRESSURE,
    'memory.pressure': PRESSURE,
    'io.pressure': PRESSURE,
  });
  const group = v2().open('/kubepods/podx')!;
  expect(group.use()).toEqual({
    cpuNs: 123_456_000,
    memory: { ...MEMORY, ownPageFaults: 70, ownMajorPageFaults: 30 },
  });
  expect(group.details()).toMatchObject({
    maxUsageBytes: 9000,
    kernelBytes: 150,
    failures: 2,
    oomKills: 1,
  });
  expect(group.pids()).toEqual([11]);
  expect(group.throttling()).toEqual({ periods: 10, throttledPeriods: 4, throttledNs: 5_000_000 });
  expect(group.spec()).toEqual({
    cpuShares: 500,
    cpuPeriodUs: 100_000,
    cpuQuotaUs: 50_000,
    memoryLimitBytes: undefined,
    memoryReservationBytes: undefined,
    swapLimitBytes: 0,
    maxThreads: 100,
  });
  expect(group.pressure()?.io).toEqual({
    some: { avg10: 1.5, avg60: 0.7, avg300: 0.1, total: 2000 },
    full: { avg10: 0.5, avg60: 0, avg300: 0, total: 900 },
  });
});

test('the root of v2 uses what its pages add up to, and the swap of the whole machine', async () => {
  await fill('', {
    'memory.stat': V2_MEMORY_STAT,
    'cpu.stat': 'usage_usec 1\n',
    meminfo: 'SwapTotal:   100 kB\nSwapFree:   90 kB\n',
  });
  const { memory } = v2().open('/')!.use();
  expect(memory).toMatchObject({ usageBytes: 3000, workingSetBytes: 2400, swapBytes: 10_240 });
  expect(v2().open('/')!.pressure()).toBeUndefined();
});

test('a line of pressure that no kernel writes is no pressure', () => {
  expect(parsePressure('')).toBeUndefined();
  expect(parsePressure('some avg10=x')).toBeUndefined();
  expect(parsePressure('some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n')?.full.total).toBe(0);
});

test.each([
  ['a 1\nab 2\n', 'a', 1],
  ['a 1\nab 2\n', 'ab', 2],
  ['ab 2\na 1\n', 'a', 1],
  ['a 1\n', 'b', 0],
  ['', 'a', 0],
  ['a 18446744073709551615\n', 'a', 2 ** 64],
  ['a x\n', 'a', 0],
])('in %j the value of %s is %d', (text, key, value) => {
  expect(flatValue(text, key)).toBe(value);
});

test.each([
  ['max\n', undefined],
  ['-1\n', undefined],
  ['9223372036854771712\n', undefined],
  ['', undefined],
  ['0\n', 0],
  ['1048576\n', 1_048_576],
])('the limit %j', (text, limit) => {
  expect(limitIn(text)).toBe(limit);
});

test('weights become the shares that they were made of, as near as can be', () => {
  expect([0, 1, 100, 10_000].map(sharesOfWeight)).toEqual([0, 2, 2597, 262_144]);
});

test('lines that are not of a device are passed over', () => {
  expect(parseBlkio('Total 0\n', '')).toEqual([]);
  expect(parseIoStat('\n8:0\nnonsense\n')).toEqual([]);
  expect(parsePids('')).toEqual([]);
});
