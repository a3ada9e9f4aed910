// `nodelet network status` on nodes whose overlay was made by hand, as flanneld makes it: no API server, no agent.
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { NetworkStatus } from '../../cni/status/network-status.ts';
import { type ExecResult, systemExec } from '../../host/exec.ts';
import { bridgeBatch, ipBatch } from '../../host/ip-batch.ts';
import { NODELET } from '../harness/cluster.ts';
import { createVeth, TestNamespaces } from '../harness/netns.ts';

const namespaces = new TestNamespaces('status');
const netns: string[] = [];
let dir: string;

const mac = (index: number) => `2a:00:00:00:00:0${index}`;

/** Tunnel and peer entries of node `index`, 1 or 2, towards the other one. */
async function makeOverlay(index: 1 | 2): Promise<void> {
  const [own, other] = [netns[index - 1]!, 3 - index];
  await ipBatch(
    systemExec,
    [
      `link add flannel.1 address ${mac(index)} mtu 1450 type vxlan id 1 dev eth0 local 192.0.2.${index} dstport 8472 nolearning`,
      `address add 10.244.${index}.0/32 dev flannel.1`,
      'link set flannel.1 up',
      `neigh replace 10.244.${other}.0 lladdr ${mac(other)} dev flannel.1 nud permanent`,
      `route replace 10.244.${other}.0/24 via 10.244.${other}.0 dev flannel.1 onlink`,
    ],
    { netns: own },
  );
  await bridgeBatch(systemExec, [`fdb replace ${mac(other)} dev flannel.1 dst 192.0.2.${other} self permanent`], {
    netns: own,
  });
}

async function ask(...args: string[]): Promise<ExecResult> {
  const env = { ...process.env };
  delete env.KUBECONFIG;
  const file = path.join(dir, 'subnet.env');
  return await systemExec(NODELET, ['network', 'status', '--netns', netns[0]!, '--subnet-file', file, ...args], {
    env,
  });
}

beforeAll(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'nodelet-status-'));
  await writeFile(path.join(dir, 'subnet.env'), 'FLANNEL_NETWORK=10.244.0.0/16\nFLANNEL_SUBNET=10.244.1.1/24\n');
  for (const name of ['one', 'two']) netns.push(await namespaces.create(name));
  await createVeth(
    systemExec,
    { netns: netns[0]!, device: 'eth0', address: '192.0.2.1/24' },
    { netns: netns[1]!, device: 'eth0', address: '192.0.2.2/24' },
  );
  await Promise.all([makeOverlay(1), makeOverlay(2)]);
});

afterAll(async () => {
  await namespaces[Symbol.asyncDispose]();
  if (dir) await rm(dir, { recursive: true, force: true });
});

test('a peer that has nothing but a kernel answers through the tunnel', async () => {
  // The first packets wait for the nodes to find each other on the wire.
  const r = await ask('-o', 'json', '--timeout-ms', '20000');
  expect(r.stderr).toBe('');
  const status = JSON.parse(r.stdout) as NetworkStatus;
  expect(status).toMatchObject({
    healthy: true,
    backend: 'vxlan',
    subnets: ['10.244.1.0/24'],
    networks: ['10.244.0.0/16'],
  });
  expect(status.peers).toMatchObject([
    { node: null, subnet: '10.244.2.0/24', address: '192.0.2.2', way: 'vxlan', problems: [], probe: { answers: true } },
  ]);
  expect(r.code).toBe(0);
});

test('a peer without an FDB entry is told, with what is missing', async () => {
  await bridgeBatch(systemExec, [`fdb delete ${mac(2)} dev flannel.1 dst 192.0.2.2 self`], { netns: netns[0]! });
  const r = await ask('--timeout-ms', '300');
  expect(r.stdout).toMatch(/^- +10\.244\.2\.0\/24 .*no: silence for 0\.3 s; no FDB entry for 2a:00:00:00:00:02$/m);
  expect(r.stdout).toContain('1 of 1 cannot be reached');
  expect(r.code).toBe(1);
});

test('a namespace that is not there, and a wrong flag, are named', async () => {
  const env = { ...process.env };
  const missing = await systemExec(NODELET, ['network', 'status', '--netns', 'no-such-netns'], { env });
  expect([missing.code, missing.stderr]).toEqual([1, expect.stringContaining('--netns=no-such-netns: there is no')]);
  const wrong = await ask('--timeout-ms', 'soon');
  expect([wrong.code, wrong.stderr]).toEqual([1, expect.stringContaining('expected a whole number from 10 to 60000')]);
});
