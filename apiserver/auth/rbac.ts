// Role-based access control over the stored roles and bindings. After plugin/pkg/auth/authorizer/rbac.
import type {
  ClusterRole,
  ClusterRoleBinding,
  PolicyRule,
  Role,
  RoleBinding,
  RoleRef,
  Subject,
} from 'kubernetes-types/rbac/v1.js';
import { matchesLabels, selectorOf } from '../../api/labels.ts';
import type { ResourceType } from '../../api/resources.ts';
import type { ObjectReader } from '../registry/reader.ts';
import type { UserInfo } from '../request.ts';
import type { AuthorizationAttributes, Authorizer, Decision } from './authorizer.ts';
import { objectName } from './selected-name.ts';

export type { ClusterRole, ClusterRoleBinding, PolicyRule, Role, RoleBinding };

const GROUP = 'rbac.authorization.k8s.io';
const rbac = <T extends object>(plural: string, kind: string, namespaced: boolean): ResourceType<T> =>
  Object.freeze({ group: GROUP, version: 'v1', plural, kind, namespaced });

export const roles = rbac<Role>('roles', 'Role', true);
export const clusterRoles = rbac<ClusterRole>('clusterroles', 'ClusterRole', false);
const roleBindings = rbac<RoleBinding>('rolebindings', 'RoleBinding', true);
export const clusterRoleBindings = rbac<ClusterRoleBinding>('clusterrolebindings', 'ClusterRoleBinding', false);

export class RbacAuthorizer implements Authorizer {
  readonly #reader: ObjectReader;

  constructor(reader: ObjectReader) {
    this.#reader = reader;
  }

  authorize(attributes: AuthorizationAttributes): Decision {
    for (const { rules, reason } of this.#grants(attributes.user, attributes.namespace)) {
      if (rules.some((rule) => ruleAllows(rule, attributes))) return { decision: 'allow', reason };
    }
    return { decision: 'no-opinion', reason: '' };
  }

  /** All rules that hold for `user` in a namespace ('' for cluster scope only); for SelfSubjectRulesReview. */
  rulesFor(user: UserInfo, namespace: string): PolicyRule[] {
    return [...this.#grants(user, namespace)].flatMap((grant) => grant.rules);
  }

  *#grants(
    user: UserInfo,
    namespace: string,
  ): Generator<{ readonly rules: readonly PolicyRule[]; readonly reason: string }> {
    for (const binding of this.#reader.list(clusterRoleBindings)) {
      const subject = (binding.subjects ?? []).find((s) => subjectIs(s, user, ''));
      if (subject === undefined) continue;
      const rules = this.#rulesOf(binding.roleRef, '');
      yield { rules, reason: reasonOf('ClusterRoleBinding', binding.metadata?.name ?? '', binding.roleRef, subject) };
    }
    if (namespace === '') return;
    for (const binding of this.#reader.list(roleBindings, namespace)) {
      const subject = (binding.subjects ?? []).find((s) => subjectIs(s, user, namespace));
      if (subject === undefined) continue;
      const name = `${binding.metadata?.name ?? ''}/${namespace}`;
      yield {
        rules: this.#rulesOf(binding.roleRef, namespace),
        reason: reasonOf('RoleBinding', name, binding.roleRef, subject),
      };
    }
  }

  #rulesOf(ref: RoleRef, namespace: string): readonly PolicyRule[] {
    if (ref.kind === 'Role') return this.#reader.get(roles, { namespace, name: ref.name })?.rules ?? [];
    const role = this.#reader.get(clusterRoles, { name: ref.name });
    const selectors = (role?.aggregationRule?.clusterRoleSelectors ?? []).map((s) => selectorOf(s));
    if (selectors.length === 0) return role?.rules ?? [];
    // Upstream a controller writes the gathered rules into the role; gathering them here needs none.
    return this.#reader
      .list(clusterRoles)
      .filter((r) => selectors.some((s) => matchesLabels(s, r.metadata?.labels)))
      .flatMap((r) => r.rules ?? []);
  }
}

function reasonOf(kind: string, name: string, ref: RoleRef, subject: Subject): string {
  return `RBAC: allowed by ${kind} "${name}" of ${ref.kind} "${ref.name}" to ${subject.kind} "${subject.name}"`;
}

/** Pure: whether a binding's subject means this user. `namespace` is the binding's, for accounts that name none. */
export function subjectIs(subject: Subject, user: UserInfo, namespace: string): boolean {
  switch (subject.kind) {
    case 'User':
      return subject.name === user.name;
    case 'Group':
      return user.groups.includes(subject.name);
    case 'ServiceAccount':
      return `system:serviceaccount:${subject.namespace ?? namespace}:${subject.name}` === user.name;
    default:
      return false;
  }
}

/** Pure: whether one rule covers a request. */
export function ruleAllows(rule: PolicyRule, a: AuthorizationAttributes): boolean {
  if (!has(rule.verbs, a.verb)) return false;
  if (!a.isResource) return (rule.nonResourceURLs ?? []).some((url) => urlMatches(url, a.path));
  return (
    has(rule.apiGroups, a.group) &&
    (rule.resources ?? []).some((r) => resourceMatches(r, a.resource, a.subresource)) &&
    (!rule.resourceNames?.length || rule.resourceNames.includes(objectName(a) ?? ''))
  );
}

const has = (list: readonly string[] | undefined, value: string): boolean =>
  list !== undefined && (list.includes('*') || list.includes(value));

function resourceMatches(rule: string, resource: string, subresource: string): boolean {
  if (rule === '*') return true;
  if (subresource === '') return rule === resource;
  return rule === `${resource}/${subresource}` || rule === `*/${subresource}`;
}

const urlMatches = (rule: string, path: string): boolean =>
  rule === '*' || rule === path || (rule.endsWith('*') && path.startsWith(rule.slice(0, -1)));
