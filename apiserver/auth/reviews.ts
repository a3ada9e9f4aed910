// Questions that are asked by creating an object of which nothing is stored: whose token is this, who am I, may they.
// After pkg/registry/authentication and pkg/registry/authorization.
import type { SelfSubjectReview, TokenReview, UserInfo as UserInfoObject } from 'kubernetes-types/authentication/v1.js';
import type {
  LocalSubjectAccessReview,
  NonResourceAttributes,
  ResourceAttributes,
  SelfSubjectAccessReview,
  SelfSubjectRulesReview,
  SubjectAccessReview,
  SubjectAccessReviewStatus,
} from 'kubernetes-types/authorization/v1.js';
import type { PolicyRule } from 'kubernetes-types/rbac/v1.js';
import { formatFieldSelector } from '../../api/field-selector.ts';
import type { KubeObject } from '../../api/meta.ts';
import { type FieldError, invalid, invalidObject, required } from '../registry/field-errors.ts';
import type { UserInfo } from '../request.ts';
import { badRequest } from '../status-error.ts';
import type { CallContext, VirtualResource } from '../subresource.ts';
import { withAuthenticatedGroup } from './authenticator.ts';
import type { AuthorizationAttributes, Authorizer } from './authorizer.ts';
import { authenticateToken, type TokenAuthenticator } from './bearer-tokens.ts';

/** Who can say which rules hold for a user; for `kubectl auth can-i --list`. */
export interface RuleSource {
  /** `namespace` '' means the cluster scope only. */
  rulesFor(user: UserInfo, namespace: string): readonly PolicyRule[];
}

/** Everything, for everybody. */
export const allRules: RuleSource = {
  rulesFor: () => [
    { verbs: ['*'], apiGroups: ['*'], resources: ['*'] },
    { verbs: ['*'], nonResourceURLs: ['*'] },
  ],
};

export interface ReviewDeps {
  readonly authorizer: Authorizer;
  readonly tokens: readonly TokenAuthenticator[];
  /** Of this API server. */
  readonly audiences: readonly string[];
  readonly rules: RuleSource;
}

/** What v1.34 added to ResourceAttributes; kubernetes-types does not know it yet. */
interface SelectorAttributes {
  readonly rawSelector?: string;
  readonly requirements?: readonly { readonly key: string; readonly operator: string; readonly values?: string[] }[];
}
type Attributes = ResourceAttributes & { readonly fieldSelector?: SelectorAttributes };

const AUTHENTICATION = { group: 'authentication.k8s.io', version: 'v1' };
const AUTHORIZATION = { group: 'authorization.k8s.io', version: 'v1' };

export function reviewResources(deps: ReviewDeps): VirtualResource[] {
  const { authorizer } = deps;
  return [
    virtual<TokenReview>(AUTHENTICATION, 'TokenReview', (body) => reviewToken(deps, body)),
    virtual<SelfSubjectReview>(AUTHENTICATION, 'SelfSubjectReview', (_, { info }) => ({
      userInfo: userObject(info.user),
    })),
    virtual<SubjectAccessReview>(AUTHORIZATION, 'SubjectAccessReview', (body) => {
      const { spec } = body;
      return decide(authorizer, 'SubjectAccessReview', spec, subjectOf(spec), subjectFaults(spec));
    }),
    virtual<LocalSubjectAccessReview>(
      AUTHORIZATION,
      'LocalSubjectAccessReview',
      ({ spec }, { info }) => {
        requireNamespace(spec?.resourceAttributes, info.namespace);
        return decide(authorizer, 'LocalSubjectAccessReview', spec, subjectOf(spec), subjectFaults(spec));
      },
      true,
    ),
    virtual<SelfSubjectAccessReview>(AUTHORIZATION, 'SelfSubjectAccessReview', ({ spec }, { info }) =>
      decide(authorizer, 'SelfSubjectAccessReview', spec, info.user, []),
    ),
    virtual<SelfSubjectRulesReview>(AUTHORIZATION, 'SelfSubjectRulesReview', ({ spec }, { info }) => {
      if (!spec?.namespace) throw badRequest('no namespace on request');
      return listRules(deps.rules, info.user, spec.namespace);
    }),
  ];
}

/** A kind whose answer is the question with a status. */
function virtual<T extends KubeObject>(
  { group, version }: { readonly group: string; readonly version: string },
  kind: string,
  status: (body: T, context: CallContext) => object | Promise<object>,
  namespaced = false,
): VirtualResource {
  return {
    group,
    version,
    kind,
    plural: `${kind.toLowerCase()}s`,
    namespaced,
    async create(body, context) {
      const answer = await status(body as T, context);
      const metadata = body.metadata ?? {};
      return { ...body, kind, apiVersion: `${group}/${version}`, metadata, status: answer } as KubeObject;
    },
  };
}

