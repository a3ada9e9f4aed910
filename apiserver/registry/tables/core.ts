// Rows of the core kinds. Source: pkg/printers/internalversion/printers.go.
import type {
  ConfigMap,
  Endpoints,
  Namespace,
  Node,
  PersistentVolume,
  PersistentVolumeClaim,
  PodTemplate,
  ReplicationController,
  ResourceQuota,
  Secret,
  Service,
  ServiceAccount,
} from 'kubernetes-types/core/v1.js';
import { accessModes, age, containersAndImages, firstThree, labelsText, nameOf, table } from './format.ts';

export const configMap = table(['Name', 'Data', 'Age'], (o: ConfigMap, now) => [
  nameOf(o),
  Object.keys(o.data ?? {}).length + Object.keys(o.binaryData ?? {}).length,
  age(o, now),
]);

export const secret = table(['Name', 'Type', 'Data', 'Age'], (o: Secret, now) => [
  nameOf(o),
  o.type,
  Object.keys(o.data ?? {}).length,
  age(o, now),
]);

export const serviceAccount = table(['Name', 'Age'], (o: ServiceAccount, now) => [nameOf(o), age(o, now)]);

export const namespace = table(['Name', 'Status', 'Age'], (o: Namespace, now) => [
  nameOf(o),
  o.status?.phase,
  age(o, now),
]);

export const endpoints = table(['Name', 'Endpoints', 'Age'], (o: Endpoints, now) => {
  const all = (o.subsets ?? []).flatMap((subset) => {
    const addresses = subset.addresses ?? [];
    if (subset.ports === undefined) return addresses.map((a) => a.ip);
    return subset.ports.flatMap((port) => addresses.map((a) => `${a.ip}:${port.port}`));
  });
  return [nameOf(o), firstThree(all, '<none>'), age(o, now)];
});

export const podTemplate = table(['Name', 'Containers', 'Images', 'Pod Labels'], (o: PodTemplate) => [
  nameOf(o),
  ...containersAndImages(o as never),
  labelsText(o.template?.metadata?.labels),
]);

export const replicationController = table(
  ['Name', 'Desired#', 'Current#', 'Ready#', 'Age', 'Containers*', 'Images*', 'Selector*'],
  (o: ReplicationController, now) => [
    nameOf(o),
    o.spec?.replicas ?? 0,
    o.status?.replicas ?? 0,
    o.status?.readyReplicas ?? 0,
    age(o, now),
    ...containersAndImages(o.spec as never),
    labelsText(o.spec?.selector),
  ],
);

export const resourceQuota = table(['Name', 'Request', 'Limit', 'Age'], (o: ResourceQuota, now) => {
  const entries = Object.keys(o.status?.hard ?? {})
    .sort()
    .map((r) => ({ r, text: `${r}: ${o.status?.used?.[r] ?? '0'}/${o.status?.hard?.[r] ?? '0'}` }));
  const join = (limits: boolean) =>
    entries
      .filter(({ r }) => r.startsWith('limits') === limits)
      .map((e) => e.text)
      .join(', ');
  return [nameOf(o), join(false), join(true), age(o, now)];
});

export const node = table(
  [
    'Name',
    'Status',
    'Roles',
    'Age',
    'Version',
    'Internal-IP*',
    'External-IP*',
    'OS-Image*',
    'Kernel-Version*',
    'Container-Runtime*',
  ],
  (o: Node, now) => {
    const info = o.status?.nodeInfo;
    const kernel = info?.kernelVersion
      ? `${info.kernelVersion}${info.architecture ? ` (${info.architecture})` : ''}`
      : '';
    return [
      nameOf(o),
      nodeStatus(o),
      nodeRoles(o),
      age(o, now),
      info?.kubeletVersion,
      nodeAddress(o, 'InternalIP'),
      nodeAddress(o, 'ExternalIP'),
      info?.osImage || '<unknown>',
      kernel || '<unknown>',
      info?.containerRuntimeVersion || '<unknown>',
    ];
  },
);

