// Every pod acts as a ServiceAccount and finds its token, the CA and its namespace mounted. Source:
// plugin/pkg/admission/serviceaccount.
import type { ServiceAccount } from '../../api/kinds.ts';
import { type Container, isMirrorPod, type Pod, type PodSpec, type Volume } from '../../api/pod.ts';
import { serviceAccounts } from '../../api/resources.ts';
import type { Clock } from '../../core/clock.ts';
import type { AdmissionPlugin } from '../admission.ts';
import { randomSuffix } from '../registry/metadata.ts';
import type { ObjectReader } from '../registry/reader.ts';
import { badRequest, forbidden } from '../status-error.ts';

const MOUNT_PATH = '/var/run/secrets/kubernetes.io/serviceaccount';
const VOLUME_PREFIX = 'kube-api-access-';
/** An hour and seven seconds: how token issuers recognise the tokens of this volume. */
const TOKEN_SECONDS = 3607;
const FILE_MODE = 0o644;
/** The `default` account is made a moment after its namespace. */
const LOOKUP_ATTEMPTS = 10;
const LOOKUP_STEP_MS = 100;

export function serviceAccount(reader: ObjectReader, clock: Clock): AdmissionPlugin {
  const lookUp = async (namespace: string, name: string): Promise<ServiceAccount | undefined> => {
    for (let attempt = 1; ; attempt++) {
      const found = reader.get(serviceAccounts, { namespace, name });
      if (found !== undefined || attempt > LOOKUP_ATTEMPTS || name !== 'default') return found;
      await clock.sleep(LOOKUP_STEP_MS);
    }
  };
  return {
    name: 'ServiceAccount',
    async mutate({ operation, group, resource, subresource, object, namespace, name }) {
      if (operation !== 'CREATE' || group !== '' || resource !== 'pods' || subresource !== '') return;
      const pod = object as Pod;
      if (pod.spec === undefined) return;
      if (isMirrorPod(pod)) return checkMirrorPod(pod.spec);
      pod.spec.serviceAccountName ||= 'default';
      pod.spec.serviceAccount = pod.spec.serviceAccountName;
      const account = await lookUp(namespace, pod.spec.serviceAccountName);
      if (account === undefined) {
        const wanted = pod.spec.serviceAccountName;
        const why = `error looking up service account ${namespace}/${wanted}: serviceaccount "${wanted}" not found`;
        throw forbidden({ group, resource }, name, why);
      }
      if ((pod.spec.imagePullSecrets?.length ?? 0) === 0 && account.imagePullSecrets !== undefined) {
        pod.spec.imagePullSecrets = structuredClone(account.imagePullSecrets);
      }
      const automount = pod.spec.automountServiceAccountToken ?? account.automountServiceAccountToken ?? true;
      if (automount) mountToken(pod.spec);
    },
  };
}

/** @throws {StatusError} 400: a mirror pod has no identity in the API. */
function checkMirrorPod(spec: PodSpec): void {
  if (spec.serviceAccountName) throw badRequest('a mirror pod may not reference service accounts');
  if (spec.volumes?.some((v) => v.projected?.sources?.some((s) => s.serviceAccountToken !== undefined))) {
    throw badRequest('a mirror pod may not use ServiceAccountToken volume projections');
  }
}

function mountToken(spec: PodSpec): void {
  const known = spec.volumes?.find((v) => v.name.startsWith(VOLUME_PREFIX));
  const name = known?.name ?? unusedName(spec);
  let mounted = false;
  const mount = (container: Container) => {
    if (container.volumeMounts?.some((m) => m.mountPath === MOUNT_PATH)) return;
    container.volumeMounts = [...(container.volumeMounts ?? []), { name, readOnly: true, mountPath: MOUNT_PATH }];
    mounted = true;
  };
  for (const container of [...(spec.initContainers ?? []), ...(spec.containers ?? [])]) mount(container);
  if (mounted && known === undefined) spec.volumes = [...(spec.volumes ?? []), tokenVolume(name)];
}

function unusedName(spec: PodSpec): string {
  const names = new Set((spec.volumes ?? []).map((v) => v.name));
  for (;;) {
    const name = `${VOLUME_PREFIX}${randomSuffix()}`;
    if (!names.has(name)) return name;
  }
}

function tokenVolume(name: string): Volume {
  const namespace = { path: 'namespace', fieldRef: { apiVersion: 'v1', fieldPath: 'metadata.namespace' } };
  return {
    name,
    projected: {
      defaultMode: FILE_MODE,
      sources: [
        { serviceAccountToken: { expirationSeconds: TOKEN_SECONDS, path: 'token' } },
        { configMap: { name: 'kube-root-ca.crt', items: [{ key: 'ca.crt', path: 'ca.crt' }] } },
        { downwardAPI: { items: [namespace] } },
      ],
    },
  };
}
