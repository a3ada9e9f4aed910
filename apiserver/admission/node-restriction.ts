// What a node may write: its own Node, its own Lease, mirror pods and the status of pods bound to it. The authorizer
// has looked at the request line; this looks at the object. After plugin/pkg/admission/noderestriction.
import { isDeepStrictEqual } from 'node:util';
import type { CertificateSigningRequest } from 'kubernetes-types/certificates/v1.js';
import type { Node, PersistentVolumeClaim } from '../../api/kinds.ts';
import type { KubeObject } from '../../api/meta.ts';
import { type ParsedCsr, PkiError, parseCsr } from '../../api/pki.ts';
import { isMirrorPod, MIRROR_ANNOTATION, type Pod } from '../../api/pod.ts';
import { apiReference } from '../../api/pod-references.ts';
import { claimsOfPod, type ResourceSlice } from '../../api/resource-claims.ts';
import { nodes } from '../../api/resources.ts';
import type { AdmissionPlugin, AdmissionRequest } from '../admission.ts';
import type { Authorizer } from '../auth/authorizer.ts';
import { nodeNameOf } from '../auth/node-authorizer.ts';
import type { ObjectReader } from '../registry/reader.ts';
import { forbidden } from '../status-error.ts';
import { tokenFault } from './node-tokens.ts';

const LEASE_NAMESPACE = 'kube-node-lease';
const KUBELET_SIGNERS = new Set(['kubernetes.io/kube-apiserver-client-kubelet', 'kubernetes.io/kubelet-serving']);

/** Labels of Kubernetes' own domains that a node may give itself. */
const OWN_LABELS = new Set([
  'kubernetes.io/hostname',
  'kubernetes.io/os',
  'kubernetes.io/arch',
  'beta.kubernetes.io/os',
  'beta.kubernetes.io/arch',
  'topology.kubernetes.io/zone',
  'topology.kubernetes.io/region',
  'failure-domain.beta.kubernetes.io/zone',
  'failure-domain.beta.kubernetes.io/region',
  'node.kubernetes.io/instance-type',
  'beta.kubernetes.io/instance-type',
]);
const OWN_LABEL_DOMAINS = ['kubelet.kubernetes.io', 'node.kubernetes.io'];
const RESERVED_LABEL_DOMAINS = ['kubernetes.io', 'k8s.io'];

/** Why `node` may not do it; undefined: no objection. */
type Check = (request: AdmissionRequest, node: string, deps: Deps) => string | undefined | Promise<string | undefined>;

interface Deps {
  readonly reader: ObjectReader;
  readonly authorizer: Authorizer;
}

const CHECKS: Readonly<Record<string, Check>> = {
  nodes: nodeFault,
  pods: (request, node, { reader }) => podFault(request, node, reader),
  persistentvolumeclaims: claimFault,
  serviceaccounts: (request, node, { reader, authorizer }) => tokenFault(request, node, reader, authorizer),
  'leases.coordination.k8s.io': (request, node) => {
    if (request.namespace !== LEASE_NAMESPACE) {
      return `can only access leases in the "${LEASE_NAMESPACE}" system namespace`;
    }
    return ownName(request, node, 'can only access node lease with the same name as the requesting node');
  },
  'csinodes.storage.k8s.io': (request, node) =>
    ownName(request, node, 'can only access CSINode with the same name as the requesting node'),
  'resourceslices.resource.k8s.io': sliceFault,
  'certificatesigningrequests.certificates.k8s.io': signingRequestFault,
};

/** Looks at the objects as they will be stored; says nothing about users that are not nodes. */
export function nodeRestriction(reader: ObjectReader, authorizer: Authorizer): AdmissionPlugin {
  return {
    name: 'NodeRestriction',
    async validate(request) {
      const node = nodeNameOf(request.user);
      if (node === undefined) return;
      const { group, resource } = request;
      const key = group === '' ? resource : `${resource}.${group}`;
      const check = Object.hasOwn(CHECKS, key) ? CHECKS[key] : undefined;
      const fault = await check?.(request, node, { reader, authorizer });
      if (fault !== undefined) throw forbidden({ group, resource }, request.name, fault);
    },
  };
}

