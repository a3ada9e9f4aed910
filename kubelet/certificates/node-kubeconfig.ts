// The kubeconfig of the node: whether the one that is there still works, and the one that bootstrapping writes. After
// pkg/kubelet/certificate/bootstrap/bootstrap.go.
import { mkdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { stringify } from 'yaml';
import { type ClientConfig, loadKubeconfig, type PemSource } from '../../client/kubeconfig.ts';
import { errnoOf } from '../../core/errors.ts';
import { writeFileAtomic } from '../../host/files.ts';
import { certificatesIn } from './key-pair.ts';

/**
 * Why the node must bootstrap again although `file` may be there; undefined when the credentials in it are good: a
 * client certificate with its key, nothing of which has expired. A token alone does not count.
 */
export async function kubeconfigFault(file: string, nowMs: number): Promise<string | undefined> {
  try {
    await stat(file);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return 'it does not exist';
    throw err;
  }
  try {
    const config = await loadKubeconfig(file);
    const pem = config.clientCert === undefined ? '' : await textOf(config.clientCert);
    if (config.clientKey !== undefined) await textOf(config.clientKey);
    if (config.ca !== undefined) await textOf(config.ca);
    const certificates = certificatesIn(pem);
    if (certificates.length === 0) return 'it has no client certificate';
    const expired = certificates.find((c) => Date.parse(c.validTo) <= nowMs);
    return expired === undefined ? undefined : `its client certificate expired on ${expired.validTo}`;
  } catch (err) {
    return `it cannot be used: ${err instanceof Error ? err.message : String(err)}`;
  }
}

/** Writes a kubeconfig for the server that `bootstrap` names, with the certificate that `pemFile` holds or will hold. */
export async function writeNodeKubeconfig(file: string, bootstrap: ClientConfig, pemFile: string): Promise<void> {
  await mkdir(path.dirname(path.resolve(file)), { recursive: true, mode: 0o755 });
  await writeFileAtomic(file, renderNodeKubeconfig(bootstrap, path.resolve(pemFile)), 0o600);
}

/** Pure. */
function renderNodeKubeconfig(bootstrap: ClientConfig, pemFile: string): string {
  const { server, ca, insecureSkipTlsVerify, tlsServerName } = bootstrap;
  return stringify({
    apiVersion: 'v1',
    clusters: [
      {
        cluster: {
          ...(ca === undefined ? {} : caFields(ca)),
          ...(insecureSkipTlsVerify ? { 'insecure-skip-tls-verify': true } : {}),
          server,
          ...(tlsServerName === undefined ? {} : { 'tls-server-name': tlsServerName }),
        },
        name: 'default-cluster',
      },
    ],
    contexts: [
      { context: { cluster: 'default-cluster', namespace: 'default', user: 'default-auth' }, name: 'default-context' },
    ],
    'current-context': 'default-context',
    kind: 'Config',
    users: [{ name: 'default-auth', user: { 'client-certificate': pemFile, 'client-key': pemFile } }],
  });
}

function caFields(ca: PemSource): Record<string, string> {
  return 'file' in ca
    ? { 'certificate-authority': ca.file }
    : { 'certificate-authority-data': Buffer.from(ca.data).toString('base64') };
}

async function textOf(source: PemSource): Promise<string> {
  return 'data' in source ? source.data : await readFile(source.file, 'utf8');
}
