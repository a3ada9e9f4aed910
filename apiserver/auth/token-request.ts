// POST serviceaccounts/<name>/token: a token for whoever may ask for it, bound to the object it is for. After
// pkg/registry/core/serviceaccount/storage/token.go.
import type { BoundObjectReference } from 'kubernetes-types/authentication/v1.js';
import type { TokenRequest } from '../../api/kinds.ts';
import { formatTime, type KubeObject } from '../../api/meta.ts';
import type { Pod } from '../../api/pod.ts';
import { nodes, pods, type ResourceType, secrets, serviceAccounts } from '../../api/resources.ts';
import { type AdmissionPlugin, type AdmissionRequest, runMutation, runValidation } from '../admission.ts';
import { type FieldError, invalid, invalidObject } from '../registry/field-errors.ts';
import type { ObjectReader } from '../registry/reader.ts';
import { badRequest, conflict, notFound } from '../status-error.ts';
import type { CallContext, ObjectSubresource } from '../subresource.ts';
import type { ObjectIdentity, ServiceAccountTokens, TokenBinding } from './service-account-tokens.ts';

const KIND = { group: 'authentication.k8s.io', version: 'v1', kind: 'TokenRequest' } as const;
const DEFAULT_SECONDS = 3600;
const MIN_SECONDS = 600;
const MAX_SECONDS = 2 ** 32;
/** No token is good for longer: one year, as `--service-account-max-token-expiration` would say. */
const LONGEST_SECONDS = 365 * 86_400;

export interface TokenRequestDeps {
  readonly tokens: ServiceAccountTokens;
  readonly reader: ObjectReader;
  /** Wall clock. */
  readonly nowMs: () => number;
  /** Run on the request, as on every write: NodeRestriction looks at it. */
  readonly admission?: readonly AdmissionPlugin[];
}

export function tokenSubresource(deps: TokenRequestDeps): ObjectSubresource {
  return {
    type: 'object',
    group: '',
    version: 'v1',
    resource: 'serviceaccounts',
    subresource: 'token',
    verbs: ['create'],
    responseKind: KIND,
    create: async (body, context) => ({ code: 201, object: await answer(deps, body as TokenRequest, context) }),
  };
}

async function answer(deps: TokenRequestDeps, request: TokenRequest, context: CallContext): Promise<KubeObject> {
  const { namespace, name } = context.info;
  const account = deps.reader.get(serviceAccounts, { namespace, name });
  if (account === undefined) throw notFound({ group: '', resource: 'serviceaccounts' }, name);
  const now = deps.nowMs();
  const named = request.metadata?.name;
  if (named && named !== name) {
    throw badRequest(`the name of the object (${named}) does not match the name on the URL (${name})`);
  }
  const metadata = { ...request.metadata, name, namespace, creationTimestamp: formatTime(now) };
  const wanted: TokenRequest = {
    ...request,
    metadata,
    spec: {
      ...request.spec,
      audiences: request.spec?.audiences?.length ? request.spec.audiences : [...deps.tokens.audiences],
      expirationSeconds: request.spec?.expirationSeconds ?? DEFAULT_SECONDS,
    },
  };
  refuseFaults(wanted);
  // Admission sees the audiences that were asked for, none where the server's own are meant.
  const asked = { ...wanted, spec: { ...wanted.spec, audiences: request.spec?.audiences ?? [] } };
  await admit(deps.admission ?? [], asked, context);
  const binding = bindingOf(deps.reader, namespace, name, wanted.spec.boundObjectRef);
  const subject = { namespace, serviceaccount: { name, uid: account.metadata?.uid ?? '' }, ...binding };
  const expiresAtMs = now + 1000 * capped(wanted.spec.expirationSeconds!, context);
  const token = deps.tokens.issue(subject, wanted.spec.audiences, expiresAtMs);
  return {
    ...wanted,
    kind: 'TokenRequest',
    apiVersion: 'authentication.k8s.io/v1',
    status: { token: context.dryRun ? '' : token, expirationTimestamp: formatTime(expiresAtMs) },
  } as KubeObject;
}