/** A token that is not good is an answer, not an error. */
function reviewToken(deps: ReviewDeps, { spec }: TokenReview): NonNullable<TokenReview['status']> {
  if (!spec?.token) throw badRequest('token is required for TokenReview in authentication');
  const wanted = spec.audiences?.length ? spec.audiences : deps.audiences;
  const { identity, error } = authenticateToken(deps.tokens, spec.token, wanted);
  // A token without audiences of its own is one for the API server.
  const audiences = identity?.audiences ?? deps.audiences.filter((a) => wanted.includes(a));
  if (identity === undefined || audiences.length === 0) {
    return { authenticated: false, error: error ?? 'invalid bearer token' };
  }
  return { authenticated: true, user: userObject(withAuthenticatedGroup(identity.user)), audiences: [...audiences] };
}

function userObject({ name, uid, groups, extra }: UserInfo): UserInfoObject {
  const copied = Object.entries(extra ?? {}).map(([key, values]) => [key, [...values]]);
  return {
    username: name,
    ...(uid === undefined ? {} : { uid }),
    groups: [...groups],
    ...(copied.length === 0 ? {} : { extra: Object.fromEntries(copied) }),
  };
}

type SubjectSpec = SubjectAccessReview['spec'] | undefined;

function subjectOf(spec: SubjectSpec): UserInfo {
  return {
    name: spec?.user ?? '',
    ...(spec?.uid ? { uid: spec.uid } : {}),
    groups: spec?.groups ?? [],
    ...(spec?.extra === undefined ? {} : { extra: spec.extra }),
  };
}

function subjectFaults(spec: SubjectSpec): FieldError[] {
  if (spec?.user || spec?.groups?.length) return [];
  return [invalid('spec.user', spec?.user ?? '', 'at least one of user or group must be specified')];
}

function requireNamespace(attributes: ResourceAttributes | undefined, namespace: string): void {
  if (attributes?.namespace === namespace) return;
  const field = 'spec.resourceAttributes.namespace';
  const faults = [
    attributes === undefined
      ? required('spec.resourceAttributes')
      : invalid(field, attributes.namespace ?? '', 'must match metadata.namespace'),
  ];
  throw invalidObject(AUTHORIZATION.group, 'LocalSubjectAccessReview', '', faults);
}

/** @throws {StatusError} 422 */
async function decide(
  authorizer: Authorizer,
  kind: string,
  spec: { resourceAttributes?: Attributes; nonResourceAttributes?: NonResourceAttributes } | undefined,
  user: UserInfo,
  faults: FieldError[],
): Promise<SubjectAccessReviewStatus> {
  const { resourceAttributes, nonResourceAttributes } = spec ?? {};
  if ((resourceAttributes === undefined) === (nonResourceAttributes === undefined)) {
    const detail = 'exactly one of nonResourceAttributes or resourceAttributes must be specified';
    faults.push(invalid('spec.resourceAttributes', resourceAttributes ?? null, detail));
  }
  if (faults.length > 0) throw invalidObject(AUTHORIZATION.group, kind, '', faults);
  const attributes =
    resourceAttributes === undefined
      ? nonResourceRequest(user, nonResourceAttributes!)
      : resourceRequest(user, resourceAttributes);
  const { decision, reason } = await authorizer.authorize(attributes);
  return {
    allowed: decision === 'allow',
    ...(decision === 'deny' ? { denied: true } : {}),
    ...(reason === '' ? {} : { reason }),
  };
}

const NO_RESOURCE = { group: '', version: '', resource: '', subresource: '', namespace: '', name: '', path: '' };

function nonResourceRequest(user: UserInfo, { verb = '', path = '' }: NonResourceAttributes): AuthorizationAttributes {
  return { ...NO_RESOURCE, user, isResource: false, verb, path };
}

function resourceRequest(user: UserInfo, asked: Attributes): AuthorizationAttributes {
  const fieldSelector = selectorText(asked.fieldSelector);
  return {
    ...NO_RESOURCE,
    user,
    isResource: true,
    verb: asked.verb ?? '',
    group: asked.group ?? '',
    version: asked.version ?? '',
    resource: asked.resource ?? '',
    subresource: asked.subresource ?? '',
    namespace: asked.namespace ?? '',
    name: asked.name ?? '',
    ...(fieldSelector === '' ? {} : { fieldSelector }),
  };
}

/** Requirements that a field selector cannot say are left out: less selective, so never more is allowed. */
function selectorText(selector: SelectorAttributes | undefined): string {
  if (selector?.rawSelector) return selector.rawSelector;
  const sayable = (selector?.requirements ?? []).filter(
    (r) => r.values?.length === 1 && (r.operator === 'In' || r.operator === 'NotIn'),
  );
  return formatFieldSelector(
    sayable.map((r) => ({ field: r.key, operator: r.operator === 'In' ? '=' : '!=', value: r.values![0]! })),
  );
}

function listRules(source: RuleSource, user: UserInfo, namespace: string): object {
  const rules = source.rulesFor(user, namespace);
  return {
    resourceRules: rules
      .filter((rule) => rule.resources?.length)
      .map(({ verbs, apiGroups = [], resources, resourceNames }) => ({
        verbs,
        apiGroups,
        resources,
        ...(resourceNames?.length ? { resourceNames } : {}),
      })),
    nonResourceRules: rules
      .filter((rule) => rule.nonResourceURLs?.length)
      .map(({ verbs, nonResourceURLs }) => ({ verbs, nonResourceURLs })),
    incomplete: false,
  };
}
