// What a node may ask for: itself, the pods bound to it and what they name. After plugin/pkg/auth/authorizer/node.
import { resourceSlices } from '../../api/resource-claims.ts';
import { pods } from '../../api/resources.ts';
import type { Logger } from '../../core/log.ts';
import type { ObjectReader } from '../registry/reader.ts';
import type { UserInfo } from '../request.ts';
import type { AuthorizationAttributes, Authorizer, Decision } from './authorizer.ts';
import { isAttachedTo, isReferenced, isVolumeInUse } from './node-references.ts';
import { objectName, selectedValue } from './selected-name.ts';

const USER_PREFIX = 'system:node:';
const NO_OPINION: Decision = { decision: 'no-opinion', reason: '' };
const READ = ['get', 'list', 'watch'];

/** The node's name when the user is one: both the name and the group must say so. */
export function nodeNameOf(user: UserInfo): string | undefined {
  if (!user.groups.includes('system:nodes') || !user.name.startsWith(USER_PREFIX)) return undefined;
  return user.name.slice(USER_PREFIX.length) || undefined;
}

export class NodeAuthorizer implements Authorizer {
  readonly #reader: ObjectReader;

  constructor(reader: ObjectReader) {
    this.#reader = reader;
  }

  /** Allows or has no opinion: roles may give a node more. */
  authorize(attributes: AuthorizationAttributes): Decision {
    const node = nodeNameOf(attributes.user);
    if (node === undefined || !attributes.isResource) return NO_OPINION;
    const fault = nodeFault(this.#reader, node, attributes);
    return fault === undefined ? { decision: 'allow', reason: '' } : { decision: 'no-opinion', reason: fault };
  }
}

/** Logs what nodes are refused by all of `inner`: with our own agent each would be a defect of the agent. */
export class NodeDenialLog implements Authorizer {
  readonly #inner: Authorizer;
  readonly #log: Logger;

  constructor(inner: Authorizer, log: Logger) {
    this.#inner = inner;
    this.#log = log.child({ component: 'node-authorizer' });
  }

