import { expect, test } from 'vitest';
import type { PodSpec } from './pod.ts';
import { apiReference } from './pod-references.ts';

const volume = (source: object) => ({ volumes: [{ name: 'v', ...source }] });
const projected = (source: object) => volume({ projected: { sources: [{ downwardAPI: {} }, source] } });
const container = (more: object) => ({ initContainers: [{ name: 'i', ...more }] });

test.each<[string, object, string | undefined]>([
  ['nothing', volume({ hostPath: { path: '/' } }), undefined],
  ['fields of its own', projected({ downwardAPI: { items: [] } }), undefined],
  ['an account', { serviceAccountName: 'a' }, 'serviceaccounts'],
  ['a pull secret', { imagePullSecrets: [{ name: 's' }] }, 'secrets'],
  ['all of a secret', container({ envFrom: [{ secretRef: { name: 's' } }] }), 'secrets'],
  ['a key of a map', container({ env: [{ name: 'A', valueFrom: { configMapKeyRef: {} } }] }), 'configmaps'],
  ['a secret', volume({ secret: {} }), 'secrets'],
  ['a secret among others', projected({ secret: {} }), 'secrets'],
  ['a map among others', projected({ configMap: {} }), 'configmaps'],
  ['the secret of a driver', volume({ csi: { driver: 'd', nodePublishSecretRef: { name: 's' } } }), 'secrets'],
  ['a driver', volume({ csi: { driver: 'd' } }), 'csidrivers (via CSI volumes)'],
  ['a claim', volume({ persistentVolumeClaim: {} }), 'persistentvolumeclaims'],
  ['a claim of its own', volume({ ephemeral: {} }), 'persistentvolumeclaims (via ephemeral volumes)'],
  ['a token', projected({ serviceAccountToken: {} }), 'serviceaccounts (via projected volumes)'],
  ['a bundle', projected({ clusterTrustBundle: {} }), 'clustertrustbundles'],
  ['a certificate', projected({ podCertificate: {} }), 'podcertificates'],
  ['devices', { resourceClaims: [{ name: 'd' }] }, 'resourceclaims'],
])('a pod that needs %s', (_, spec, kind) => {
  expect(apiReference({ containers: [{ name: 'c' }], ...spec } as PodSpec)).toBe(kind);
});
