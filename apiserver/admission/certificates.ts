// Who may approve or sign for which signer, and what nobody may ask for. After plugin/pkg/admission/certificates
// (approval, signing, subjectrestriction).
import { isDeepStrictEqual } from 'node:util';
import type { CertificateSigningRequest } from 'kubernetes-types/certificates/v1.js';
import { PkiError, parseCsr } from '../../api/pki.ts';
import type { AdmissionPlugin, AdmissionRequest } from '../admission.ts';
import type { Authorizer } from '../auth/authorizer.ts';
import { forbidden } from '../status-error.ts';

const GROUP = 'certificates.k8s.io';
const RESOURCE = 'certificatesigningrequests';
const CLIENT_SIGNER = 'kubernetes.io/kube-apiserver-client';
const PRIVILEGED_GROUP = 'system:masters';

export function certificateAdmission(authorizer: Authorizer): AdmissionPlugin {
  return {
    name: 'CertificateSigningRequests',
    async validate(request) {
      if (request.group !== GROUP || request.resource !== RESOURCE) return;
      const next = request.object as CertificateSigningRequest | undefined;
      const old = request.oldObject as CertificateSigningRequest | undefined;
      if (request.operation === 'CREATE' && request.subresource === '' && next !== undefined)
        refuseMasters(request, next);
      if (request.operation !== 'UPDATE' || old === undefined || next === undefined) return;
      if (request.subresource === 'approval') await demand('approve', request, old, authorizer);
      const issues = next.status?.certificate !== old.status?.certificate;
      const fails = !isDeepStrictEqual(failuresOf(next), failuresOf(old));
      if (request.subresource === 'status' && (issues || fails)) await demand('sign', request, old, authorizer);
    },
  };
}

/** The permission is on the virtual resource `signers`, by the signer's name or for its whole domain. */
async function demand(
  verb: 'approve' | 'sign',
  request: AdmissionRequest,
  { spec }: CertificateSigningRequest,
  authorizer: Authorizer,
): Promise<void> {
  const { signerName } = spec;
  for (const name of [signerName, `${signerName.split('/')[0]}/*`]) {
    const { decision } = await authorizer.authorize({
      user: request.user,
      isResource: true,
      verb,
      group: GROUP,
      version: '*',
      resource: 'signers',
      subresource: '',
      namespace: '',
      name,
      path: '',
    });
    if (decision === 'allow') return;
  }
  const fault = `user not permitted to ${verb} requests with signerName ${JSON.stringify(signerName)}`;
  throw forbidden({ group: GROUP, resource: RESOURCE }, request.name, fault);
}

function refuseMasters(request: AdmissionRequest, { spec }: CertificateSigningRequest): void {
  if (spec.signerName !== CLIENT_SIGNER) return;
  try {
    const { organizations } = parseCsr(Buffer.from(spec.request, 'base64').toString('utf8'));
    if (!organizations.includes(PRIVILEGED_GROUP)) return;
  } catch (err) {
    if (err instanceof PkiError) return; // validation tells
    throw err;
  }
  const fault = `use of ${CLIENT_SIGNER} signer with ${PRIVILEGED_GROUP} group is not allowed`;
  throw forbidden({ group: GROUP, resource: RESOURCE }, request.name, fault);
}

const failuresOf = (r: CertificateSigningRequest) => (r.status?.conditions ?? []).filter((c) => c.type === 'Failed');
