// How the API server treats what nodes and users want signed: made from the flags of kube-controller-manager.
import type { KeyPair } from '../../api/pki.ts';
import { type Authorizer, alwaysAllow } from '../../apiserver/auth/authorizer.ts';
import type { CertificatesOptions } from '../../apiserver/controllers/certificates.ts';
import { AgentError } from '../../core/errors.ts';

export interface SigningFlags {
  readonly clusterSigningCertFile?: string;
  readonly clusterSigningKeyFile?: string;
  /** ms */
  readonly clusterSigningDuration: number;
}

/** @throws {AgentError} CONFIG_INVALID */
export async function certificatesOptions(
  flags: SigningFlags,
  authorizer: Authorizer = alwaysAllow,
  readFlagFile: (flag: string, file: string) => Promise<string>,
): Promise<CertificatesOptions> {
  return {
    ca: await signingCa(flags, readFlagFile),
    durationMs: flags.clusterSigningDuration,
    mayCreate: mayCreateRequests(authorizer),
  };
}

async function signingCa(
  { clusterSigningCertFile: cert, clusterSigningKeyFile: key }: SigningFlags,
  readFlagFile: (flag: string, file: string) => Promise<string>,
): Promise<KeyPair | undefined> {
  if (cert === undefined && key === undefined) return undefined;
  if (cert === undefined || key === undefined) {
    throw new AgentError('--cluster-signing-cert-file and --cluster-signing-key-file: expected both or neither', {
      code: 'CONFIG_INVALID',
    });
  }
  return {
    cert: await readFlagFile('cluster-signing-cert-file', cert),
    key: await readFlagFile('cluster-signing-key-file', key),
  };
}

/** What kube-controller-manager asks in a SubjectAccessReview, asked of the authorizer itself. */
function mayCreateRequests(authorizer: Authorizer): CertificatesOptions['mayCreate'] {
  return async (user, subresource) => {
    const { decision } = await authorizer.authorize({
      user,
      isResource: true,
      verb: 'create',
      group: 'certificates.k8s.io',
      version: '*',
      resource: 'certificatesigningrequests',
      subresource,
      namespace: '',
      name: '',
      path: '',
    });
    return decision === 'allow';
  };
}
