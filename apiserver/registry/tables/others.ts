// Rows of the networking, storage, rbac, scheduling and certificate kinds. Source:
// pkg/printers/internalversion/printers.go.
import type { CertificateSigningRequest } from 'kubernetes-types/certificates/v1.js';
import type { EndpointSlice } from 'kubernetes-types/discovery/v1.js';
import type { Ingress, IngressClass, NetworkPolicy } from 'kubernetes-types/networking/v1.js';
import type { RoleBinding } from 'kubernetes-types/rbac/v1.js';
import type { PriorityClass } from 'kubernetes-types/scheduling/v1.js';
import type { CSIDriver, CSINode, StorageClass, VolumeAttachment } from 'kubernetes-types/storage/v1.js';
import type { Lease, RuntimeClass } from '../../../api/kinds.ts';
import type { AnyObject } from '../definition.ts';
import { age, firstThree, humanDuration, nameOf, selectorText, table } from './format.ts';

export const endpointSlice = table(['Name', 'AddressType', 'Ports', 'Endpoints', 'Age'], (o: EndpointSlice, now) => [
  nameOf(o),
  o.addressType,
  firstThree(
    (o.ports ?? []).map((p) => (p.port === undefined ? p.name || '*' : String(p.port))),
    '<unset>',
  ),
  firstThree(
    o.endpoints.flatMap((e) => e.addresses),
    '<unset>',
  ),
  age(o, now),
]);

export const lease = table(['Name', 'Holder', 'Age'], (o: Lease, now) => [
  nameOf(o),
  o.spec?.holderIdentity,
  age(o, now),
]);

export const signingRequest = table(
  ['Name', 'Age', 'SignerName', 'Requestor', 'RequestedDuration', 'Condition'],
  (o: CertificateSigningRequest, now) => [
    nameOf(o),
    age(o, now),
    o.spec.signerName || '<none>',
    o.spec.username,
    o.spec.expirationSeconds === undefined ? '<none>' : humanDuration(o.spec.expirationSeconds),
    requestCondition(o),
  ],
);

function requestCondition(o: CertificateSigningRequest): string {
  const has = (type: string) => o.status?.conditions?.some((c) => c.type === type) === true;
  const words = [has('Denied') ? 'Denied' : has('Approved') ? 'Approved' : 'Pending'];
  if (has('Failed')) words.push('Failed');
  if (o.status?.certificate) words.push('Issued');
  return words.join(',');
}

export const storageClass = table(
  ['Name', 'Provisioner', 'ReclaimPolicy', 'VolumeBindingMode', 'AllowVolumeExpansion', 'Age'],
  (o: StorageClass, now) => {
    const isDefault = o.metadata?.annotations?.['storageclass.kubernetes.io/is-default-class'] === 'true';
    return [
      `${nameOf(o)}${isDefault ? ' (default)' : ''}`,
      o.provisioner,
      o.reclaimPolicy ?? 'Delete',
      o.volumeBindingMode ?? 'Immediate',
      o.allowVolumeExpansion ?? false,
      age(o, now),
    ];
  },
);

export const csiNode = table(['Name', 'Drivers#', 'Age'], (o: CSINode, now) => [
  nameOf(o),
  o.spec.drivers.length,
  age(o, now),
]);

export const csiDriver = table(
  ['Name', 'AttachRequired?', 'PodInfoOnMount?', 'StorageCapacity?', 'Age'],
  (o: CSIDriver, now) => [
    nameOf(o),
    o.spec.attachRequired ?? true,
    o.spec.podInfoOnMount ?? false,
    o.spec.storageCapacity ?? false,
    age(o, now),
  ],
);

export const volumeAttachment = table(
  ['Name', 'Attacher', 'PV', 'Node', 'Attached?', 'Age'],
  (o: VolumeAttachment, now) => [
    nameOf(o),
    o.spec.attacher,
    o.spec.source.persistentVolumeName,
    o.spec.nodeName,
    o.status?.attached ?? false,
    age(o, now),
  ],
);

export const runtimeClass = table(['Name', 'Handler', 'Age'], (o: RuntimeClass, now) => [
  nameOf(o),
  o.handler,
  age(o, now),
]);

export const priorityClass = table(
  ['Name', 'Value#', 'Global-Default?', 'Age', 'PreemptionPolicy'],
  (o: PriorityClass, now) => [nameOf(o), o.value, o.globalDefault ?? false, age(o, now), o.preemptionPolicy],
);

export const roleBinding = table(
  ['Name', 'Role', 'Age', 'Users*', 'Groups*', 'ServiceAccounts*'],
  (o: RoleBinding, now) => {
    const subjects = (kind: string) =>
      (o.subjects ?? [])
        .filter((s) => s.kind === kind)
        .map((s) => (kind === 'ServiceAccount' ? `${s.namespace ?? ''}/${s.name}` : s.name))
        .join(', ');
    return [
      nameOf(o),
      `${o.roleRef.kind}/${o.roleRef.name}`,
      age(o, now),
      subjects('User'),
      subjects('Group'),
      subjects('ServiceAccount'),
    ];
  },
);

export const ingress = table(['Name', 'Class', 'Hosts', 'Address', 'Ports', 'Age'], (o: Ingress, now) => {
  const hosts = (o.spec?.rules ?? []).map((rule) => rule.host ?? '').filter((host) => host !== '');
  const addresses = (o.status?.loadBalancer?.ingress ?? []).map((i) => i.ip || i.hostname || '');
  return [
    nameOf(o),
    o.spec?.ingressClassName ?? '<none>',
    firstThree(hosts, '*'),
    addresses.join(','),
    (o.spec?.tls?.length ?? 0) > 0 ? '80, 443' : '80',
    age(o, now),
  ];
});

export const ingressClass = table(['Name', 'Controller', 'Parameters', 'Age'], (o: IngressClass, now) => {
  const p = o.spec?.parameters;
  const parameters = p === undefined ? '<none>' : `${p.kind}${p.apiGroup ? `.${p.apiGroup}` : ''}/${p.name}`;
  return [nameOf(o), o.spec?.controller, parameters, age(o, now)];
});

export const networkPolicy = table(['Name', 'Pod-Selector', 'Age'], (o: NetworkPolicy, now) => [
  nameOf(o),
  selectorText(o.spec?.podSelector),
  age(o, now),
]);

export const serviceCidr = table(['Name', 'CIDRs', 'Age'], (o: AnyObject, now) => [
  nameOf(o),
  (o.spec?.cidrs ?? []).join(','),
  age(o, now),
]);

export const ipAddress = table(['Name', 'ParentRef'], (o: AnyObject) => {
  const ref = o.spec?.parentRef ?? {};
  const resource = ref.group ? `${ref.resource}.${ref.group}` : ref.resource;
  return [nameOf(o), [resource, ref.namespace, ref.name].filter(Boolean).join('/')];
});
