// The table of the nftables mode on the real kernel: what a full sync leaves alone, how the table becomes whole again
// after others changed it, and what failures of the tool in the middle of a change leave.
import { afterAll, describe, expect, test } from 'vitest';
import { systemClock } from '../../core/clock.ts';
import type { AgentError } from '../../core/errors.ts';
import type { Exec } from '../../host/exec.ts';
import type { FamilyProxier } from '../../proxy/family-proxier.ts';
import { NftablesBackend, type NftablesDeps } from '../../proxy/nftables/nftables.ts';
import { BASE_CHAINS } from '../../proxy/nftables/table.ts';
import { matrixProxier, proxierOver, putShapes } from '../harness/matrix-proxier.ts';
import { TestNamespaces } from '../harness/netns.ts';
import { serviceRuleHandles, tableState } from '../harness/nft-table.ts';
import { type Family, keyOf, ruleOptions, type Shape, wholeMatrix } from '../harness/service-matrix.ts';

const signal = new AbortController().signal;
const namespaces = new TestNamespaces('nftt');
const matrix = wholeMatrix();

async function netns(name: string): Promise<Exec> {
  return namespaces.exec(await namespaces.create(name));
}

function proxierIn(exec: Exec, family: Family, deps: Partial<NftablesDeps> = {}): FamilyProxier {
  return matrixProxier(exec, { mode: 'nftables', family, deps });
}

/** What the table is when nobody but one proxy ever touched it. */
async function referenceState(name: string, shapes: readonly Shape[], family: Family): Promise<unknown> {
  const exec = await netns(name);
  const proxier = proxierIn(exec, family);
  putShapes(proxier, shapes);
  await proxier.sync(signal);
  return tableState(exec, family);
}

describe.each([4, 6] as const)('a full sync of every kind of Service, IPv%i', (family) => {
  test('writes no rule of a Service that is as it should be, in the same run and in a new one', async () => {
    const exec = await netns(`same${family}`);
    const proxier = proxierIn(exec, family);
    putShapes(proxier, matrix);
    await proxier.sync(signal);
    const state = await tableState(exec, family);
    const handles = await serviceRuleHandles(exec, family);
    expect(handles.size).toBeGreaterThan(matrix.length);

    proxier.forceFull();
    expect(await proxier.sync(signal)).toBe('full');
    expect(await serviceRuleHandles(exec, family)).toEqual(handles);

    const restarted = proxierIn(exec, family);
    putShapes(restarted, matrix);
    await restarted.sync(signal);
    expect(await serviceRuleHandles(exec, family)).toEqual(handles);
    expect(await tableState(exec, family)).toEqual(state);
  });

  test('puts right what others changed in the table', async () => {
    const exec = await netns(`changed${family}`);
    const proxier = proxierIn(exec, family);
    putShapes(proxier, matrix);
    await proxier.sync(signal);
    const state = await tableState(exec, family);
    const chains = [...new Set((await serviceRuleHandles(exec, family)).values())];
    const [one, two, three] = chains.filter((c) => c.startsWith('service-')) as [string, string, string];
    const at = `${family === 6 ? 'ip6' : 'ip'} kube-proxy`;
    const address = (i: number) => (family === 6 ? `fd00:96::${i}` : `10.96.0.${i}`);
    const meddle = [
      `flush chain ${at} ${one}`,
      `add rule ${at} ${two} drop`,
      `flush chain ${at} ${three}`,
      `add rule ${at} ${three} ${family === 6 ? 'ip6' : 'ip'} daddr ${address(1)} accept`,
      `add chain ${at} service-ZZZZZZZZ-gone/gone/tcp/p`,
      `add set ${at} affinity-ZZZZZZZZ-gone/gone/tcp/p__1 { type ipv4_addr ; flags dynamic,timeout ; timeout 5s ; }`,
      `add element ${at} service-ips { ${address(0)} . udp . 9 : goto service-ZZZZZZZZ-gone/gone/tcp/p }`,
      `add element ${at} cluster-ips { ${family === 6 ? 'fd00:96::ffff' : '10.96.9.9'} }`,
      `flush map ${at} firewall-ips`,
      `delete element ${at} cluster-ips { ${address(1)} }`,
      `flush chain ${at} masquerading`,
      `insert rule ${at} services drop`,
    ];
    const meddled = await exec('nft', ['-f', '-'], { input: `${meddle.join('\n')}\n` });
    expect(meddled.stderr).toBe('');
    expect(await tableState(exec, family)).not.toEqual(state);
    proxier.forceFull();
    await proxier.sync(signal);
    expect(await tableState(exec, family)).toEqual(state);
  });
});

