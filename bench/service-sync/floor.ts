// What a change costs when the tool alone is fed by hand with the least that does it: the same Services, chains and rules,
// nothing read or compared first. The text is made before the clock starts.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { clusterIp, ENDPOINT_PORT, endpointIp, SERVICE_PORT } from './objects.ts';
import type { Mode } from './proxy-process.ts';

/** More in one document of iptables-nft-restore is slower: it is quadratic within one run. */
const SERVICES_PER_DOCUMENT = 250;

/** Documents that bring up all Services from nothing. */
export function coldDocuments(mode: Mode, services: number, endpoints: number): readonly string[] {
  const all = Array.from({ length: services }, (_, i) => i);
  if (mode === 'nftables') return [nftables(all, endpoints, NFT_BASE)];
  const documents = [IPTABLES_BASE];
  for (let at = 0; at < services; at += SERVICES_PER_DOCUMENT)
    documents.push(iptables(all.slice(at, at + SERVICES_PER_DOCUMENT), endpoints));
  return documents;
}

/** One Service more. */
export function newServiceDocument(mode: Mode, i: number, endpoints: number): string {
  return mode === 'nftables' ? nftables([i], endpoints, '') : iptables([i], endpoints);
}

/** One endpoint more: the `n`th of Service `i`. */
export function newEndpointDocument(mode: Mode, i: number, n: number): string {
  if (mode === 'nftables') {
    const chain = (k: number) => `endpoint-${i}-${k}`;
    const map = Array.from({ length: n + 1 }, (_, k) => `${k} : goto ${chain(k)}`).join(', ');
    return [
      ...nftEndpoint(i, n),
      `flush chain ip kube-proxy service-${i}`,
      `add rule ip kube-proxy service-${i} numgen random mod ${n + 1} vmap { ${map} }`,
      '',
    ].join('\n');
  }
  const lines = ['*nat', `:${sep(i, n)} - [0:0]`, `:${svc(i)} - [0:0]`, ...iptablesEndpoint(i, n)];
  return [...lines, ...balance(i, n + 1), 'COMMIT', ''].join('\n');
}

/** The least that makes the kernel look at all rules of the table: a chain with an endpoint, to which nothing leads. */
export function leastDocument(mode: Mode, i: number): string {
  if (mode === 'nftables') return [...nftEndpoint(i, LEAST_ENDPOINT), ''].join('\n');
  return ['*nat', `:${sep(i, LEAST_ENDPOINT)} - [0:0]`, ...iptablesEndpoint(i, LEAST_ENDPOINT), 'COMMIT', ''].join(
    '\n',
  );
}

/** Beyond those of Services that are measured with. */
export const LEAST_ENDPOINT = 200;

const svc = (i: number): string => `KUBE-SVC-${String(i).padStart(16, 'A')}`;
const sep = (i: number, n: number): string => `KUBE-SEP-${`${i}X${n}`.padStart(16, 'A')}`;

const IPTABLES_BASE = ['*nat', ':KUBE-SERVICES - [0:0]', ':KUBE-MARK-MASQ - [0:0]']
  .concat('-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000', '-A PREROUTING -j KUBE-SERVICES', '-A OUTPUT -j KUBE-SERVICES')
  .concat('COMMIT', '')
  .join('\n');

function iptables(indexes: readonly number[], endpoints: number): string {
  const chains: string[] = [];
  const rules: string[] = [];
  for (const i of indexes) {
    chains.push(`:${svc(i)} - [0:0]`);
    for (let n = 0; n < endpoints; n++) {
      chains.push(`:${sep(i, n)} - [0:0]`);
      rules.push(...iptablesEndpoint(i, n));
    }
    rules.push(`-A ${svc(i)} ! -s 10.128.0.0/9 -d ${clusterIp(i)} -p tcp --dport ${SERVICE_PORT} -j KUBE-MARK-MASQ`);
    rules.push(...balance(i, endpoints));
    rules.push(`-I KUBE-SERVICES -d ${clusterIp(i)} -p tcp --dport ${SERVICE_PORT} -j ${svc(i)}`);
  }
  return ['*nat', ...chains, ...rules, 'COMMIT', ''].join('\n');
}