function ownName(request: AdmissionRequest, node: string, fault: string): string | undefined {
  return request.name === node ? undefined : fault;
}

function nodeFault(request: AdmissionRequest, node: string): string | undefined {
  const who = `node "${node}"`;
  if (request.name !== node) return `${who} is not allowed to modify node "${request.name}"`;
  if (request.operation === 'DELETE') return `${who} is not allowed to delete itself`;
  const next = request.object as Node;
  if (request.operation === 'CREATE') {
    if (next.spec?.configSource) return `${who} is not allowed to create pods with a non-nil configSource`;
    const labels = refusedLabels(next, undefined);
    return labels.length === 0 ? undefined : `${who} is not allowed to set the following labels: ${labels.join(', ')}`;
  }
  const old = request.oldObject as Node;
  if (!same(next.spec?.taints, old.spec?.taints)) return `${who} is not allowed to modify taints`;
  if (next.spec?.configSource && !same(next.spec.configSource, old.spec?.configSource)) {
    return `${who} is not allowed to update configSource to a new non-nil configSource`;
  }
  if (!same(next.metadata?.ownerReferences, old.metadata?.ownerReferences)) {
    return `${who} is not allowed to modify ownerReferences`;
  }
  const labels = refusedLabels(next, old);
  return labels.length === 0 ? undefined : `is not allowed to modify labels: ${labels.join(', ')}`;
}

/** Keys that were added, changed or removed and are not the node's to change, sorted. */
function refusedLabels(next: KubeObject, old: KubeObject | undefined): string[] {
  const before = old?.metadata?.labels ?? {};
  const after = next.metadata?.labels ?? {};
  const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
  return [...keys].filter((key) => before[key] !== after[key] && !isOwnLabel(key)).sort();
}

/** Pure: whether a node may set this label on itself. */
export function isOwnLabel(key: string): boolean {
  const domain = key.includes('/') ? key.slice(0, key.indexOf('/')) : '';
  const within = (domains: readonly string[]) => domains.some((d) => domain === d || domain.endsWith(`.${d}`));
  // Named apart although the reserved domains cover it: this one exists to keep nodes out.
  if (within(['node-restriction.kubernetes.io'])) return false;
  return !within(RESERVED_LABEL_DOMAINS) || OWN_LABELS.has(key) || within(OWN_LABEL_DOMAINS);
}

function podFault(request: AdmissionRequest, node: string, reader: ObjectReader): string | undefined {
  const { operation, subresource } = request;
  const can = `node "${node}" can only`;
  if (operation === 'CREATE' && subresource === '') return newPodFault(request.object as Pod, node, reader);
  const stored = request.oldObject as Pod | undefined;
  const own = stored?.spec?.nodeName === node;
  if (operation === 'DELETE') return own ? undefined : `${can} delete pods with spec.nodeName set to itself`;
  if (operation !== 'UPDATE' || subresource !== 'status') {
    return `unexpected pod subresource "${subresource}", only 'status' and 'eviction' are allowed`;
  }
  if (!own) return `${can} update pod status for pods with spec.nodeName set to itself`;
  const next = request.object as Pod;
  if (!same(next.metadata?.labels, stored?.metadata?.labels)) {
    return `node "${node}" cannot update labels through pod status`;
  }
  const [wanted, known] = [claimsOfPod(next), claimsOfPod(stored!)];
  if (!same(wanted.statuses, known.statuses)) return `node "${node}" cannot update resource claim statues`;
  return same(wanted.extended, known.extended)
    ? undefined
    : `node "${node}" cannot update extended resource claim status`;
}