function capped(seconds: number, context: CallContext): number {
  if (seconds <= LONGEST_SECONDS) return seconds;
  context.warn(`requested expiration of ${seconds} seconds shortened to ${LONGEST_SECONDS} seconds`);
  return LONGEST_SECONDS;
}

/** @throws {StatusError} 422 */
function refuseFaults({ spec }: TokenRequest): void {
  const seconds: unknown = spec.expirationSeconds;
  const field = 'spec.expirationSeconds';
  const faults: FieldError[] = [];
  if (!Number.isSafeInteger(seconds) || (seconds as number) < MIN_SECONDS) {
    faults.push(invalid(field, seconds, 'may not specify a duration less than 10 minutes'));
  } else if ((seconds as number) > MAX_SECONDS) {
    faults.push(invalid(field, seconds, 'may not specify a duration larger than 2^32 seconds'));
  }
  const audiences: unknown = spec.audiences;
  if (!Array.isArray(audiences) || !audiences.every((a) => typeof a === 'string' && a !== '')) {
    faults.push(invalid('spec.audiences', audiences, 'must be a list of non-empty strings'));
  }
  if (faults.length > 0) throw invalidObject(KIND.group, KIND.kind, '', faults);
}

async function admit(plugins: readonly AdmissionPlugin[], object: TokenRequest, context: CallContext): Promise<void> {
  const { user, namespace, name } = context.info;
  const request: AdmissionRequest = {
    operation: 'CREATE',
    user,
    group: '',
    version: 'v1',
    resource: 'serviceaccounts',
    subresource: 'token',
    kind: 'TokenRequest',
    namespace,
    name,
    object: object as KubeObject,
    dryRun: context.dryRun,
    warn: context.warn,
  };
  await runMutation(plugins, request);
  await runValidation(plugins, request);
}

/** The claims that tie the token to an object. @throws {StatusError} 400, 404, 409 */
function bindingOf(
  reader: ObjectReader,
  namespace: string,
  account: string,
  ref: BoundObjectReference | undefined,
): TokenBinding {
  if (ref === undefined || ref === null) return {};
  switch (`${ref.apiVersion} ${ref.kind}`) {
    case 'v1 Pod': {
      const pod = bound(reader, pods, ref, namespace);
      if (pod.spec?.serviceAccountName !== account) {
        throw badRequest(
          `cannot bind token for serviceaccount "${account}" to pod running with different serviceaccount name.`,
        );
      }
      const node = nodeOf(reader, pod);
      return { pod: identityOf(pod), ...(node === undefined ? {} : { node }) };
    }
    case 'v1 Secret':
      return { secret: identityOf(bound(reader, secrets, ref, namespace)) };
    case 'v1 Node':
      return { node: identityOf(bound(reader, nodes, ref, undefined)) };
    default:
      throw badRequest(`cannot bind token to object of type ${ref.apiVersion ?? ''}, Kind=${ref.kind ?? ''}`);
  }
}

function bound<T extends KubeObject>(
  reader: ObjectReader,
  type: ResourceType<T>,
  ref: BoundObjectReference,
  namespace: string | undefined,
): T {
  const name = ref.name ?? '';
  const resource = { group: type.group, resource: type.plural };
  const object = reader.get(type, namespace === undefined ? { name } : { namespace, name });
  if (object === undefined) throw notFound(resource, name);
  const uid = object.metadata?.uid ?? '';
  if (ref.uid && ref.uid !== uid) {
    throw conflict(
      resource,
      name,
      `the UID in the bound object reference (${ref.uid}) does not match the UID in record. ` +
        'The object might have been deleted and then recreated',
    );
  }
  return object;
}

/** Where the pod runs. A node that is gone is named without vouching for anything. */
function nodeOf(reader: ObjectReader, pod: Pod): ObjectIdentity | undefined {
  const name = pod.spec?.nodeName;
  if (!name) return undefined;
  const node = reader.get(nodes, { name });
  return node === undefined ? undefined : identityOf(node);
}

function identityOf(object: KubeObject): ObjectIdentity {
  return { name: object.metadata?.name ?? '', uid: object.metadata?.uid ?? '' };
}