function iptablesEndpoint(i: number, n: number): string[] {
  const ip = endpointIp(i, n);
  return [
    `-A ${sep(i, n)} -s ${ip} -j KUBE-MARK-MASQ`,
    `-A ${sep(i, n)} -p tcp -j DNAT --to-destination ${ip}:${ENDPOINT_PORT}`,
  ];
}

function balance(i: number, endpoints: number): string[] {
  return Array.from({ length: endpoints }, (_, n) => {
    const left = endpoints - n;
    const match = left === 1 ? '' : ` -m statistic --mode random --probability ${(1 / left).toFixed(10)}`;
    return `-A ${svc(i)}${match} -j ${sep(i, n)}`;
  });
}

const NFT_BASE = [
  'add table ip kube-proxy',
  'add chain ip kube-proxy mark-for-masquerade',
  'add rule ip kube-proxy mark-for-masquerade meta mark set meta mark or 0x4000',
  'add map ip kube-proxy service-ips { type ipv4_addr . inet_proto . inet_service : verdict ; }',
  'add chain ip kube-proxy services',
  'add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips',
  'add chain ip kube-proxy nat-prerouting { type nat hook prerouting priority -100 ; }',
  'add rule ip kube-proxy nat-prerouting jump services',
  '',
].join('\n');

function nftables(indexes: readonly number[], endpoints: number, base: string): string {
  const lines = [base];
  const elements: string[] = [];
  for (const i of indexes) {
    const chain = `service-${i}`;
    const masquerade = `ip daddr ${clusterIp(i)} tcp dport ${SERVICE_PORT} ip saddr != 10.128.0.0/9 jump mark-for-masquerade`;
    const map = Array.from({ length: endpoints }, (_, n) => `${n} : goto endpoint-${i}-${n}`).join(', ');
    for (let n = 0; n < endpoints; n++) lines.push(...nftEndpoint(i, n));
    lines.push(
      `add chain ip kube-proxy ${chain}`,
      `add rule ip kube-proxy ${chain} ${masquerade}`,
      `add rule ip kube-proxy ${chain} numgen random mod ${endpoints} vmap { ${map} }`,
    );
    elements.push(`${clusterIp(i)} . tcp . ${SERVICE_PORT} : goto ${chain}`);
  }
  lines.push(`add element ip kube-proxy service-ips { ${elements.join(', ')} }`, '');
  return lines.join('\n');
}

function nftEndpoint(i: number, n: number): string[] {
  const chain = `endpoint-${i}-${n}`;
  return [
    `add chain ip kube-proxy ${chain}`,
    // Marked in place: it is put beside the proxy's rules too, which have no chain for it.
    `add rule ip kube-proxy ${chain} ip saddr ${endpointIp(i, n)} meta mark set meta mark or 0x4000`,
    `add rule ip kube-proxy ${chain} meta l4proto tcp dnat to ${endpointIp(i, n)}:${ENDPOINT_PORT}`,
  ];
}

/** Takes away the rules of both modes. */
export async function flushAll(): Promise<void> {
  await feed('nft', ['-f', '-'], 'flush ruleset\n');
}

/** One run of the mode's tool. @throws when it refuses. */
export function apply(mode: Mode, document: string): Promise<void> {
  return mode === 'nftables'
    ? feed('nft', ['-f', '-'], document)
    : feed('iptables-restore', ['--noflush', '--wait', '5'], document);
}

async function feed(program: string, args: readonly string[], input: string): Promise<void> {
  const child = spawn(program, args, { stdio: ['pipe', 'ignore', 'pipe'] });
  let stderr = '';
  child.stderr.on('data', (chunk: Buffer) => {
    stderr = `${stderr}${chunk}`.slice(0, 2_000);
  });
  child.stdin.on('error', () => {}); // its exit code tells
  child.stdin.end(input);
  const [code] = await once(child, 'close');
  if (code !== 0) throw new Error(`${program} ended with ${code}: ${stderr}`);
}
