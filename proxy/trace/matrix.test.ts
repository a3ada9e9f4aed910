// Generated rules of the iptables mode against a model of Services: who reaches whom, masqueraded or not. The same for
// the nftables mode, whose rules only the kernel's own tool can read, is test/integration/service-matrix.test.ts.
import { expect, test } from 'vitest';
import { FakeClock } from '../../core/fake-clock.ts';
import { silentLog } from '../../core/log.ts';
import { FakeIptables } from '../../host/fake-iptables.ts';
import {
  ADDRESSES,
  type Family,
  keyOf,
  ruleOptions,
  serviceOf,
  sliceOf,
  type Variant,
  wholeMatrix,
} from '../../test/harness/service-matrix.ts';
import { differences } from '../../test/harness/traced-matrix.ts';
import { FamilyProxier } from '../family-proxier.ts';
import { IptablesBackend } from '../iptables/iptables.ts';
import { type HostFacts, hostFacts } from './host-facts.ts';
import { parseIptablesSave } from './iptables-save.ts';

function factsOf(family: Family): HostFacts {
  const a = ADDRESSES[family];
  const address = (ifname: string, local: string) => ({
    ifname,
    addr_info: [{ local, prefixlen: family === 4 ? 24 : 64 }],
  });
  const [bridge, far] = [a.bridge.split('/')[0]!, a.remoteGateway.split('/')[0]!];
  return hostFacts(
    [address('eth0', a.node), address('cni0', bridge), address('far0', far)],
    [
      { dst: 'default', dev: 'eth0' },
      { dst: family === 4 ? '10.244.1.0/24' : 'fd00:244:0:1::/64', dev: 'cni0' },
      { dst: family === 4 ? '10.244.2.0/24' : 'fd00:244:0:2::/64', dev: 'far0' },
    ],
    new Map(),
    family,
  );
}

test.each<[Family, Variant]>([
  [4, 'usual'],
  [6, 'usual'],
  [4, 'masquerade all'],
  [4, 'no detector'],
])('IPv%i, %s: every connection does what the rules of Services say', async (family, variant) => {
  // The other settings are about policies and endpoints alone.
  const shapes = wholeMatrix().filter((s) => variant === 'usual' || (s.ranges === 'open' && !s.affinity));
  const kernel = new FakeIptables();
  const { exec } = kernel;
  const backend = new IptablesBackend(ruleOptions('iptables', family, variant), { exec });
  const proxier = new FamilyProxier(
    { nodeName: 'node-a', fullSyncIntervalMs: 3_600_000 },
    { backend, exec, clock: new FakeClock(), log: silentLog },
  );
  for (const shape of shapes) {
    proxier.handleService(keyOf(shape), serviceOf(shape, family));
    const slice = sliceOf(shape, family);
    if (slice !== undefined) proxier.handleSlice(slice);
  }
  await proxier.sync(new AbortController().signal);
  const of = { mode: 'iptables', family, variant } as const;
  expect(shapes.length).toBe(variant === 'usual' ? 168 : 28);
  expect(differences(shapes, parseIptablesSave(kernel.save()), factsOf(family), of)).toEqual([]);
});
