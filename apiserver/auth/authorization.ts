// The chain of authorizers, and the answer to those it turns away.
import { forbidden, StatusError } from '../status-error.ts';
import type { AuthorizationAttributes, Authorizer, Decision } from './authorizer.ts';

/** Members of system:masters may do everything, whatever the rules say: the way back in. */
export const privilegedGroup: Authorizer = {
  authorize: ({ user }) =>
    user.groups.includes('system:masters') ? { decision: 'allow', reason: '' } : { decision: 'no-opinion', reason: '' },
};

/** Health and version are for everybody: what probes and clients ask before they have a credential. */
export const publicPaths: Authorizer = {
  authorize: ({ isResource, path, verb }) =>
    !isResource && (verb === 'get' || verb === 'head') && /^\/(healthz|livez|readyz|version)(\/|$)/.test(path)
      ? { decision: 'allow', reason: '' }
      : { decision: 'no-opinion', reason: '' },
};

/** The first that allows or denies decides; all reasons of those without an opinion are kept. */
export class AuthorizerChain implements Authorizer {
  readonly #authorizers: readonly Authorizer[];

  constructor(authorizers: readonly Authorizer[]) {
    this.#authorizers = authorizers;
  }

  async authorize(attributes: AuthorizationAttributes): Promise<Decision> {
    const reasons: string[] = [];
    for (const authorizer of this.#authorizers) {
      const answer = authorizer.authorize(attributes);
      const decision = answer instanceof Promise ? await answer : answer;
      if (decision.decision !== 'no-opinion') return decision;
      if (decision.reason !== '') reasons.push(decision.reason);
    }
    return { decision: 'no-opinion', reason: reasons.join(', ') };
  }
}

/** The 403 for a request that nobody allowed: user, verb, resource and scope, as people grep for it. Pure. */
export function deniedError(attributes: AuthorizationAttributes, reason: string): StatusError {
  const { verb, group, resource, subresource, namespace } = attributes;
  const user = `User "${attributes.user.name}" cannot ${verb}`;
  const why = reason === '' ? '' : `: ${reason}`;
  if (!attributes.isResource) {
    return new StatusError(403, 'Forbidden', `forbidden: ${user} path "${attributes.path}"${why}`, {});
  }
  const what = subresource === '' ? resource : `${resource}/${subresource}`;
  const scope = namespace === '' ? 'at the cluster scope' : `in the namespace "${namespace}"`;
  const text = `${user} resource "${what}" in API group "${group}" ${scope}${why}`;
  return forbidden({ group, resource }, attributes.name, text);
}