describe('a proxy finds out that', () => {
  test.each([
    ['the table was deleted', 'delete table ip kube-proxy'],
    ['all of its rules were flushed', 'flush table ip kube-proxy'],
    ...['services', 'masquerading', 'firewall-check', 'service-endpoints-check', 'nodeport-endpoints-check'].map(
      (chain) => [`the lookup chain ${chain} was flushed`, `flush chain ip kube-proxy ${chain}`],
    ),
    ...BASE_CHAINS.map(({ name }) => [`the base chain ${name} was flushed`, `flush chain ip kube-proxy ${name}`]),
    ['one cluster IP was deleted', 'delete element ip kube-proxy service-ips { 10.96.0.3 . tcp . 80 }'],
    ['one node port was deleted', 'delete element ip kube-proxy service-nodeports { tcp . 30003 }'],
    ['all cluster IPs were flushed', 'flush map ip kube-proxy service-ips'],
  ])('%s, and writes it anew', async (what, command) => {
    const exec = await netns(what!.replaceAll(' ', '-').slice(-40));
    const proxier = proxierIn(exec, 4);
    const shapes = matrix.slice(0, 5);
    putShapes(proxier, shapes);
    await proxier.sync(signal);
    const state = await tableState(exec);
    expect(await proxier.detectFlush(signal)).toBe(false);
    expect(await tableState(exec)).toEqual(state); // looking changes nothing
    expect((await exec('nft', [command!])).stderr).toBe('');
    expect(await proxier.detectFlush(signal)).toBe(true);
    await proxier.sync(signal);
    expect(await tableState(exec)).toEqual(state);
    expect(await proxier.detectFlush(signal)).toBe(false);
  });

  test.each([4, 6] as const)('nothing is amiss, whatever kinds of Services there are, IPv%i', async (family) => {
    const exec = await netns(`whole${family}`);
    const proxier = proxierIn(exec, family);
    putShapes(proxier, matrix);
    await proxier.sync(signal);
    // More elements than one look takes: several go round once.
    for (let look = 0; look < 4; look++) expect(await proxier.detectFlush(signal)).toBe(false);
    putShapes(proxier, [{ ...matrix[0]!, affinity: true }]);
    proxier.handleService(keyOf(matrix[1]!), undefined);
    expect(await proxier.sync(signal)).toBe('partial');
    for (let look = 0; look < 4; look++) expect(await proxier.detectFlush(signal)).toBe(false);
  });

  test('objects of its names are there that cannot become its own, and makes the table from nothing', async () => {
    const exec = await netns('foreign');
    const foreign = 'add table ip kube-proxy { set cluster-ips { type ipv6_addr ; } ; }';
    expect((await exec('nft', [foreign])).stderr).toBe('');
    const proxier = proxierIn(exec, 4);
    const shapes = matrix.slice(0, 5);
    putShapes(proxier, shapes);
    await expect(proxier.sync(signal)).rejects.toThrow(/nft refused the rules/);
    await expect(proxier.sync(signal)).rejects.toThrow(/nft refused the rules/);
    await proxier.sync(signal);
    expect(await tableState(exec)).toEqual(await referenceState('foreign-ref', shapes, 4));
  });
});

describe('more Services than one transaction takes', () => {
  /** Two endpoints each, one on the node, so that the policy makes a difference. */
  function putMany(proxier: FamilyProxier, internalTrafficPolicy: 'Cluster' | 'Local'): void {
    for (let i = 0; i < 1_200; i++) {
      const spec = { clusterIP: `10.96.${i >> 8}.${i & 255}`, ports: [{ name: 'p', port: 80 }], internalTrafficPolicy };
      const name = `m${i}`;
      proxier.handleService(`many/${name}`, { metadata: { namespace: 'many', name }, spec });
      proxier.handleSlice({
        metadata: { namespace: 'many', name: `${name}-1`, labels: { 'kubernetes.io/service-name': name } },
        addressType: 'IPv4',
        ports: [{ name: 'p', port: 8080, protocol: 'TCP' }],
        endpoints: [
          { addresses: ['10.244.1.10'], nodeName: 'node-a' },
          { addresses: ['10.244.2.10'], nodeName: 'node-b' },
        ],
      });
    }
  }

  /** Runs nft in place until the `nth` write, for which `instead` is run. */
  function breaking(exec: Exec, nth: number, instead: (...args: Parameters<Exec>) => ReturnType<Exec>): Exec {
    let writes = 0;
    return (program, args, opts) =>
      args.includes('-f') && !args.includes('--check') && ++writes === nth
        ? instead(program, args, opts)
        : exec(program, args, opts);
  }

  test('are whole after the tool failed, or hung, in the middle of the first sync', async () => {
    const exec = await netns('many');
    const failing = proxierIn(
      breaking(exec, 3, () => exec('false', [])),
      4,
    );
    putMany(failing, 'Cluster');
    await expect(failing.sync(signal)).rejects.toThrow(/nft refused the rules/);

    const proxier = proxierIn(
      breaking(exec, 2, (_program, _args, opts) => exec('sleep', ['1000'], { ...opts, timeoutMs: 100 })),
      4,
    );
    putMany(proxier, 'Cluster');
    await expect(proxier.sync(signal)).rejects.toMatchObject({ code: 'EXEC_TIMEOUT' } satisfies Partial<AgentError>);
    await proxier.sync(signal);
    const untouched = await netns('many-ref');
    const reference = proxierIn(untouched, 4);
    putMany(reference, 'Cluster');
    await reference.sync(signal);
    const state = await tableState(untouched);
    expect(await tableState(exec)).toEqual(state);

    // All of them change at once, in a sync that builds on the last one.
    putMany(proxier, 'Local');
    expect(proxier.nextSync).toBe('partial');
    await proxier.sync(signal);
    expect(await tableState(exec)).not.toEqual(state);
    putMany(proxier, 'Cluster');
    expect(proxier.nextSync).toBe('partial');
    await proxier.sync(signal);
    expect(await tableState(exec)).toEqual(state);
  });
});

