// Stale UDP flows on the real kernel: which entries of its table of connections go when endpoints do.
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { EndpointSlice, Service } from '../../api/kinds.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { type Exec, execOk } from '../../host/exec.ts';
import { FamilyProxier } from '../../proxy/family-proxier.ts';
import type { RuleBackend } from '../../proxy/rule-backend.ts';
import { TestNamespaces } from '../harness/netns.ts';

const signal = new AbortController().signal;
const namespaces = new TestNamespaces('flows');
let exec: Exec;

beforeAll(async () => {
  exec = namespaces.exec(await namespaces.create('node'));
});
afterAll(() => namespaces[Symbol.asyncDispose]());

/** Rules are not what is looked at here. */
const noRules: RuleBackend = {
  family: 4,
  writeAll: async () => {},
  writeChanges: async () => {},
  isInPlace: async () => true,
};

const dns: Service = {
  metadata: { namespace: 'ns', name: 'dns' },
  spec: {
    type: 'NodePort',
    clusterIP: '10.96.0.10',
    externalIPs: ['198.51.100.1'],
    ports: [{ name: 'dns', protocol: 'UDP', port: 53, nodePort: 30_053 }],
  },
};

function slice(endpoints: Readonly<Record<string, { ready: boolean; terminating?: boolean }>>): EndpointSlice {
  return {
    metadata: { namespace: 'ns', name: 'dns-x', labels: { 'kubernetes.io/service-name': 'dns' } },
    addressType: 'IPv4',
    ports: [{ name: 'dns', protocol: 'UDP', port: 5353 }],
    endpoints: Object.entries(endpoints).map(([ip, { ready, terminating = false }]) => ({
      addresses: [ip],
      conditions: { ready, serving: true, terminating },
    })),
  };
}

let clientPort = 4000;

/** Puts an entry into the table as a packet of a client would, and returns the client's port. */
async function addFlow(protocol: string, to: readonly [string, number], from: readonly [string, number]) {
  const port = String(++clientPort);
  const args = ['-I', '-p', protocol, '-s', '10.244.0.9', '-d', to[0], '--sport', port, '--dport', String(to[1])];
  const reply = ['--reply-src', from[0], '--reply-dst', '10.244.0.9'];
  const replyPorts = ['--reply-port-src', String(from[1]), '--reply-port-dst', port];
  const state = protocol === 'tcp' ? ['--state', 'ESTABLISHED'] : [];
  await execOk(exec, 'conntrack', [...args, ...reply, ...replyPorts, '--timeout', '600', ...state]);
  return port;
}

async function clientPorts(): Promise<Set<string>> {
  const listed = await execOk(exec, 'conntrack', ['-L', '-f', 'ipv4']);
  return new Set([...listed.matchAll(/ src=10\.244\.0\.9 dst=\S+ sport=(\d+)/g)].map((m) => m[1]!));
}

test('flows to an endpoint that is gone are removed, all others stay', async () => {
  const proxier = new FamilyProxier(
    { nodeName: 'a', fullSyncIntervalMs: 3_600_000 },
    { backend: noRules, exec, clock: systemClock, log: silentLog },
  );
  proxier.handleService('ns/dns', dns);
  proxier.handleSlice(slice({ '10.244.1.1': { ready: true }, '10.244.1.2': { ready: true } }));
  await proxier.sync(signal);
  const [gone, stays] = [['10.244.1.1', 5353] as const, ['10.244.1.2', 5353] as const];
  const stale = [
    await addFlow('udp', ['10.96.0.10', 53], gone),
    await addFlow('udp', ['10.96.0.10', 53], gone), // of another client
    await addFlow('udp', ['198.51.100.1', 53], gone),
    await addFlow('udp', ['192.0.2.1', 30_053], gone),
    await addFlow('udp', ['10.96.0.10', 53], ['10.96.0.10', 53]), // begun before there were rules
  ];
  const good = [
    await addFlow('udp', ['10.96.0.10', 53], stays),
    await addFlow('udp', ['192.0.2.1', 30_053], stays),
    await addFlow('udp', ['10.244.1.1', 5353], gone), // to the pod itself
    await addFlow('udp', ['10.96.0.11', 53], gone), // not a Service of ours
    await addFlow('tcp', ['10.96.0.10', 53], gone),
  ];
  expect(await proxier.removeStaleFlows(signal)).toBe(1); // the one without translation: both endpoints still serve
  expect(await clientPorts()).toEqual(new Set([...stale.slice(0, 4), ...good]));

  proxier.handleSlice(slice({ '10.244.1.1': { ready: false, terminating: true }, '10.244.1.2': { ready: true } }));
  await proxier.sync(signal);
  expect(await proxier.removeStaleFlows(signal)).toBe(0); // it shuts down but still answers

  proxier.handleSlice(slice({ '10.244.1.2': { ready: true } }));
  await proxier.sync(signal);
  expect(await proxier.removeStaleFlows(signal)).toBe(4);
  expect(await clientPorts()).toEqual(new Set(good));
  expect(await proxier.removeStaleFlows(signal)).toBeUndefined(); // nothing changed since
});
