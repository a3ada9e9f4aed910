// The first certificate of a node that does not rotate it: asked for once, with a key that is kept until the answer is
// here, so that an agent that is started again goes on with the same request. After
// pkg/kubelet/certificate/bootstrap/bootstrap.go LoadClientCert.
import { createHash, createPublicKey } from 'node:crypto';
import { mkdir, readFile, rm } from 'node:fs/promises';
import path from 'node:path';
import type { CertificateSigningRequest } from 'kubernetes-types/certificates/v1.js';
import { type ParsedCsr, parseCsr } from '../../api/pki.ts';
import { certificateSigningRequests } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { isAlreadyExists } from '../../client/errors.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError, errnoOf } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import { writeFileAtomic } from '../../host/files.ts';
import { CertificateStore } from './certificate-store.ts';
import { CLIENT_SIGNER, CLIENT_USAGES, clientTemplate } from './certificate-template.ts';
import { createKeyPem } from './key-pair.ts';
import { certificateIn, type RequestSpec, signingRequest, waitForCertificate } from './signing-request.ts';

export interface BootstrapDeps {
  /** With the bootstrap credentials. */
  readonly client: ApiClient;
  /** GET /healthz; rejects unless the server says that it is well. */
  readonly healthz: (signal: AbortSignal) => Promise<void>;
  readonly clock: Clock;
  readonly log: Logger;
}

const HEALTHZ_WAIT_MS = 60_000;
const HEALTHZ_PERIOD_MS = 2000;
const HEALTHZ_JITTER = 0.2;
const ISSUE_TIMEOUT_MS = 3_600_000;

/** Resolves when the store in `certDir` holds a certificate. @throws {AgentError} as waitForCertificate; CSR_FOREIGN */
export async function bootstrapOnce(
  nodeName: string,
  certDir: string,
  deps: BootstrapDeps,
  signal: AbortSignal,
): Promise<void> {
  const { client, clock } = deps;
  const store = new CertificateStore({ dir: certDir, prefix: 'kubelet-client' });
  const temporary = path.join(certDir, 'kubelet-client.key.tmp');
  const key = (await store.current().catch(() => undefined))?.key ?? (await keptKey(temporary));
  await untilHealthy(deps, signal);
  const spec: RequestSpec = {
    signerName: CLIENT_SIGNER,
    usages: CLIENT_USAGES,
    template: clientTemplate(nodeName),
    key,
    name: requestName(key, nodeName),
  };
  const request = await createOrReuse(spec, client, signal);
  const cert = await waitForCertificate(request, ISSUE_TIMEOUT_MS, { client, clock }, signal);
  await store.update({ cert, key }, clock.now());
  await rm(temporary, { force: true });
}

/** Pure: the same for the same key, name, groups and usages, so that a restarted node finds its own request. */
export function requestName(keyPem: string, nodeName: string): string {
  const { commonName, organizations } = clientTemplate(nodeName);
  const hash = createHash('sha512-256');
  const add = (bytes: string | Uint8Array) => hash.update(`${Buffer.from(bytes).toString('base64url')}|`);
  add(createPublicKey(keyPem).export({ format: 'der', type: 'spki' }));
  for (const text of [commonName, ...organizations, ...CLIENT_USAGES]) add(text);
  return `node-csr-${hash.digest('base64url')}`;
}

/** The key in `file`; a new one is there before it is used, or a restart would ask with another. */
async function keptKey(file: string): Promise<string> {
  try {
    const kept = await readFile(file, 'utf8');
    createPublicKey(kept);
    return kept;
  } catch (err) {
    // A file that holds no key is of no use to anybody, and replaced.
    if (errnoOf(err) !== undefined && errnoOf(err) !== 'ENOENT') throw err;
  }
  const key = createKeyPem();
  await mkdir(path.dirname(file), { recursive: true, mode: 0o755 });
  await writeFileAtomic(file, key, 0o600);
  return key;
}

async function untilHealthy({ healthz, clock, log }: BootstrapDeps, signal: AbortSignal): Promise<void> {
  const endMs = clock.monotonicMs() + HEALTHZ_WAIT_MS;
  while (!signal.aborted) {
    try {
      return await healthz(signal);
    } catch (err) {
      if (clock.monotonicMs() >= endMs) return log.warn({ err }, 'the API server is not healthy, asking it anyway');
      log.debug({ err }, 'waiting for the API server');
    }
    await clock.sleep(HEALTHZ_PERIOD_MS * (1 + HEALTHZ_JITTER * Math.random()), signal);
  }
}

async function createOrReuse(
  spec: RequestSpec,
  client: ApiClient,
  signal: AbortSignal,
): Promise<CertificateSigningRequest> {
  const wanted = signingRequest(spec);
  try {
    return await client.create(certificateSigningRequests, {}, wanted, { signal });
  } catch (err) {
    if (!isAlreadyExists(err)) throw err;
  }
  const there = await client.get(certificateSigningRequests, { name: spec.name! }, { signal });
  certificateIn(there); // throws when it was refused
  const difference = differenceOf(wanted, there);
  if (difference === undefined) return there;
  throw new AgentError(`the certificate signing request ${spec.name} is not ours: ${difference} differs`, {
    code: 'CSR_FOREIGN',
    hint: `look at it with kubectl describe csr ${spec.name}, and delete it when it may go`,
  });
}

/** What of the request in the API is not as we asked; the server fills in the rest. */
function differenceOf(wanted: CertificateSigningRequest, there: CertificateSigningRequest): string | undefined {
  if (wanted.spec.signerName !== there.spec.signerName) return 'the signer';
  if (JSON.stringify(wanted.spec.usages) !== JSON.stringify(there.spec.usages)) return 'the usages';
  const [ours, theirs] = [parsed(wanted), parsed(there)];
  if (ours === undefined || theirs === undefined) return 'the request';
  if (!Buffer.from(ours.publicKey).equals(theirs.publicKey)) return 'the public key';
  const facts = (c: ParsedCsr) => [c.commonName, c.organizations, c.dnsNames, c.ipAddresses, c.emailAddresses, c.uris];
  return JSON.stringify(facts(ours)) === JSON.stringify(facts(theirs)) ? undefined : 'the subject';
}

function parsed(request: CertificateSigningRequest): ParsedCsr | undefined {
  try {
    return parseCsr(Buffer.from(request.spec.request, 'base64').toString('utf8'));
  } catch {
    return undefined; // not ours, whatever it is
  }
}
