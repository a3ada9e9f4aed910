import { mkdir, mkdtemp, readFile, readlink, rm, stat, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import {
  createTerminationLog,
  ensureContainerLogDir,
  ensureEtcHosts,
  ensurePodLogDir,
  linkContainerLog,
  writeEtcHosts,
} from './pod-files.ts';
import { legacyLogLink } from './pod-paths.ts';

const pod: Pod = { metadata: { name: 'p', namespace: 'ns', uid: 'u' }, spec: { containers: [] } };
const hostname = { hostname: 'p', domain: '', kernelHostname: 'p' };
let dir: string;
let dirs: { rootDir: string; podLogsDir: string; containerLogsDir: string; nodeHostsFile: string };
beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'pod-files-'));
  const at = (name: string) => path.join(dir, name);
  dirs = {
    rootDir: at('root'),
    podLogsDir: at('pods'),
    containerLogsDir: at('containers'),
    nodeHostsFile: at('hosts'),
  };
});
afterEach(() => rm(dir, { recursive: true }));
const modeOf = async (file: string) => ((await stat(file)).mode & 0o777).toString(8);

test('the restart count goes on where the logs end', async () => {
  const logDir = await ensurePodLogDir(dirs, pod);
  expect(logDir).toBe(path.join(dir, 'pods/ns_p_u'));
  expect(await ensureContainerLogDir(dirs, pod, 'c')).toBe(0);
  expect(await ensureContainerLogDir(dirs, pod, 'c')).toBe(0);
  for (const file of ['2.log', '10.log.20260101-000000.gz', 'other']) await writeFile(path.join(logDir, 'c', file), '');
  expect(await ensureContainerLogDir(dirs, pod, 'c')).toBe(11);
  expect(await modeOf(path.join(logDir, 'c'))).toBe('755');
});

test('the termination log is empty, writable by all, and another one each time', async () => {
  const first = await createTerminationLog(dirs, 'u', 'c');
  expect(first).toMatch(/root\/pods\/u\/containers\/c\/[0-9a-f]{8}$/);
  expect(await modeOf(first)).toBe('666');
  expect(await modeOf(path.dirname(first))).toBe('750');
  expect(await createTerminationLog(dirs, 'u', 'c')).not.toBe(first);
});

test('/etc/hosts is changed in place: containers have the file itself mounted', async () => {
  const file = await ensureEtcHosts(dirs, pod, hostname);
  const { ino } = await stat(file);
  expect(await modeOf(file)).toBe('644');
  expect(await readFile(file, 'utf8')).toMatch(/^127\.0\.0\.1\tlocalhost$/m);
  for (const ip of ['10.0.0.1', '10.0.0.2']) await writeEtcHosts(dirs, pod, [ip], hostname);
  expect((await stat(file)).ino).toBe(ino);
  expect(await readFile(file, 'utf8')).toMatch(/\n10\.0\.0\.2\tp\n$/);
});

test('/etc/hosts keeps the addresses that were known to an earlier pass', async () => {
  const file = await ensureEtcHosts(dirs, pod, hostname);
  await writeEtcHosts(dirs, pod, ['10.0.0.1'], hostname);
  const complete = await readFile(file, 'utf8');
  await ensureEtcHosts(dirs, pod, hostname);
  await writeEtcHosts(dirs, pod, [], hostname);
  expect(await readFile(file, 'utf8')).toBe(complete);
});

test("on the host's network the node's file is shown", async () => {
  await writeFile(dirs.nodeHostsFile, '127.0.0.1 here\n');
  const onHost = { ...pod, spec: { containers: [], hostNetwork: true } };
  const file = await ensureEtcHosts(dirs, onHost, hostname);
  for (const line of ['127.0.0.1 here\n', '127.0.0.1 there\n']) {
    await writeFile(dirs.nodeHostsFile, line);
    await writeEtcHosts(dirs, onHost, [], hostname);
    expect(await readFile(file, 'utf8')).toBe(`# Kubernetes-managed hosts file (host network).\n${line}`);
  }
});

test('the log link: only to a log that exists, and replaced when it is there', async () => {
  const link = legacyLogLink(dirs, { podName: 'p', podNamespace: 'ns', containerName: 'c', containerId: 'id' });
  expect(path.basename(link)).toBe('p_ns_c-id.log');
  await linkContainerLog(link, path.join(dir, 'none'));
  await expect(readlink(link)).rejects.toThrow('ENOENT');
  for (const log of ['0.log', '1.log']) {
    await writeFile(path.join(dir, log), '');
    await linkContainerLog(link, path.join(dir, log));
    expect(await readlink(link)).toBe(path.join(dir, log));
  }
  await rm(link);
  await mkdir(link);
  await expect(linkContainerLog(link, path.join(dir, '0.log'))).rejects.toThrow('EEXIST'); // somebody else's: left alone
});

test('a link name fits into a directory entry', () => {
  const link = legacyLogLink(dirs, {
    podName: 'p'.repeat(253),
    podNamespace: 'ns',
    containerName: 'c',
    containerId: 'id',
  });
  expect(path.basename(link)).toHaveLength(255);
});
