// Who calls the node's HTTPS server, and may they? Both are lists of small parts, so that token and access reviews by
// the API server can stand beside the certificates. After pkg/kubelet/server/auth.go and cmd/kubelet/app/auth.go.
import type { IncomingMessage } from 'node:http';
import { TLSSocket } from 'node:tls';
import { isForClients, type PeerCertificate, userNamedBy } from '../../api/client-certificate.ts';
import { errorMessage } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { HttpError } from './http-error.ts';

export interface KubeletUser {
  readonly name: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  readonly extra?: Readonly<Record<string, readonly string[]>>;
}

/** One way to prove who one is. Undefined: no such proof was given. @throws when it was given and is wrong. */
export interface KubeletAuthenticator {
  authenticate(request: IncomingMessage): Promise<KubeletUser | undefined>;
}

/** Attributes of the request as a SubjectAccessReview names them; the resource is always `nodes`. */
export interface NodeAttributes {
  readonly verb: string;
  readonly subresource: string;
  readonly node: string;
}

export interface KubeletAuthorizer {
  /** False for a refusal and for no opinion. @throws when it could not be found out. */
  isAllowed(user: KubeletUser, attributes: NodeAttributes): Promise<boolean>;
}

const ANONYMOUS: KubeletUser = { name: 'system:anonymous', groups: ['system:unauthenticated'] };
const AUTHENTICATED = 'system:authenticated';

/** Client certificates. The TLS layer has verified the chain without insisting on it; this reads the result. */
export class CertificateAuthenticator implements KubeletAuthenticator {
  readonly #nowMs: () => number;

  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  async authenticate({ socket }: IncomingMessage): Promise<KubeletUser | undefined> {
    if (!(socket instanceof TLSSocket)) return undefined;
    return userOfCertificate(socket.getPeerCertificate() as PeerCertificate, socket.authorized, this.#nowMs());
  }
}

/**
 * Pure: who the certificate names. Undefined when none was presented.
 * @throws {Error} when it does not lead to the client CA, is not for clients, or has run out since the handshake.
 */
export function userOfCertificate(peer: PeerCertificate, verified: boolean, nowMs: number): KubeletUser | undefined {
  if (peer.raw === undefined) return undefined;
  if (!verified) throw new Error('the client certificate is not signed by the client CA');
  if (!isForClients(peer)) throw new Error('the certificate is not meant for clients');
  if (peer.valid_to !== undefined && nowMs > Date.parse(peer.valid_to)) {
    throw new Error('the client certificate has expired');
  }
  return userNamedBy(peer);
}

/** The API server's answer about a token has the group already, and one that reviews an anonymous caller the other. */
function withAuthenticatedGroup(user: KubeletUser): KubeletUser {
  const isMarked = user.groups.some((g) => g === AUTHENTICATED || ANONYMOUS.groups.includes(g));
  return isMarked ? user : { ...user, groups: [...user.groups, AUTHENTICATED] };
}

const ADMIN_GROUPS = new Set(['system:masters', 'system:kubelet-api-admin']);
const ADMIN_USERS = new Set(['kube-apiserver-kubelet-client', 'kubelet-api-admin']);

/** Lets the API server's own identity and administrators do everything, and nobody else anything. */
export const adminAuthorizer: KubeletAuthorizer = {
  async isAllowed(user) {
    return ADMIN_USERS.has(user.name) || user.groups.some((g) => ADMIN_GROUPS.has(g));
  },
};

const VERBS = new Map([
  ['GET', 'get'],
  ['POST', 'create'],
  ['PUT', 'update'],
  ['PATCH', 'patch'],
  ['DELETE', 'delete'],
]);

const SUBRESOURCES: readonly (readonly [prefix: string, subresources: readonly string[]])[] = [
  ['/pods', ['pods', 'proxy']],
  ['/runningpods', ['pods', 'proxy']],
  ['/healthz', ['healthz', 'proxy']],
  ['/configz', ['configz', 'proxy']],
  ['/stats', ['stats']],
  ['/metrics', ['metrics']],
  ['/logs', ['log']],
  ['/checkpoint', ['checkpoint']],
  ['/statusz', ['statusz']],
  ['/flagz', ['configz']],
];

/** Pure: the subresources of `nodes` that give access to a path, in the order in which they are tried. */
export function subresourcesOf(path: string): readonly string[] {
  const match = SUBRESOURCES.find(([prefix]) => path === prefix || path.startsWith(`${prefix}/`));
  return match?.[1] ?? ['proxy'];
}

export interface GateOptions {
  readonly nodeName: string;
  /** Callers without any proof are `system:anonymous` instead of refused. */
  readonly anonymous: boolean;
}

/** Stands before every path of the server, those that do not exist included. */
export class Gate {
  readonly #options: GateOptions;
  readonly #authenticators: readonly KubeletAuthenticator[];
  readonly #authorizer: KubeletAuthorizer;
  readonly #log: Logger;

  constructor(
    options: GateOptions,
    deps: {
      readonly authenticators: readonly KubeletAuthenticator[];
      readonly authorizer: KubeletAuthorizer;
      readonly log: Logger;
    },
  ) {
    this.#options = options;
    this.#authenticators = deps.authenticators;
    this.#authorizer = deps.authorizer;
    this.#log = deps.log;
  }

  /** @throws {HttpError} 401, 403, or 500 when nobody could say. */
  async admit(request: IncomingMessage, path: string): Promise<KubeletUser> {
    const user = await this.#authenticate(request);
    const verb = VERBS.get(request.method ?? '') ?? '';
    const subresources = subresourcesOf(path);
    for (const subresource of subresources) {
      if (await this.#isAllowed(user, { verb, subresource, node: this.#options.nodeName })) return user;
    }
    const what = `user=${user.name}, verb=${verb}, resource=nodes, subresource(s)=[${subresources.join(' ')}]`;
    throw new HttpError(403, `Forbidden (${what})\n`);
  }

  /** The first that knows the caller wins; a proof that is wrong is never just overlooked. */
  async #authenticate(request: IncomingMessage): Promise<KubeletUser> {
    let failed = false;
    for (const authenticator of this.#authenticators) {
      try {
        const user = await authenticator.authenticate(request);
        if (user !== undefined) return withAuthenticatedGroup(user);
      } catch (err) {
        failed = true;
        this.#log.debug({ err }, 'authentication failed');
      }
    }
    if (failed || !this.#options.anonymous) throw new HttpError(401, 'Unauthorized');
    return ANONYMOUS;
  }

  async #isAllowed(user: KubeletUser, attributes: NodeAttributes): Promise<boolean> {
    try {
      return await this.#authorizer.isAllowed(user, attributes);
    } catch (err) {
      const what = `user=${user.name}, verb=${attributes.verb}, resource=nodes, subresource=${attributes.subresource}`;
      this.#log.warn({ err: errorMessage(err), user: user.name }, 'authorization could not be checked');
      throw new HttpError(500, `Authorization error (${what})`);
    }
  }
}
