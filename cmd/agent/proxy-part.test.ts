import { expect, onTestFinished, test, vi } from 'vitest';
import type { EndpointSlice, Node, Service } from '../../api/kinds.ts';
import { Store } from '../../client/store.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { Registry } from '../../core/metrics.ts';
import type { Exec } from '../../host/exec.ts';
import { createProxyPart } from './proxy-part.ts';
import type { AgentContext } from './shared.ts';

test.each([
  ['served on a host that has no address of it yet', '0', ['ip', 'ip6']],
  ['not served where it is switched off', '1', ['ip']],
  ['not served by a kernel without it', undefined, ['ip']],
])('IPv6 is %s', async (_how, disabled, wanted) => {
  vi.stubEnv('KUBE_PROXY_NFTABLES_SKIP_KERNEL_VERSION_CHECK', '1');
  const tables = new Set<string>();
  const synced = Promise.withResolvers<void>();
  const exec: Exec = async (program, args, { input = '' } = {}) => {
    const isList = args.includes('list');
    for (const [, family] of String(input).matchAll(/add table (ip6?) kube-proxy/g)) tables.add(family!);
    if (program === 'iptables') synced.resolve(); // rules of the other mode go last
    const isThere = program === 'nft' && !isList;
    return { code: isThere ? 0 : 1, signal: undefined, stdout: '', stderr: isList ? 'No such file or directory' : '' };
  };
  const started = Promise.withResolvers<void>();
  const services = new Store<Service>();
  const slices = new Store<EndpointSlice>();
  const nodes = new Store<Node>();
  const ctx = {
    config: {
      parts: new Set(['kubelet', 'proxy']),
      nodeName: 'a',
      node: { nodeIps: [] },
      network: { clusterCidrV6: 'fd00:244::/56' },
      proxy: {
        mode: 'nftables',
        clusterCidr: '',
        masqueradeBit: 14,
        masqueradeAll: false,
        detectLocal: { by: 'cidr' },
        localhostNodePorts: false,
        nodePortAddresses: [],
        conntrack: {},
        minSyncPeriodMs: 1_000,
        syncPeriodMs: 30_000,
      },
    },
    exec,
    standalone: true,
    registry: new Registry(),
    clock: new FakeClock(),
    log: silentLog,
    sysctl: {
      read: async (name: string) => (/disable_ipv6/.test(name) ? disabled : undefined),
      set: async () => false,
    },
    addresses: { look: async () => [], known: [{ address: '127.0.0.1' }], ofDefaultRoute: async () => undefined },
    proxyRecorder: { event: () => started.resolve() },
    ownNode: { store: nodes },
    services: () => ({ store: services }),
    endpointSlices: () => ({ store: slices }),
  } as unknown as AgentContext;
  const stop = new AbortController();
  const part = await createProxyPart(ctx, stop.signal);
  const ended = part.run(stop.signal);
  onTestFinished(async () => {
    stop.abort();
    await ended;
    vi.unstubAllEnvs();
  });
  await started.promise; // its servers answer before the API server does
  nodes.replace([]);
  services.replace([]);
  slices.replace([]);
  await synced.promise;
  expect([...tables].sort()).toEqual(wanted);
});
