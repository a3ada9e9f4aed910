// A real etcd of Debian's package, on loopback, with its data in a directory of its own.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { systemExec } from '../../host/exec.ts';
import { fetchDebianPackage } from './debian-packages.ts';

export interface TestEtcd extends AsyncDisposable {
  /** `http://127.0.0.1:PORT` */
  readonly endpoint: string;
}

/** Resolves when it answers. @throws when the package cannot be had or etcd does not come up. */
export async function startEtcd(): Promise<TestEtcd> {
  const program = await findEtcd();
  const dir = await mkdtemp(path.join(tmpdir(), 'nodelet-etcd-'));
  const [client, peer] = [await freePort(), await freePort()];
  const [clientUrl, peerUrl] = [`http://127.0.0.1:${client}`, `http://127.0.0.1:${peer}`];
  const args = ['--name=t', `--data-dir=${dir}`, `--listen-client-urls=${clientUrl}`, `--listen-peer-urls=${peerUrl}`];
  args.push(`--advertise-client-urls=${clientUrl}`, `--initial-advertise-peer-urls=${peerUrl}`);
  args.push(`--initial-cluster=t=${peerUrl}`, '--log-level=error');
  const child = spawn(program, args, { stdio: 'ignore' });
  const ended = new Promise<void>((resolve) => {
    child.once('close', () => resolve());
    child.once('error', () => resolve());
  });
  const dispose = async () => {
    child.kill('SIGKILL');
    await ended;
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await untilHealthy(clientUrl, child);
  } catch (err) {
    await dispose();
    throw err;
  }
  return { endpoint: clientUrl, [Symbol.asyncDispose]: dispose };
}

async function findEtcd(): Promise<string> {
  const installed = await systemExec('etcd', ['--version']).catch(() => undefined);
  if (installed?.code === 0) return 'etcd';
  return path.join(await fetchDebianPackage('bookworm', 'etcd-server'), 'usr/bin/etcd');
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as { port: number };
  await new Promise((resolve) => server.close(resolve));
  return port;
}

async function untilHealthy(url: string, child: ChildProcess): Promise<void> {
  const deadlineMs = Date.now() + 60_000;
  while (Date.now() < deadlineMs && child.exitCode === null && child.signalCode === null) {
    const answer = await fetch(`${url}/health`).catch(() => undefined); // not listening yet
    if (answer?.ok) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`etcd did not come up at ${url} (exit code ${child.exitCode})`);
}