test.each([4, 6] as const)(
  'the ranges of cluster IPs follow the cluster, whatever stands in them, IPv%i',
  async (family) => {
    const exec = await netns(`cidrs${family}`);
    const options = { ...ruleOptions('nftables', family), serviceCidrs: [] };
    const backend = new NftablesBackend(options, { exec, clock: systemClock });
    const proxier = proxierOver(backend, exec);
    const ip = family === 6 ? 'ip6' : 'ip';
    const dropped = async () => {
      const { stdout } = await exec('nft', ['list', 'chain', ip, 'kube-proxy', 'cluster-ips-check']);
      return /daddr ([^@]*?) drop/.exec(stdout)?.[1];
    };
    putShapes(proxier, matrix.slice(0, 1));
    await proxier.sync(signal);
    expect(await dropped()).toBeUndefined();
    backend.setServiceCidrs(['10.96.0.0/16', 'fd00:96::/112', 'not a range', '10.96.8.0/24', 'fd00:96::8:0/120']);
    putShapes(proxier, matrix.slice(1, 2));
    expect(await proxier.sync(signal)).toBe('partial');
    const [own] = family === 6 ? ['fd00:96::/112'] : ['10.96.0.0/16'];
    expect(await dropped()).toContain(own);
    backend.setServiceCidrs(['10.98.0.0/16', 'fd00:98::/112']);
    proxier.forceFull();
    await proxier.sync(signal);
    expect(await dropped()).toBe(family === 6 ? 'fd00:98::/112' : '10.98.0.0/16');
  },
);

test('a chain that cannot be deleted holds up no change', async () => {
  const exec = await netns('held');
  let nowMs = 0;
  let failures = 0;
  const clock = { ...systemClock, monotonicMs: () => nowMs };
  const proxier = proxierIn(exec, 4, { clock, onCleanupFailure: () => failures++ });
  const [first, second] = [matrix[0]!, matrix[1]!];
  putShapes(proxier, [first]);
  await proxier.sync(signal);
  const chain = [...(await serviceRuleHandles(exec, 4)).values()].find((name) => name.startsWith('service-'))!;
  // Somebody's rule leads to the chain.
  const held = `add chain ip kube-proxy theirs\nadd rule ip kube-proxy theirs jump ${chain}\n`;
  expect((await exec('nft', ['-f', '-'], { input: held })).stderr).toBe('');
  proxier.handleService(keyOf(first), undefined);
  await proxier.sync(signal);
  nowMs = 5_000;
  putShapes(proxier, [second]);
  expect(await proxier.sync(signal)).toBe('partial');
  expect(failures).toBe(1);
  const after = new Set((await serviceRuleHandles(exec, 4)).values());
  expect([...after].some((name) => name.includes(`/s${second.index}/`))).toBe(true);
  await exec('nft', ['delete chain ip kube-proxy theirs']);
  expect(await proxier.sync(signal)).toBe('full');
  nowMs = 10_000;
  await proxier.sync(signal);
  const chains = (await exec('nft', ['list', 'chains', 'ip'])).stdout;
  expect(chains).not.toContain(chain);
  expect(proxier.hasLeftovers).toBe(false);
});

afterAll(() => namespaces[Symbol.asyncDispose]());
