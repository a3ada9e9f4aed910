// A real etcd of Debian's package, on loopback, with its data in a directory of its own.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import http from 'node:http';
import https from 'node:https';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { systemExec } from '../../host/exec.ts';
import { fetchDebianPackage } from './debian-packages.ts';

export interface TestEtcd extends AsyncDisposable {
  /** `http://127.0.0.1:PORT`, or https. */
  readonly endpoint: string;
  /** Kills it and starts it over the same data. Resolves when it answers. */
  restart(): Promise<void>;
}

/** Files in PEM: those of the server, which clients of `caFile` are admitted to, and of one such client. */
export interface EtcdTls {
  readonly caFile: string;
  readonly server: { readonly certFile: string; readonly keyFile: string };
  readonly client: { readonly certFile: string; readonly keyFile: string };
}

/** Resolves when it answers. @throws when the package cannot be had or etcd does not come up. */
export async function startEtcd(tls?: EtcdTls): Promise<TestEtcd> {
  const program = await findEtcd();
  const dir = await mkdtemp(path.join(tmpdir(), 'nodelet-etcd-'));
  const [client, peer] = [await freePort(), await freePort()];
  const scheme = tls === undefined ? 'http' : 'https';
  const [clientUrl, peerUrl] = [`${scheme}://127.0.0.1:${client}`, `http://127.0.0.1:${peer}`];
  const args = ['--name=t', `--data-dir=${dir}`, `--listen-client-urls=${clientUrl}`, `--listen-peer-urls=${peerUrl}`];
  args.push(`--advertise-client-urls=${clientUrl}`, `--initial-advertise-peer-urls=${peerUrl}`);
  args.push(`--initial-cluster=t=${peerUrl}`, '--log-level=error');
  if (tls !== undefined) {
    args.push(`--cert-file=${tls.server.certFile}`, `--key-file=${tls.server.keyFile}`);
    args.push('--client-cert-auth', `--trusted-ca-file=${tls.caFile}`);
  }
  let child: ChildProcess;
  let ended: Promise<void>;
  const start = async () => {
    child = spawn(program, args, { stdio: 'ignore' });
    ended = new Promise<void>((resolve) => {
      child.once('close', () => resolve());
      child.once('error', () => resolve());
    });
    await untilHealthy(clientUrl, child, tls);
  };
  const stop = async () => {
    child.kill('SIGKILL');
    await ended;
  };
  const dispose = async () => {
    await stop();
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await start();
  } catch (err) {
    await dispose();
    throw err;
  }
  const restart = async () => {
    await stop();
    await start();
  };
  return { endpoint: clientUrl, restart, [Symbol.asyncDispose]: dispose };
}

export async function findEtcd(): Promise<string> {
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

async function untilHealthy(url: string, child: ChildProcess, tls: EtcdTls | undefined): Promise<void> {
  const deadlineMs = Date.now() + 60_000;
  while (Date.now() < deadlineMs && child.exitCode === null && child.signalCode === null) {
    if ((await healthStatus(url, tls)) === 200) return;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  throw new Error(`etcd did not come up at ${url} (exit code ${child.exitCode})`);
}

/** Undefined while nobody listens. */
async function healthStatus(url: string, tls: EtcdTls | undefined): Promise<number | undefined> {
  const pem = async (file: string) => await readFile(file);
  const opts =
    tls === undefined
      ? {}
      : { ca: await pem(tls.caFile), cert: await pem(tls.client.certFile), key: await pem(tls.client.keyFile) };
  const { get } = tls === undefined ? http : https;
  return await new Promise((resolve) => {
    const request = get(`${url}/health`, { ...opts, agent: false }, (answer) => {
      answer.resume();
      resolve(answer.statusCode);
    });
    request.once('error', () => resolve(undefined));
  });
}
