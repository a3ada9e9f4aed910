// A real etcd that asks for client certificates, and then for a user's name and password as well: subnets are leased there
// all the same, and who may not is told so.
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { type AddressInfo, connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Client, credentials } from '@grpc/grpc-js';
import { expect, onTestFinished, test } from 'vitest';
import { createCa, issueClientCert, issueServerCert, type KeyPair } from '../../api/pki.ts';
import { connectEtcd, type EtcdOptions } from '../../cni/etcd/client.ts';
import type { EtcdKv } from '../../cni/etcd/kv.ts';
import { encode } from '../../cni/etcd/messages.ts';
import { EtcdSubnets } from '../../cni/etcd-subnets.ts';
import { parseNetConf } from '../../cni/net-conf.ts';
import { systemClock } from '../../core/clock.ts';
import { isAgentError } from '../../core/errors.ts';
import { silentLog } from '../../core/log.ts';
import { type EtcdTls, startEtcd } from '../harness/etcd.ts';

const signal = new AbortController().signal;
const validity = { nowMs: Date.now(), lifetimeMs: 3_600_000 };
const SERVER_NAME = 'etcd.test';
const PREFIX = '/coreos.com/network';

async function writePair(dir: string, name: string, pair: KeyPair) {
  const [certFile, keyFile] = [path.join(dir, `${name}.crt`), path.join(dir, `${name}.key`)];
  await writeFile(certFile, pair.cert);
  await writeFile(keyFile, pair.key);
  return { certFile, keyFile };
}

async function makeTls(dir: string): Promise<EtcdTls> {
  const ca = createCa('etcd-ca', validity);
  const { certFile: caFile } = await writePair(dir, 'ca', ca);
  const names = { ipAddresses: ['127.0.0.1'], dnsNames: [SERVER_NAME] };
  return {
    caFile,
    server: await writePair(dir, 'server', issueServerCert(ca, { commonName: 'etcd' }, names, validity)),
    client: await writePair(dir, 'client', issueClientCert(ca, { commonName: 'node' }, validity)),
  };
}

/** What `etcdctl` does to make users: root, and one who may read and write below the prefix. */
async function enableUsers(endpoint: string, tls: EtcdTls): Promise<void> {
  const pem = (file: string) => readFile(file);
  const [ca, key, cert] = await Promise.all([tls.caFile, tls.client.keyFile, tls.client.certFile].map(pem));
  const client = new Client(new URL(endpoint).host, credentials.createSsl(ca, key, cert), {
    'grpc.ssl_target_name_override': SERVER_NAME,
  });
  const call = (method: string, request: Buffer) =>
    new Promise<void>((resolve, reject) => {
      const done = (err: Error | null) => (err === null ? resolve() : reject(err));
      const asIs = (bytes: Buffer) => bytes;
      client.makeUnaryRequest(`/etcdserverpb.Auth/${method}`, asIs, asIs, request, done);
    });
  const READ_AND_WRITE = 2;
  const permission = encode([1, READ_AND_WRITE], [2, `${PREFIX}/`], [3, `${PREFIX}0`]);
  await call('UserAdd', encode([1, 'root'], [2, 'rootpw']));
  await call('UserGrantRole', encode([1, 'root'], [2, 'root']));
  await call('RoleAdd', encode([1, 'subnets']));
  await call('RoleGrantPermission', encode([1, 'subnets'], [2, permission]));
  await call('UserAdd', encode([1, 'flannel'], [2, 'secret']));
  await call('UserGrantRole', encode([1, 'flannel'], [2, 'subnets']));
  await call('AuthEnable', encode());
  client.close();
}

/** The same etcd at another address, which its certificate does not name. */
async function forward(endpoint: string, address: string): Promise<string> {
  const { hostname, port } = new URL(endpoint);
  const server = createServer((from) => {
    const to = connect(Number(port), hostname);
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const) {
      one.pipe(other);
      one.on('error', () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => server.listen(0, address, resolve));
  onTestFinished(() => void server.close());
  return `https://${address}:${(server.address() as AddressInfo).port}`;
}

async function leaseSubnet(kv: EtcdKv, ip: string): Promise<string | undefined> {
  const conf = parseNetConf('{"Network":"10.5.0.0/20","Backend":{"Type":"vxlan"}}', 'test');
  const publicIps = { v4: ip };
  const source = new EtcdSubnets(
    { prefix: PREFIX, conf, publicIps, ttlSeconds: 86_400, renewMarginMs: 3_600_000 },
    { kv, clock: systemClock, log: silentLog },
  );
  const v4 = { publicIp: ip, backendData: { VNI: 1, VtepMAC: '02:00:00:00:00:01' } };
  return (await source.acquire(async () => ({ backendType: 'vxlan', v4 }), {}, signal))?.v4;
}

test('subnets are leased with a client certificate, and with a user where etcd asks for one', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'nodelet-etcdtls-'));
  onTestFinished(() => rm(dir, { recursive: true, force: true }));
  const tls = await makeTls(dir);
  const etcd = await startEtcd(tls).catch((err: unknown) => {
    if (!isAgentError(err, 'DEBIAN_PACKAGE')) throw err;
    console.warn(`SKIPPED, a secured etcd: ${err.message}`);
    return undefined;
  });
  if (etcd === undefined) return;
  onTestFinished(() => etcd[Symbol.asyncDispose]());
  const certificates = { caFile: tls.caFile, ...tls.client };
  const connect = async (opts: Omit<EtcdOptions, 'endpoints'>) => {
    const kv = await connectEtcd({ endpoints: [etcd.endpoint], ...opts });
    onTestFinished(() => kv.close());
    return kv;
  };
  const refusal = async (kv: EtcdKv) => await kv.get(`${PREFIX}/config`, signal).catch((err: unknown) => err);

  const withCertificate = await connect(certificates);
  expect(await leaseSubnet(withCertificate, '192.0.2.1')).toMatch(/^10\.5\.\d+\.0\/24$/);
  const stranger = await connect({ caFile: tls.caFile });
  expect(await refusal(stranger)).toMatchObject({ code: 'ETCD_FAILED' });

  const impostor = await connectEtcd({ endpoints: [await forward(etcd.endpoint, '127.0.0.2')], ...certificates });
  onTestFinished(() => impostor.close());
  expect(await refusal(impostor)).toMatchObject({
    code: 'ETCD_FAILED',
    message: expect.stringContaining("IP: 127.0.0.2 is not in the cert's list"),
  });

  await enableUsers(etcd.endpoint, tls);
  const user = await connect({ ...certificates, username: 'flannel', password: 'secret' });
  const subnet = await leaseSubnet(user, '192.0.2.2');
  expect(subnet).toMatch(/^10\.5\.\d+\.0\/24$/);
  expect(await user.put('/elsewhere', '', '0', signal).catch((err: unknown) => err)).toMatchObject({
    code: 'ETCD_FAILED',
    message: expect.stringContaining('permission denied'),
  });
  const wrong = await connect({ ...certificates, username: 'flannel', password: 'wrong' });
  expect(await refusal(wrong)).toMatchObject({ code: 'ETCD_FAILED', message: expect.stringMatching(/password/) });
  expect(await refusal(withCertificate)).toMatchObject({ code: 'ETCD_FAILED' });

  // It forgets its tokens: the user logs in again, and nobody notices.
  await etcd.restart();
  expect(await leaseSubnet(user, '192.0.2.2')).toBe(subnet);
});
