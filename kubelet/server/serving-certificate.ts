// The certificate of the node's HTTPS server: the configured files, else a pair kept in the certificate directory, made
// once and signed by itself. After cmd/kubelet/app/server.go initializeTLS.
import { createPrivateKey, X509Certificate } from 'node:crypto';
import { mkdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { createSelfSignedServingCert, type KeyPair, YEAR_MS } from '../../api/pki.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError, errnoOf } from '../../core/errors.ts';
import { writeFileAtomic } from '../../host/files.ts';

export interface ServingCertificateOptions {
  /** Both or neither; they win over `certDir`. */
  readonly tlsCertFile: string | undefined;
  readonly tlsPrivateKeyFile: string | undefined;
  /** Holds kubelet.crt and kubelet.key. */
  readonly certDir: string;
  readonly nodeName: string;
  /** Names and addresses the self-made certificate is for, beside the node's name. */
  readonly addresses: readonly string[];
}

/** @throws {AgentError} SERVING_CERT_UNREADABLE */
export async function loadServingCertificate(options: ServingCertificateOptions, clock: Clock): Promise<KeyPair> {
  const { tlsCertFile, tlsPrivateKeyFile, certDir } = options;
  if (tlsCertFile !== undefined && tlsPrivateKeyFile !== undefined) {
    return { cert: await readPem(tlsCertFile), key: await readPem(tlsPrivateKeyFile) };
  }
  const files = { cert: path.join(certDir, 'kubelet.crt'), key: path.join(certDir, 'kubelet.key') };
  return (await existingPair(files, clock.now())) ?? makePair(files, options, clock);
}

/** A pair from an earlier start, if it still serves. A crash between both files leaves ones that do not fit. */
async function existingPair(files: KeyPair, nowMs: number): Promise<KeyPair | undefined> {
  try {
    const pair = { cert: await readFile(files.cert, 'utf8'), key: await readFile(files.key, 'utf8') };
    const certificate = new X509Certificate(pair.cert);
    const fits = certificate.checkPrivateKey(createPrivateKey(pair.key));
    return fits && Date.parse(certificate.validTo) > nowMs ? pair : undefined;
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return undefined;
    throw unreadable(files.cert, cause);
  }
}

async function makePair(files: KeyPair, options: ServingCertificateOptions, clock: Clock): Promise<KeyPair> {
  const isIp = (a: string) => /^[0-9.]+$/.test(a) || a.includes(':');
  const names = {
    dnsNames: [options.nodeName, ...options.addresses.filter((a) => !isIp(a) && a !== options.nodeName)],
    ipAddresses: options.addresses.filter(isIp),
  };
  const pair = createSelfSignedServingCert(options.nodeName, names, { nowMs: clock.now(), lifetimeMs: YEAR_MS });
  await mkdir(options.certDir, { recursive: true, mode: 0o755 });
  await writeFileAtomic(files.key, pair.key, 0o600);
  await writeFileAtomic(files.cert, pair.cert, 0o644);
  return pair;
}

async function readPem(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw unreadable(file, cause);
  }
}

function unreadable(file: string, cause: unknown): AgentError {
  const hint = 'check tlsCertFile, tlsPrivateKeyFile and the certificate directory';
  return new AgentError(`cannot read the serving certificate from ${file}`, {
    code: 'SERVING_CERT_UNREADABLE',
    cause,
    hint,
  });
}