  async authorize(attributes: AuthorizationAttributes): Promise<Decision> {
    const decision = await this.#inner.authorize(attributes);
    const node = nodeNameOf(attributes.user);
    if (node !== undefined && decision.decision !== 'allow') {
      const { verb, resource, subresource, namespace, name, path } = attributes;
      const request = { verb, resource, subresource, namespace, name, path };
      this.#log.warn({ node, ...request, reason: decision.reason }, 'node asked for what it may not have');
    }
    return decision;
  }
}

type Check = (reader: ObjectReader, node: string, a: AuthorizationAttributes) => string | undefined;

const allowVerbs =
  (...verbs: string[]): Check =>
  (_reader, _node, { verb }) =>
    verbs.includes(verb) ? undefined : `nodes can only ${verbs.join(', ')} this`;

const ownByName =
  (verbs: readonly string[]): Check =>
  (_reader, node, a) => {
    if (!verbs.includes(a.verb)) return `nodes can only ${verbs.join(', ')} this`;
    // The name of something to be created is not in the URL: admission looks at it.
    if (a.verb === 'create') return undefined;
    return objectName(a) === node ? undefined : "can only access an object with the node's own name";
  };

const referenced =
  (resource: 'secrets' | 'configmaps'): Check =>
  (reader, node, a) => {
    if (!READ.includes(a.verb)) return `can only read ${resource}`;
    const name = objectName(a);
    if (name === undefined || a.namespace === '') return `can only read single ${resource}, by name`;
    return isReferenced(reader, node, resource, a.namespace, name) ? undefined : noRelation(node);
  };

const getReferenced =
  (resource: 'persistentvolumeclaims' | 'serviceaccounts' | 'resourceclaims'): Check =>
  (reader, node, a) => {
    if (a.verb !== 'get') return `can only get individual ${resource}`;
    return isReferenced(reader, node, resource, a.namespace, a.name) ? undefined : noRelation(node);
  };

const noRelation = (node: string): string => `no relationship found between node '${node}' and this object`;

const CHECKS: Readonly<Record<string, Check>> = {
  nodes: (_reader, node, a) => {
    if (a.verb === 'create' || a.verb === 'update' || a.verb === 'patch')
      return a.verb === 'create' ? undefined : mustBeOwn(node, a.name);
    if (!READ.includes(a.verb)) return `nodes cannot ${a.verb} nodes`;
    return mustBeOwn(node, objectName(a));
  },
  'nodes/status': (_reader, node, a) =>
    ['update', 'patch'].includes(a.verb) ? mustBeOwn(node, a.name) : 'can only update status',
  pods: checkPods,
  'pods/status': allowVerbs('update', 'patch'), // admission looks at whose
  'pods/eviction': allowVerbs('create'),
  secrets: referenced('secrets'),
  configmaps: referenced('configmaps'),
  persistentvolumeclaims: getReferenced('persistentvolumeclaims'),
  'persistentvolumeclaims/status': (reader, node, a) => {
    if (a.verb !== 'update' && a.verb !== 'patch') return 'can only update/patch this type';
    return isReferenced(reader, node, 'persistentvolumeclaims', a.namespace, a.name) ? undefined : noRelation(node);
  },
  persistentvolumes: (reader, node, a) => {
    if (a.verb !== 'get') return 'can only get individual persistentvolumes';
    return isVolumeInUse(reader, node, a.name) ? undefined : noRelation(node);
  },
  'volumeattachments.storage.k8s.io': (reader, node, a) => {
    if (a.verb !== 'get') return 'can only get individual volumeattachments';
    return isAttachedTo(reader, node, a.name) ? undefined : noRelation(node);
  },
  serviceaccounts: getReferenced('serviceaccounts'),
  'serviceaccounts/token': (reader, node, a) => {
    if (a.verb !== 'create') return 'can only create tokens';
    return isReferenced(reader, node, 'serviceaccounts', a.namespace, a.name) ? undefined : noRelation(node);
  },
  'leases.coordination.k8s.io': (reader, node, a) => {
    if (a.namespace !== 'kube-node-lease') return 'can only access leases in the "kube-node-lease" namespace';
    return ownByName(['get', 'create', 'update', 'patch', 'delete'])(reader, node, a);
  },
  'csinodes.storage.k8s.io': ownByName(['get', 'create', 'update', 'patch', 'delete']),
  'resourceslices.resource.k8s.io': (reader, node, a) => {
    if (a.verb === 'create') return undefined; // admission looks at whose
    if (['get', 'update', 'patch', 'delete'].includes(a.verb)) {
      const slice = reader.get(resourceSlices, { name: a.name });
      return slice?.spec?.nodeName === node ? undefined : noRelation(node);
    }
    if (!['list', 'watch', 'deletecollection'].includes(a.verb)) return `nodes cannot ${a.verb} resourceslices`;
    if (selectedValue(a.fieldSelector, 'spec.nodeName') === node) return undefined;
    return 'can only list, watch and delete resourceslices with field selector spec.nodeName=<own name>';
  },
  'resourceclaims.resource.k8s.io': getReferenced('resourceclaims'),
  services: allowVerbs(...READ),
  endpoints: allowVerbs('get'),
  'csidrivers.storage.k8s.io': allowVerbs(...READ),
  'runtimeclasses.node.k8s.io': allowVerbs(...READ),
  'clustertrustbundles.certificates.k8s.io': allowVerbs(...READ),
  'certificatesigningrequests.certificates.k8s.io': allowVerbs('create', ...READ),
  events: allowVerbs('create', 'update', 'patch'),
  'events.events.k8s.io': allowVerbs('create', 'update', 'patch'),
  'tokenreviews.authentication.k8s.io': allowVerbs('create'),
  'subjectaccessreviews.authorization.k8s.io': allowVerbs('create'),
  'localsubjectaccessreviews.authorization.k8s.io': allowVerbs('create'),
};

/** Pure but for `reader`: why a node may not make this request; undefined when it may. */
export function nodeFault(reader: ObjectReader, node: string, a: AuthorizationAttributes): string | undefined {
  const resource = a.group === '' ? a.resource : `${a.resource}.${a.group}`;
  const key = a.subresource === '' ? resource : `${resource}/${a.subresource}`;
  const check = Object.hasOwn(CHECKS, key) ? CHECKS[key] : undefined;
  return check === undefined ? `nodes have no access to ${key}` : check(reader, node, a);
}

function checkPods(reader: ObjectReader, node: string, a: AuthorizationAttributes): string | undefined {
  if (a.verb === 'create' || a.verb === 'delete') return undefined; // admission looks at whose
  if (a.verb === 'get') return reader.get(pods, a)?.spec?.nodeName === node ? undefined : noRelation(node);
  if (a.verb !== 'list' && a.verb !== 'watch') return `nodes cannot ${a.verb} pods`;
  if (selectedValue(a.fieldSelector, 'spec.nodeName') === node) return undefined;
  const name = objectName(a);
  if (name !== undefined && reader.get(pods, { ...a, name })?.spec?.nodeName === node) return undefined;
  return 'can only list and watch pods with field selector spec.nodeName=<own name>';
}

const mustBeOwn = (node: string, name: string | undefined): string | undefined =>
  name === node ? undefined : `node '${node}' cannot access the Node of another`;
