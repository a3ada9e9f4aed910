// The kernel's packet counters in rules of the real iptables.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import { type Exec, execOk, systemExec } from '../../host/exec.ts';
import { FamilyProxier } from '../../proxy/family-proxier.ts';
import { cleanupIptables, IptablesBackend } from '../../proxy/iptables/iptables.ts';
import { cleanupPacketCounters, PacketCounters } from '../../proxy/iptables/packet-counters.ts';
import { TestNamespaces } from '../harness/netns.ts';

const signal = new AbortController().signal;
const hasProgram = await systemExec('nfacct', ['version']).then(
  (r) => r.code === 0,
  () => false,
);

describe.skipIf(!hasProgram)('with the program nfacct', () => {
  const namespaces = new TestNamespaces('acct');
  let netns: string;
  let exec: Exec;

  beforeAll(async () => {
    netns = await namespaces.create('node');
    exec = namespaces.exec(netns);
    await execOk(exec, 'ip', ['address', 'add', '192.0.2.10/32', 'dev', 'lo']);
    await execOk(exec, 'tee', ['/proc/sys/net/ipv4/conf/all/route_localnet'], { input: '1' });
  });
  afterAll(() => namespaces[Symbol.asyncDispose]());

  test('connections to a node port on 127.0.0.1 are counted, others not, and a full sync forgets none', async () => {
    const registry = new Registry();
    const rules = {
      family: 4 as const,
      masqueradeBit: 14,
      masqueradeAll: false,
      localTraffic: undefined,
      localhostNodePorts: true,
      nodePortIps: undefined,
      nodeIps: ['192.0.2.10'],
      randomFully: true,
      dropInvalid: true,
    };
    const packetCounters = new PacketCounters({ exec, registry, log: silentLog });
    const backend = new IptablesBackend(rules, { exec, packetCounters });
    const proxier = new FamilyProxier(
      { nodeName: 'a', fullSyncIntervalMs: 3_600_000 },
      { backend, exec, clock: systemClock, log: silentLog },
    );
    proxier.handleService('ns/web', {
      metadata: { namespace: 'ns', name: 'web' },
      spec: { type: 'NodePort', clusterIP: '10.96.0.1', ports: [{ port: 80, nodePort: 30_080 }] },
    });
    proxier.handleSlice({
      metadata: { namespace: 'ns', name: 'web-1', labels: { 'kubernetes.io/service-name': 'web' } },
      addressType: 'IPv4',
      ports: [{ name: '', port: 8080, protocol: 'TCP' }],
      endpoints: [{ addresses: ['192.0.2.10'], nodeName: 'a' }],
    });
    await proxier.sync(signal);
    const script = `require('http').createServer((q,r)=>r.end('ok')).listen(8080,'192.0.2.10',()=>console.log('up'))`;
    const server = spawn('ip', ['netns', 'exec', netns, process.execPath, '-e', script], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    try {
      await once(server.stdout!, 'data');
      const get = (host: string) => execOk(exec, 'curl', ['-s', '-m', '20', `http://${host}:30080/`]);
      const counted = async () =>
        /^kubeproxy_iptables_localhost_nodeports_accepted_packets_total (\d+)$/m.exec(await registry.metrics())?.[1];
      expect(await counted()).toBe('0');
      expect(await get('192.0.2.10')).toBe('ok');
      expect(await counted()).toBe('0');
      expect(await get('127.0.0.1')).toBe('ok');
      expect(await counted()).toBe('1');
      expect(await proxier.detectFlush(signal)).toBe(false);
      proxier.forceFull();
      await proxier.sync(signal);
      expect(await get('127.0.0.1')).toBe('ok');
      expect(await counted()).toBe('2');
    } finally {
      const closed = once(server, 'close');
      server.kill('SIGKILL');
      await closed;
    }
    await cleanupIptables(exec, 4, { keepShared: false }, signal);
    expect(await execOk(exec, 'iptables-save', [])).not.toContain('nfacct');
    await cleanupPacketCounters(exec, signal);
    await cleanupPacketCounters(exec, signal);
    expect(await execOk(exec, 'nfacct', ['list'])).toBe('');
  });
});
