// What the pod network does on its own time; what it does to a kernel is in test/integration/pod-network.test.ts.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { aborted } from '../core/abort.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { createLogger } from '../core/log.ts';
import type { Exec } from '../host/exec.ts';
import { PodNetwork } from './network.ts';
import type { SubnetSource } from './subnet-source.ts';

test('rules that a slow start has not made yet are missed by nobody; such that go later are told of and made again', async () => {
  const dir = await mkdtemp(path.join(tmpdir(), 'pod-network-'));
  const clock = new FakeClock();
  const warnings: string[] = [];
  const log = createLogger({
    level: 'warn',
    destination: { write: (line) => void warnings.push(JSON.parse(line).msg) },
  });
  const runs: string[] = [];
  let rulesAreThere = false;
  const exec: Exec = async (program, _args, opts) => {
    const isCheck = opts?.input?.toString().includes('\n-C ') ?? false;
    if (program === 'iptables-restore') runs.push(isCheck ? 'look' : 'write');
    return { code: isCheck && !rulesAreThere ? 1 : 0, signal: undefined, stdout: '', stderr: '' };
  };
  const told = Promise.withResolvers<void>();
  const source: SubnetSource = {
    run: (_changed, signal) => aborted(signal),
    publishedMac: async () => undefined,
    acquire: async () => ({ v4: '10.244.1.0/24' }),
    publish: () => told.promise,
    peers: () => [],
    markUp: async () => {},
  };
  const network = new PodNetwork(
    {
      networks: { v4: '10.244.0.0/16' },
      backend: { type: 'host-gw', vni: 1, port: 8472, mtu: undefined, directRouting: false },
      external: { device: 'eth0', mtu: 1500, v4: '192.0.2.1' },
      publicIps: { v4: '192.0.2.1' },
      rules: { form: 'iptables', masquerade: true, forward: true, randomFully: false },
      cniConfDir: dir,
      subnetFile: path.join(dir, 'subnet.env'),
      bridge: 'cni0',
    },
    {
      source,
      exec,
      sysctl: { read: async () => '0', set: async () => true },
      follow: (_onLine, signal) => aborted(signal),
      clock,
      log,
    },
  );
  const stop = new AbortController();
  const ended = network.run(stop.signal);
  try {
    await clock.advance(60_000);
    expect(runs).toEqual([]);
    told.resolve();
    await network.ready;
    rulesAreThere = true;
    expect(runs).toContain('write');
    runs.length = 0;
    await clock.advance(10_000);
    expect(runs).toEqual(['look']);
    expect(warnings).toEqual([]);
    rulesAreThere = false;
    await clock.advance(10_000);
    expect(warnings).toEqual(['somebody removed rules of the pod network, they are written anew']);
    await clock.advance(1_000);
    expect(runs.slice(0, 4)).toEqual(['look', 'look', 'look', 'write']);
  } finally {
    stop.abort();
    told.resolve();
    await ended;
    await rm(dir, { recursive: true });
  }
  expect(clock.sleeping).toBe(0);
});