function nodeStatus(o: Node): string {
  const ready = o.status?.conditions?.find((c) => c.type === 'Ready');
  const status = ready === undefined ? 'Unknown' : ready.status === 'True' ? 'Ready' : 'NotReady';
  return o.spec?.unschedulable ? `${status},SchedulingDisabled` : status;
}

const ROLE_PREFIX = 'node-role.kubernetes.io/';

function nodeRoles(o: Node): string {
  const roles = new Set<string>();
  for (const [key, value] of Object.entries(o.metadata?.labels ?? {})) {
    if (key.startsWith(ROLE_PREFIX) && key.length > ROLE_PREFIX.length) roles.add(key.slice(ROLE_PREFIX.length));
    if (key === 'kubernetes.io/role' && value !== '') roles.add(value);
  }
  return roles.size === 0 ? '<none>' : [...roles].sort().join(',');
}

function nodeAddress(o: Node, type: string): string {
  return o.status?.addresses?.find((a) => a.type === type)?.address ?? '<none>';
}

export const service = table(
  ['Name', 'Type', 'Cluster-IP', 'External-IP', 'Port(s)', 'Age', 'Selector*'],
  (o: Service, now) => [
    nameOf(o),
    o.spec?.type,
    o.spec?.clusterIPs?.[0] || o.spec?.clusterIP || '<none>',
    externalIp(o),
    servicePorts(o),
    age(o, now),
    labelsText(o.spec?.selector),
  ],
);

function externalIp(o: Service): string {
  const own = o.spec?.externalIPs ?? [];
  if (o.spec?.type === 'ExternalName') return o.spec.externalName ?? '<none>';
  if (o.spec?.type !== 'LoadBalancer') return own.length === 0 ? '<none>' : own.join(',');
  const ingress = (o.status?.loadBalancer?.ingress ?? []).map((i) => i.ip || i.hostname || '');
  const all = [...[...new Set(ingress)].sort(), ...own];
  return all.length === 0 ? '<pending>' : all.join(',');
}

function servicePorts(o: Service): string {
  const ports = (o.spec?.ports ?? []).map(
    (p) => `${p.port}${p.nodePort ? `:${p.nodePort}` : ''}/${p.protocol ?? 'TCP'}`,
  );
  return ports.length === 0 ? '<none>' : ports.join(',');
}

export const persistentVolume = table(
  [
    'Name',
    'Capacity',
    'Access Modes',
    'Reclaim Policy',
    'Status',
    'Claim',
    'StorageClass',
    'VolumeAttributesClass',
    'Reason',
    'Age',
    'VolumeMode*',
  ],
  (o: PersistentVolume, now) => {
    const claim = o.spec?.claimRef;
    return [
      nameOf(o),
      o.spec?.capacity?.storage ?? '',
      accessModes(o.spec?.accessModes),
      o.spec?.persistentVolumeReclaimPolicy,
      o.metadata?.deletionTimestamp === undefined ? o.status?.phase : 'Terminating',
      claim === undefined ? '' : `${claim.namespace}/${claim.name}`,
      o.spec?.storageClassName,
      o.spec?.volumeAttributesClassName ?? '<unset>',
      o.status?.reason,
      age(o, now),
      o.spec?.volumeMode ?? '<unset>',
    ];
  },
);

export const persistentVolumeClaim = table(
  [
    'Name',
    'Status',
    'Volume',
    'Capacity',
    'Access Modes',
    'StorageClass',
    'VolumeAttributesClass',
    'Age',
    'VolumeMode*',
  ],
  (o: PersistentVolumeClaim, now) => {
    const bound = !!o.spec?.volumeName;
    return [
      nameOf(o),
      o.metadata?.deletionTimestamp === undefined ? o.status?.phase : 'Terminating',
      o.spec?.volumeName,
      bound ? (o.status?.capacity?.storage ?? '') : '',
      bound ? accessModes(o.status?.accessModes) : '',
      o.spec?.storageClassName,
      o.spec?.volumeAttributesClassName ?? '<unset>',
      age(o, now),
      o.spec?.volumeMode ?? '<unset>',
    ];
  },
);
