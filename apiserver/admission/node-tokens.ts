// Which tokens a node gets: for its pods, bound to them so that they end with them, and for those to whom the pod itself
// speaks. After plugin/pkg/admission/noderestriction (admitServiceAccount, podReferencesAudience).
import type { CSIDriver, PersistentVolume, PersistentVolumeClaim, TokenRequest } from '../../api/kinds.ts';
import type { Pod, Volume } from '../../api/pod.ts';
import { csiDrivers, persistentVolumeClaims, persistentVolumes, pods } from '../../api/resources.ts';
import type { AdmissionRequest } from '../admission.ts';
import type { Authorizer } from '../auth/authorizer.ts';
import type { ObjectReader } from '../registry/reader.ts';
import { notFound } from '../status-error.ts';

/** Given to nodes that need tokens for others, e.g. for registries: the audience is the resource of the rule. */
const AUDIENCE_VERB = 'request-serviceaccounts-token-audience';

/** Why `node` gets no such token; undefined: no objection. @throws {StatusError} 404 for one of a pod that is gone. */
export async function tokenFault(
  request: AdmissionRequest,
  node: string,
  reader: ObjectReader,
  authorizer: Authorizer,
): Promise<string | undefined> {
  if (request.subresource !== 'token' || request.operation !== 'CREATE') return undefined;
  const { spec } = request.object as TokenRequest;
  const ref = spec?.boundObjectRef;
  if (ref?.apiVersion !== 'v1' || ref.kind !== 'Pod' || !ref.name) return 'node requested token not bound to a pod';
  if (!ref.uid) return 'node requested token with a pod binding without a uid';
  const pod = reader.get(pods, { namespace: request.namespace, name: ref.name });
  if (pod === undefined) throw notFound({ group: '', resource: 'pods' }, ref.name);
  if (pod.metadata?.uid !== ref.uid) {
    const why = 'does not match the UID in record. The object might have been deleted and then recreated';
    return `the UID in the bound object reference (${ref.uid}) ${why}`;
  }
  if (pod.spec?.nodeName !== node) return 'node requested token bound to a pod scheduled on a different node';
  return audienceFault(request, spec?.audiences ?? [], pod, reader, authorizer);
}

async function audienceFault(
  request: AdmissionRequest,
  audiences: readonly string[],
  pod: Pod,
  reader: ObjectReader,
  authorizer: Authorizer,
): Promise<string | undefined> {
  if (audiences.length > 1) return 'node may only request 0 or 1 audiences';
  const audience = audiences[0] ?? '';
  if (audiencesOf(pod, reader).has(audience)) return undefined;
  const { user, namespace, name } = request;
  const { decision } = await authorizer.authorize({
    user,
    isResource: true,
    verb: AUDIENCE_VERB,
    group: '',
    version: 'v1',
    resource: audience,
    subresource: '',
    namespace,
    name,
    path: '',
  });
  if (decision === 'allow') return undefined;
  const why = `${user.name} is not authorized to request tokens for this audience`;
  return `audience "${audience}" not found in pod spec volume, ${why}`;
}

/** To whom tokens of the pod's volumes speak; '': the API server. */
function audiencesOf(pod: Pod, reader: ObjectReader): Set<string> {
  const found = new Set<string>();
  for (const volume of pod.spec?.volumes ?? []) {
    for (const { serviceAccountToken: token } of volume.projected?.sources ?? []) {
      if (token !== undefined) found.add(token.audience ?? '');
    }
    const name = driverOf(pod, volume, reader);
    const driver = name === undefined ? undefined : reader.get<CSIDriver>(csiDrivers, { name });
    for (const { audience } of driver?.spec?.tokenRequests ?? []) found.add(audience ?? '');
  }
  return found;
}

/** The CSI driver behind a volume. */
function driverOf(pod: Pod, volume: Volume, reader: ObjectReader): string | undefined {
  if (volume.csi !== undefined) return volume.csi.driver;
  const claimName = volume.ephemeral ? `${pod.metadata?.name}-${volume.name}` : volume.persistentVolumeClaim?.claimName;
  if (claimName === undefined) return undefined;
  const namespace = pod.metadata?.namespace ?? '';
  const claim = reader.get<PersistentVolumeClaim>(persistentVolumeClaims, { namespace, name: claimName });
  const name = claim?.spec?.volumeName;
  return name ? reader.get<PersistentVolume>(persistentVolumes, { name })?.spec?.csi?.driver : undefined;
}
