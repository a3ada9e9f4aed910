// Asks the API server for a certificate and waits until a signer has given or refused it. After client-go
// util/certificate/csr.
import type { CertificateSigningRequest } from 'kubernetes-types/certificates/v1.js';
import { type CertUsage, createCsr } from '../../api/pki.ts';
import { certificateSigningRequests } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { ApiError, isExpired } from '../../client/errors.ts';
import { linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError, isAgentError } from '../../core/errors.ts';
import type { CertificateTemplate } from './certificate-template.ts';

export interface RequestSpec {
  readonly signerName: string;
  readonly usages: readonly CertUsage[];
  readonly template: CertificateTemplate;
  /** PEM. */
  readonly key: string;
  /** Fixed name instead of one that the server makes of `csr-`. */
  readonly name?: string;
}

/** Between two looks when the server ended a watch or did not answer, ms. */
const RELIST_MS = 1000;

/** The object to create. */
export function signingRequest(spec: RequestSpec): CertificateSigningRequest {
  const { template, signerName, usages, name } = spec;
  const { csr } = createCsr(template, template, spec.key);
  return {
    apiVersion: 'certificates.k8s.io/v1',
    kind: 'CertificateSigningRequest',
    metadata: name === undefined ? { generateName: 'csr-' } : { name },
    spec: { request: Buffer.from(csr).toString('base64'), signerName, usages: [...usages] },
  };
}

/**
 * PEM of the certificate once `request` is approved and signed.
 * @throws {AgentError} CSR_DENIED, CSR_FAILED, CSR_TIMEOUT after `timeoutMs`, CSR_GONE; what the calls throw, unless it
 * passes.
 */
export async function waitForCertificate(
  request: CertificateSigningRequest,
  timeoutMs: number,
  deps: { readonly client: ApiClient; readonly clock: Clock },
  signal: AbortSignal,
): Promise<string> {
  using limit = linkedSignal(signal);
  using _timer = deps.clock.setTimer(timeoutMs, () => limit.abort());
  while (!limit.signal.aborted) {
    try {
      const certificate = await watchOnce(request, deps.client, limit.signal);
      if (certificate !== undefined) return certificate;
    } catch (err) {
      if (!isPassing(err) && !limit.signal.aborted) throw err;
    }
    await deps.clock.sleep(RELIST_MS, limit.signal);
  }
  throw new AgentError(`certificate signing request ${request.metadata?.name} was not signed in time`, {
    code: 'CSR_TIMEOUT',
    retryable: true,
    hint: 'look at it with kubectl get csr: somebody must approve it, and a signer must run',
  });
}

/** The server is busy or away: the request is still there, and another one would have somebody decide twice. */
function isPassing(err: unknown): boolean {
  if (err instanceof ApiError) return err.retryable || isExpired(err);
  return isAgentError(err, 'API_UNREACHABLE') || isAgentError(err, 'API_TIMEOUT');
}

/** Lists, then watches until the server ends the watch. */
async function watchOnce(
  { metadata }: CertificateSigningRequest,
  client: ApiClient,
  signal: AbortSignal,
): Promise<string | undefined> {
  const selected = { fieldSelector: `metadata.name=${metadata?.name}`, signal };
  const isOurs = (r: CertificateSigningRequest) => r.metadata?.uid === metadata?.uid;
  const { items, metadata: listed } = await client.list(certificateSigningRequests, selected);
  const now = items.find(isOurs);
  if (now === undefined) throw gone(metadata?.name);
  const certificate = certificateIn(now);
  if (certificate !== undefined) return certificate;
  const resourceVersion = listed?.resourceVersion ?? '';
  for await (const event of client.watch(certificateSigningRequests, { ...selected, resourceVersion })) {
    if (event.type === 'ERROR') return undefined;
    if (event.type === 'BOOKMARK' || !isOurs(event.object)) continue;
    if (event.type === 'DELETED') throw gone(metadata?.name);
    const issued = certificateIn(event.object);
    if (issued !== undefined) return issued;
  }
  return undefined;
}

/** Undefined while nobody has decided, or an approved request has no certificate yet. @throws {AgentError} */
export function certificateIn({ metadata, status }: CertificateSigningRequest): string | undefined {
  let isApproved = false;
  for (const { type, reason, message } of status?.conditions ?? []) {
    if (type === 'Approved') isApproved = true;
    if (type !== 'Denied' && type !== 'Failed') continue;
    const verdict = type === 'Denied' ? 'is denied' : 'failed';
    throw new AgentError(`certificate signing request ${verdict}, reason: ${reason}, message: ${message}`, {
      code: type === 'Denied' ? 'CSR_DENIED' : 'CSR_FAILED',
      retryable: true,
      hint: `kubectl describe csr ${metadata?.name} says who decided so`,
    });
  }
  const text = status?.certificate ?? '';
  return isApproved && text !== '' ? Buffer.from(text, 'base64').toString('utf8') : undefined;
}

function gone(name: string | undefined): AgentError {
  return new AgentError(`certificate signing request ${name} was deleted before it was signed`, {
    code: 'CSR_GONE',
    retryable: true,
  });
}
