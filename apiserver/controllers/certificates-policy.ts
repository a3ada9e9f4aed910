// Which certificate signing requests are approved without being asked about, which are signed, and when they are
// forgotten. Pure. After pkg/controller/certificates (approver, signer, cleaner) and pkg/apis/certificates/v1/helpers.go.
import { X509Certificate } from 'node:crypto';
import type {
  CertificateSigningRequest,
  CertificateSigningRequestCondition,
} from 'kubernetes-types/certificates/v1.js';
import type { Node } from '../../api/kinds.ts';
import { type CertUsage, type ParsedCsr, parseCsr } from '../../api/pki.ts';

const CLIENT_SIGNER = 'kubernetes.io/kube-apiserver-client';
const KUBELET_CLIENT_SIGNER = 'kubernetes.io/kube-apiserver-client-kubelet';
export const KUBELET_SERVING_SIGNER = 'kubernetes.io/kubelet-serving';
const LEGACY_SIGNER = 'kubernetes.io/legacy-unknown';

const NODE_PREFIX = 'system:node:';
const NODES_GROUP = 'system:nodes';
const HOUR_MS = 3_600_000;

type Request = CertificateSigningRequest;

/** @throws {PkiError} for what is no request, or is signed with another key. */
export function parseRequest(request: Request): ParsedCsr {
  return parseCsr(Buffer.from(request.spec.request, 'base64').toString('utf8'));
}

function conditionOf(request: Request, type: string): CertificateSigningRequestCondition | undefined {
  return request.status?.conditions?.find((c) => c.type === type);
}

export const isDecided = (r: Request): boolean =>
  conditionOf(r, 'Approved') !== undefined || conditionOf(r, 'Denied') !== undefined;

/** Approved and neither signed nor failed. */
export const isToBeSigned = (r: Request): boolean =>
  conditionOf(r, 'Approved') !== undefined &&
  conditionOf(r, 'Denied') === undefined &&
  conditionOf(r, 'Failed') === undefined &&
  !r.status?.certificate;

/** Why the signer does not sign what it is asked; undefined when it does. For signers of KNOWN_SIGNERS. */
export function signerFault(signerName: string, csr: ParsedCsr, usages: readonly string[]): string | undefined {
  switch (signerName) {
    case KUBELET_CLIENT_SIGNER:
      return nodeSubjectFault(csr) ?? noNamesFault(csr) ?? usagesFault(usages, 'client auth');
    case KUBELET_SERVING_SIGNER:
      return nodeSubjectFault(csr) ?? servingNamesFault(csr) ?? usagesFault(usages, 'server auth');
    case CLIENT_SIGNER:
      return usagesFault(usages, 'client auth', { exactly: false });
    default:
      return usages.every((u) => SIGNABLE.has(u)) ? undefined : `usages must be of ${[...SIGNABLE].join(', ')}`;
  }
}

export const KNOWN_SIGNERS: ReadonlySet<string> = new Set([
  CLIENT_SIGNER,
  KUBELET_CLIENT_SIGNER,
  KUBELET_SERVING_SIGNER,
  LEGACY_SIGNER,
]);

const SIGNABLE: ReadonlySet<string> = new Set<CertUsage>([
  'digital signature',
  'key encipherment',
  'client auth',
  'server auth',
]);

function nodeSubjectFault({ commonName, organizations }: ParsedCsr): string | undefined {
  if (organizations.length !== 1 || organizations[0] !== NODES_GROUP) return `the organization must be ${NODES_GROUP}`;
  return commonName.startsWith(NODE_PREFIX) ? undefined : `the common name must begin with ${NODE_PREFIX}`;
}

function noNamesFault({ dnsNames, ipAddresses, emailAddresses, uris }: ParsedCsr): string | undefined {
  const names = [...dnsNames, ...ipAddresses, ...emailAddresses, ...uris];
  return names.length === 0 ? undefined : 'a client certificate of a node has no alternative names';
}

function servingNamesFault({ dnsNames, ipAddresses, emailAddresses, uris }: ParsedCsr): string | undefined {
  if (emailAddresses.length + uris.length > 0) return 'only DNS names and IP addresses are allowed';
  return dnsNames.length + ipAddresses.length > 0 ? undefined : 'a DNS name or an IP address is required';
}

function usagesFault(usages: readonly string[], auth: string, { exactly = true } = {}): string | undefined {
  const allowed = new Set(['digital signature', 'key encipherment', auth]);
  const required = exactly ? ['digital signature', auth] : [auth];
  const fits = usages.every((u) => allowed.has(u)) && required.every((u) => usages.includes(u));
  return fits ? undefined : `usages must be digital signature and ${auth}, with or without key encipherment`;
}

/** What is to be asked before a request is approved. */
export type Approval =
  | { readonly by: 'access'; readonly subresource: 'nodeclient' | 'selfnodeclient'; readonly message: string }
  | { readonly by: 'addresses'; readonly node: string; readonly message: string };

/** Undefined: nobody but a person decides. */
export function approvalNeeded(request: Request, csr: ParsedCsr): Approval | undefined {
  const { signerName, username, groups, usages } = request.spec;
  if (signerFault(signerName, csr, usages ?? []) !== undefined) return undefined;
  const isOwn = username === csr.commonName;
  if (signerName === KUBELET_CLIENT_SIGNER) {
    const what = isOwn ? 'self kubelet client' : 'kubelet client';
    return {
      by: 'access',
      subresource: isOwn ? 'selfnodeclient' : 'nodeclient',
      message: `Auto approving ${what} certificate after SubjectAccessReview.`,
    };
  }
  // Nobody does this in a cluster of kubeadm's; in a lab nobody would be there to do it.
  if (signerName !== KUBELET_SERVING_SIGNER || !isOwn || groups?.includes(NODES_GROUP) !== true) return undefined;
  return {
    by: 'addresses',
    node: csr.commonName.slice(NODE_PREFIX.length),
    message: 'Auto approving kubelet serving certificate: all that it names are addresses of the Node.',
  };
}

/** Whether the certificate would be for nothing but what the Node says of itself. */
export function namesOnlyItself({ dnsNames, ipAddresses }: ParsedCsr, node: Node | undefined): boolean {
  const own = new Set(node?.status?.addresses?.map((a) => a.address) ?? []);
  return [...dnsNames, ...ipAddresses].every((name) => own.has(name));
}

/** Wall ms at which the request may be forgotten. */
export function removalDueMs(request: Request): number {
  const since = (type: string) => {
    const condition = conditionOf(request, type);
    return condition === undefined ? undefined : Date.parse(condition.lastUpdateTime ?? '') + HOUR_MS;
  };
  const created = Date.parse(request.metadata?.creationTimestamp ?? '');
  const decided = since('Denied') ?? since('Failed') ?? since('Approved');
  const dueMs = decided === undefined || Number.isNaN(decided) ? created + 24 * HOUR_MS : decided;
  const certificate = request.status?.certificate;
  return certificate ? Math.min(dueMs, endOf(certificate)) : dueMs;
}

function endOf(certificate: string): number {
  try {
    return Date.parse(new X509Certificate(Buffer.from(certificate, 'base64')).validTo);
  } catch {
    return Number.POSITIVE_INFINITY; // another signer's, in a form that we do not know
  }
}
