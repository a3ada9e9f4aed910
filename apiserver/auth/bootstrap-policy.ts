// The roles and bindings that every cluster starts with, as far as this server's clients need them. After plugin/pkg/
// auth/authorizer/rbac/bootstrappolicy. Created when missing; what an administrator has changed stays.
import type { ClusterRole, ClusterRoleBinding, PolicyRule } from './rbac.ts';

const READ = ['get', 'list', 'watch'];
const WRITE = ['create', 'delete', 'deletecollection', 'patch', 'update'];
const ALL = ['*'];

const rule = (apiGroups: string[], resources: string[], verbs: string[]): PolicyRule => ({
  apiGroups,
  resources,
  verbs,
});

const CORE_READ = [
  'bindings',
  'configmaps',
  'endpoints',
  'events',
  'limitranges',
  'namespaces',
  'namespaces/status',
  'persistentvolumeclaims',
  'persistentvolumeclaims/status',
  'pods',
  'pods/log',
  'pods/status',
  'replicationcontrollers',
  'replicationcontrollers/scale',
  'replicationcontrollers/status',
  'resourcequotas',
  'resourcequotas/status',
  'serviceaccounts',
  'services',
  'services/status',
];
const CORE_WRITE = [
  'configmaps',
  'events',
  'persistentvolumeclaims',
  'pods',
  'pods/attach',
  'pods/eviction',
  'pods/exec',
  'pods/portforward',
  'pods/proxy',
  'replicationcontrollers',
  'replicationcontrollers/scale',
  'secrets',
  'serviceaccounts',
  'services',
  'services/proxy',
];
const APPS = [
  'daemonsets',
  'deployments',
  'deployments/rollback',
  'deployments/scale',
  'replicasets',
  'replicasets/scale',
  'statefulsets',
  'statefulsets/scale',
];
const OTHERS: readonly (readonly [string, string[]])[] = [
  ['apps', APPS],
  ['autoscaling', ['horizontalpodautoscalers']],
  ['batch', ['cronjobs', 'jobs']],
  ['networking.k8s.io', ['ingresses', 'networkpolicies']],
  ['policy', ['poddisruptionbudgets']],
];

const VIEW: PolicyRule[] = [
  rule([''], CORE_READ, READ),
  rule(
    ['apps'],
    [...APPS, 'controllerrevisions', 'daemonsets/status', 'deployments/status', 'replicasets/status'],
    READ,
  ),
  ...OTHERS.slice(1).map(([group, resources]) =>
    rule([group], [...resources, ...resources.map((r) => `${r}/status`)], READ),
  ),
  rule(['discovery.k8s.io'], ['endpointslices'], READ),
];
const EDIT: PolicyRule[] = [
  ...VIEW,
  rule([''], ['secrets', 'pods/attach', 'pods/exec', 'pods/portforward', 'pods/proxy', 'services/proxy'], READ),
  rule([''], CORE_WRITE, WRITE),
  rule([''], ['serviceaccounts'], ['impersonate']),
  rule([''], ['serviceaccounts/token'], ['create']),
  ...OTHERS.map(([group, resources]) => rule([group], resources, WRITE)),
  rule(['coordination.k8s.io'], ['leases'], [...READ, ...WRITE]),
];
const ADMIN: PolicyRule[] = [
  ...EDIT,
  rule(['authorization.k8s.io'], ['localsubjectaccessreviews'], ['create']),
  rule(['rbac.authorization.k8s.io'], ['rolebindings', 'roles'], [...READ, ...WRITE]),
];

const DISCOVERY = [
  '/api',
  '/api/*',
  '/apis',
  '/apis/*',
  '/healthz',
  '/livez',
  '/openapi',
  '/openapi/*',
  '/readyz',
  '/version',
  '/version/',
];
const PUBLIC = ['/healthz', '/livez', '/readyz', '/version', '/version/'];
const EVENTS = rule(['', 'events.k8s.io'], ['events'], ['create', 'patch', 'update']);
const SELF_REVIEWS = ['selfsubjectaccessreviews', 'selfsubjectrulesreviews'];
const CSR = 'certificates.k8s.io';

