// Approves the certificates that nodes ask for, signs what is approved, and forgets old requests: the CSR controllers of
// kube-controller-manager (pkg/controller/certificates) in one.
import type {
  CertificateSigningRequest,
  CertificateSigningRequestCondition,
} from 'kubernetes-types/certificates/v1.js';
import type { Node } from '../../api/kinds.ts';
import { formatTime, objectKey } from '../../api/meta.ts';
import { type CertUsage, type KeyPair, type ParsedCsr, PkiError, signCsr } from '../../api/pki.ts';
import { certificateSigningRequests } from '../../api/resources.ts';
import { isNotFound } from '../../client/errors.ts';
import { Reflector } from '../../client/reflector.ts';
import { Store } from '../../client/store.ts';
import type { Logger } from '../../core/log.ts';
import { runTasks } from '../../core/tasks.ts';
import type { UserInfo } from '../request.ts';
import {
  approvalNeeded,
  isDecided,
  isToBeSigned,
  KNOWN_SIGNERS,
  KUBELET_SERVING_SIGNER,
  namesOnlyItself,
  parseRequest,
  removalDueMs,
  signerFault,
} from './certificates-policy.ts';
import { type Controller, type ControllerContext, waitForStores } from './context.ts';
import { Reconciler } from './reconciler.ts';

export interface CertificatesOptions {
  /** Signs for all signers; undefined: requests are approved but not signed. */
  readonly ca: KeyPair | undefined;
  /** Longest life of a certificate, ms. */
  readonly durationMs: number;
  /** Whether `user` may create certificatesigningrequests/`subresource`. */
  readonly mayCreate: (user: UserInfo, subresource: string) => Promise<boolean>;
}

type Request = CertificateSigningRequest;

export class CertificatesController implements Controller {
  readonly name = 'csr-controller';
  readonly #ctx: ControllerContext;
  readonly #opts: CertificatesOptions;
  readonly #log: Logger;
  readonly #requests = new Store<Request>();
  readonly #work: Reconciler;

  constructor(ctx: ControllerContext, opts: CertificatesOptions) {
    this.#ctx = ctx;
    this.#opts = opts;
    this.#log = ctx.log.child({ controller: this.name });
    this.#work = new Reconciler((key) => this.#reconcile(key), { name: this.name }, ctx);
  }

  async run(signal: AbortSignal): Promise<void> {
    const { client, stores, clock, log } = this.#ctx;
    const reflector = new Reflector(client, certificateSigningRequests, this.#requests, {}, { clock, log });
    await runTasks(signal, {
      'reflect certificatesigningrequests': (s) => reflector.run(s),
      reconcile: async (s) => {
        await waitForStores([this.#requests, stores.nodes], s);
        using _requests = this.#requests.subscribe({
          onAdd: (r) => this.#work.request(objectKey(r)),
          onUpdate: (_old, r) => this.#work.request(objectKey(r)),
        });
        // A node may ask before it has said what its addresses are.
        using _nodes = stores.nodes.subscribe({
          onAdd: (n) => this.#nodeChanged(n),
          onUpdate: (_old, n) => this.#nodeChanged(n),
        });
        await this.#work.run(s);
      },
    });
  }

  #nodeChanged(node: Node): void {
    for (const request of this.#requests.list()) {
      const { signerName, username } = request.spec;
      const isOfNode = signerName === KUBELET_SERVING_SIGNER && username === `system:node:${node.metadata?.name}`;
      if (isOfNode && !isDecided(request)) this.#work.request(objectKey(request));
    }
  }

  async #reconcile(key: string): Promise<void> {
    const request = this.#requests.get(key);
    if (request === undefined) return;
    const dueInMs = removalDueMs(request) - this.#ctx.clock.now();
    if (dueInMs <= 0) return this.#remove(request);
    this.#work.requestAfter(key, dueInMs);
    if (isToBeSigned(request)) await this.#sign(request);
    else if (!isDecided(request)) await this.#approve(request);
  }

  async #approve(request: Request): Promise<void> {
    const csr = parsedOrUndefined(request);
    const approval = csr === undefined ? undefined : approvalNeeded(request, csr);
    if (csr === undefined || approval === undefined) return;
    const isAllowed =
      approval.by === 'access'
        ? await this.#opts.mayCreate(requesterOf(request), approval.subresource)
        : namesOnlyItself(csr, this.#ctx.stores.nodes.get(approval.node));
    if (!isAllowed) return;
    this.#log.info({ csr: request.metadata?.name, user: request.spec.username }, 'approving a node certificate');
    await this.#write(request, 'approval', this.#condition('Approved', 'AutoApproved', approval.message));
  }

  async #sign(request: Request): Promise<void> {
    const { ca, durationMs } = this.#opts;
    const { signerName, usages = [], expirationSeconds } = request.spec;
    if (ca === undefined || !KNOWN_SIGNERS.has(signerName)) return;
    const csr = parsedOrUndefined(request);
    const fault = csr === undefined ? 'the request cannot be read' : signerFault(signerName, csr, usages);
    if (csr === undefined || fault !== undefined) {
      return this.#write(request, 'status', this.#condition('Failed', 'SignerValidationFailure', fault ?? ''));
    }
    const wantedMs = expirationSeconds === undefined ? durationMs : expirationSeconds * 1000;
    const lifetimeMs = Math.min(wantedMs, durationMs);
    const pem = signCsr(ca, csr, usages as CertUsage[], { nowMs: this.#ctx.clock.now(), lifetimeMs });
    this.#log.info({ csr: request.metadata?.name, signer: signerName }, 'certificate signed');
    await this.#write(request, 'status', undefined, Buffer.from(pem).toString('base64'));
  }

  /** With the version that was decided on: what changed meanwhile is looked at anew. */
  async #write(
    request: Request,
    subresource: 'approval' | 'status',
    condition: CertificateSigningRequestCondition | undefined,
    certificate?: string,
  ): Promise<void> {
    const conditions = [...(request.status?.conditions ?? []), ...(condition === undefined ? [] : [condition])];
    const status = { ...request.status, conditions, ...(certificate === undefined ? {} : { certificate }) };
    const name = { name: request.metadata?.name ?? '' };
    await this.#ctx.client.update(certificateSigningRequests, name, { ...request, status }, { subresource });
  }

  #condition(type: string, reason: string, message: string): CertificateSigningRequestCondition {
    const now = formatTime(this.#ctx.clock.now());
    return { type, status: 'True', reason, message, lastUpdateTime: now, lastTransitionTime: now };
  }

  async #remove({ metadata }: Request): Promise<void> {
    try {
      const preconditions = { uid: metadata?.uid ?? '' };
      await this.#ctx.client.delete(certificateSigningRequests, { name: metadata?.name ?? '' }, { preconditions });
      this.#log.debug({ csr: metadata?.name }, 'old signing request removed');
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
  }
}

function requesterOf({ spec }: Request): UserInfo {
  const { username = '', uid, groups = [], extra } = spec;
  return { name: username, groups, ...(uid === undefined ? {} : { uid }), ...(extra === undefined ? {} : { extra }) };
}

function parsedOrUndefined(request: Request): ParsedCsr | undefined {
  try {
    return parseRequest(request);
  } catch (err) {
    if (err instanceof PkiError) return undefined;
    throw err;
  }
}