/** A node makes only mirror pods: they show what it runs anyway, and must give it no access to anything. */
function newPodFault(pod: Pod, node: string, reader: ObjectReader): string | undefined {
  const who = `node "${node}"`;
  if (!isMirrorPod(pod)) {
    return `pod does not have "${MIRROR_ANNOTATION}" annotation, ${who} can only create mirror pods`;
  }
  if (pod.spec?.nodeName !== node) return `${who} can only create pods with spec.nodeName set to itself`;
  const ownerFault = mirrorOwnerFault(pod, node, reader);
  if (ownerFault !== undefined) return `${who} ${ownerFault}`;
  const reference = apiReference(pod.spec);
  return reference === undefined ? undefined : `${who} can not create pods that reference ${reference}`;
}

function mirrorOwnerFault(pod: Pod, node: string, reader: ObjectReader): string | undefined {
  const owners = pod.metadata?.ownerReferences ?? [];
  const [owner] = owners;
  if (owners.length !== 1 || owner === undefined)
    return 'can only create pods with a single owner reference set to itself';
  if (owner.apiVersion !== 'v1' || owner.kind !== 'Node' || owner.name !== node) {
    return 'can only create pods with an owner reference set to itself';
  }
  if (owner.controller !== true) return 'can only create pods with a controller owner reference set to itself';
  if (owner.blockOwnerDeletion === true) return 'must not set blockOwnerDeletion on an owner reference';
  const uid = reader.get(nodes, { name: node })?.metadata?.uid;
  return owner.uid === uid ? undefined : `UID mismatch: expected ${owner.uid} got ${uid ?? 'no such node'}`;
}

/** Of a claim a node tells how big its volume is and how its growth goes. */
function claimFault({ operation, subresource, object, oldObject }: AdmissionRequest, node: string): string | undefined {
  if (subresource !== 'status') return 'may only update PVC status';
  if (operation !== 'UPDATE') return `unexpected operation "${operation}"`;
  if (same(withoutGrowth(object), withoutGrowth(oldObject))) return undefined;
  return `node "${node}" is not allowed to update fields other than status.quantity and status.conditions`;
}

function withoutGrowth(claim: KubeObject | undefined): object {
  const { metadata, kind: _k, apiVersion: _a, status = {}, ...rest } = (claim ?? {}) as PersistentVolumeClaim;
  const { resourceVersion: _r, managedFields: _m, ...kept } = metadata ?? {};
  const { capacity: _c, conditions: _o, ...others } = status;
  const { allocatedResources: _l, allocatedResourceStatuses: _s, ...fixed } = others;
  return { ...rest, metadata: kept, status: fixed };
}

/** Reads are the authorizer's matter, and so are changes of what is there: it knows whose that is. */
function sliceFault({ operation, object, oldObject }: AdmissionRequest, node: string): string | undefined {
  const { spec } = (object ?? oldObject ?? {}) as ResourceSlice;
  if (spec?.nodeName === node) return undefined;
  const verb = operation === 'DELETE' ? 'delete' : operation === 'CREATE' ? 'create' : 'access';
  return `can only ${verb} ResourceSlice with the same NodeName as the requesting node`;
}

function signingRequestFault(request: AdmissionRequest): string | undefined {
  if (request.operation !== 'CREATE') return undefined;
  const { spec } = request.object as CertificateSigningRequest;
  if (!KUBELET_SIGNERS.has(spec?.signerName)) return undefined;
  const commonName = csrOf(spec.request)?.commonName;
  if (commonName === undefined) return 'unable to parse csr';
  return commonName === request.user.name ? undefined : `can only create a node CSR with CN=${request.user.name}`;
}

function csrOf(base64: string): ParsedCsr | undefined {
  try {
    return parseCsr(Buffer.from(base64, 'base64').toString('utf8'));
  } catch (err) {
    if (err instanceof PkiError) return undefined;
    throw err;
  }
}

/** An absent list and an empty one are the same. */
function same(a: unknown, b: unknown): boolean {
  const absent = (v: unknown) =>
    v === undefined || v === null || (typeof v === 'object' && Object.keys(v).length === 0);
  return (absent(a) && absent(b)) || isDeepStrictEqual(a, b);
}