const ROLES: Readonly<Record<string, readonly PolicyRule[]>> = {
  'cluster-admin': [rule(ALL, ALL, ALL), { nonResourceURLs: ALL, verbs: ALL }],
  'system:discovery': [{ nonResourceURLs: DISCOVERY, verbs: ['get'] }],
  'system:basic-user': [
    rule(['authorization.k8s.io'], SELF_REVIEWS, ['create']),
    rule(['authentication.k8s.io'], ['selfsubjectreviews'], ['create']),
  ],
  'system:public-info-viewer': [{ nonResourceURLs: PUBLIC, verbs: ['get'] }],
  'system:service-account-issuer-discovery': [
    { nonResourceURLs: ['/.well-known/openid-configuration', '/openid/v1/jwks'], verbs: ['get'] },
  ],
  view: VIEW,
  edit: EDIT,
  admin: ADMIN,
  'system:node-proxier': [
    rule([''], ['endpoints', 'services', 'nodes'], READ),
    rule(['discovery.k8s.io'], ['endpointslices'], READ),
    rule(['networking.k8s.io'], ['servicecidrs'], READ),
    EVENTS,
  ],
  'system:node-bootstrapper': [rule([CSR], ['certificatesigningrequests'], ['create', ...READ])],
  'system:certificates.k8s.io:certificatesigningrequests:nodeclient': [
    rule([CSR], ['certificatesigningrequests/nodeclient'], ['create']),
  ],
  'system:certificates.k8s.io:certificatesigningrequests:selfnodeclient': [
    rule([CSR], ['certificatesigningrequests/selfnodeclient'], ['create']),
  ],
  'system:kubelet-api-admin': [
    rule([''], ['nodes'], READ),
    rule([''], ['nodes'], ['proxy']),
    rule(
      [''],
      [
        'nodes/log',
        'nodes/metrics',
        'nodes/proxy',
        'nodes/stats',
        'nodes/checkpoint',
        'nodes/configz',
        'nodes/healthz',
        'nodes/pods',
      ],
      ALL,
    ),
  ],
};

const group = (name: string) => ({ kind: 'Group', apiGroup: 'rbac.authorization.k8s.io', name });

const BINDINGS: readonly {
  readonly role: string;
  readonly name?: string;
  readonly subjects: ClusterRoleBinding['subjects'];
}[] = [
  { role: 'cluster-admin', subjects: [group('system:masters')] },
  { role: 'system:discovery', subjects: [group('system:authenticated')] },
  { role: 'system:basic-user', subjects: [group('system:authenticated')] },
  { role: 'system:public-info-viewer', subjects: [group('system:authenticated'), group('system:unauthenticated')] },
  { role: 'system:service-account-issuer-discovery', subjects: [group('system:serviceaccounts')] },
  {
    role: 'system:node-proxier',
    subjects: [{ kind: 'User', apiGroup: 'rbac.authorization.k8s.io', name: 'system:kube-proxy' }],
  },
  // What kubeadm adds, so that nodes can join with a bootstrap token and renew their certificates.
  { role: 'system:node-bootstrapper', name: 'kubeadm:kubelet-bootstrap', subjects: [group('system:bootstrappers')] },
  {
    role: 'system:certificates.k8s.io:certificatesigningrequests:nodeclient',
    name: 'kubeadm:node-autoapprove-bootstrap',
    subjects: [group('system:bootstrappers')],
  },
  {
    role: 'system:certificates.k8s.io:certificatesigningrequests:selfnodeclient',
    name: 'kubeadm:node-autoapprove-certificate-rotation',
    subjects: [group('system:nodes')],
  },
];

const metadata = (name: string) => ({
  name,
  labels: { 'kubernetes.io/bootstrapping': 'rbac-defaults' },
  annotations: { 'rbac.authorization.kubernetes.io/autoupdate': 'true' },
});

export function bootstrapClusterRoles(): ClusterRole[] {
  return Object.entries(ROLES).map(([name, rules]) => ({
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRole',
    metadata: metadata(name),
    rules: [...rules],
  }));
}

export function bootstrapClusterRoleBindings(): ClusterRoleBinding[] {
  return BINDINGS.map(({ role, name, subjects }) => bindingTo(role, name ?? role, subjects));
}

function bindingTo(role: string, name: string, subjects: ClusterRoleBinding['subjects']): ClusterRoleBinding {
  return {
    apiVersion: 'rbac.authorization.k8s.io/v1',
    kind: 'ClusterRoleBinding',
    metadata: metadata(name),
    roleRef: { apiGroup: 'rbac.authorization.k8s.io', kind: 'ClusterRole', name: role },
    ...(subjects === undefined ? {} : { subjects }),
  };
}
