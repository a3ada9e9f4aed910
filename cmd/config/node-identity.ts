// Who the node is: its name, its labels, its addresses (cmd/kubelet/app/server.go, component-helpers/node/util).
import { isIPv4, isIPv6 } from 'node:net';
import { isLabelValue, isQualifiedName } from '../../api/labels.ts';
import type { Report } from './values.ts';

const DNS_SUBDOMAIN = /^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$/;

/** Labels in Kubernetes' own domains that a node may give itself. */
const OWN_LABELS = new Set([
  'kubernetes.io/hostname',
  'topology.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'failure-domain.beta.kubernetes.io/zone',
  'failure-domain.beta.kubernetes.io/region',
  'beta.kubernetes.io/instance-type',
  'node.kubernetes.io/instance-type',
  'kubernetes.io/os',
  'kubernetes.io/arch',
  'beta.kubernetes.io/os',
  'beta.kubernetes.io/arch',
]);
const OWN_DOMAINS = ['kubelet.kubernetes.io', 'node.kubernetes.io'];
const RESERVED_DOMAINS = ['kubernetes.io', 'k8s.io'];

/** The Node's name: trimmed, lower case. Reports what no Node may be called. */
export function nodeNameOf(override: string | undefined, hostname: string, report: Report): string {
  const given = override !== undefined && override !== '';
  const name = (given ? override : hostname).trim().toLowerCase();
  const where = given ? `--hostname-override=${override}` : `the host name ${JSON.stringify(hostname)}`;
  if (name.length > 253 || !DNS_SUBDOMAIN.test(name))
    report(
      where,
      `expected a DNS name (letters, digits, - and .)${given ? '' : '; give one with --hostname-override'}`,
    );
  return name;
}

export function checkNodeLabels(labels: Readonly<Record<string, string>>, report: Report): void {
  for (const [key, value] of Object.entries(labels)) {
    const where = `--node-labels=${key}=${value}`;
    if (!isQualifiedName(key)) report(where, 'expected a label key: name or domain/name');
    else if (!mayLabelItself(key))
      report(
        where,
        `a node may not give itself labels of ${key.split('/')[0]}; expected a domain of your own, or one of node.kubernetes.io, kubelet.kubernetes.io`,
      );
    if (!isLabelValue(value)) report(where, 'expected a label value of at most 63 letters, digits, -, _ and .');
  }
}

function mayLabelItself(key: string): boolean {
  const domain = key.includes('/') ? key.slice(0, key.indexOf('/')) : '';
  const within = (parents: readonly string[]): boolean => parents.some((p) => domain === p || domain.endsWith(`.${p}`));
  return !within(RESERVED_DOMAINS) || OWN_LABELS.has(key) || within(OWN_DOMAINS);
}

/**
 * --node-ip: one address, or one of each family. Entries that are no address are ignored with a warning, as upstream
 * does; `0.0.0.0` alone asks for what is done anyway and comes out as none.
 */
export function nodeIpsOf(written: string, report: Report, warn: (text: string) => void): readonly string[] {
  const where = `--node-ip=${written}`;
  const entries = written
    .split(',')
    .map((entry) => entry.trim())
    .filter((entry) => entry !== '');
  const ips = entries.filter((entry) => isIPv4(entry) || isIPv6(entry));
  for (const entry of entries)
    if (!ips.includes(entry)) warn(`--node-ip: ${entry} is not an IP address and is ignored`);
  const sameFamily = ips.length === 2 && isIPv4(ips[0]!) === isIPv4(ips[1]!);
  if (ips.length > 2 || sameFamily) report(where, 'expected one IP address, or one of each family');
  else if (ips.length === 2 && ips.some((one) => one === '0.0.0.0' || one === '::'))
    report(where, 'expected two definite addresses, not 0.0.0.0 or ::');
  return ips.length === 1 && ips[0] === '0.0.0.0' ? [] : ips;
}
