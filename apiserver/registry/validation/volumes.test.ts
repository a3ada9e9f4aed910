import { expect, test } from 'vitest';
import type { Volume } from '../../../api/pod.ts';
import { volumesFaults } from './volumes.ts';

const MODE = 'must be a number between 0 and 0777 (octal), both inclusive';
const TYPES = '"", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"';
const FIELDS = '"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"';
const file = (more: object) => ({ downwardAPI: { items: [{ path: 'p', ...more }] } });
const show = (fieldPath: string) => file({ fieldRef: { fieldPath } });
const project = (...sources: object[]) => ({ projected: { sources } });

test.each<[object, ...string[]]>([
  [{ emptyDir: {} }],
  [{}, ': Required value: must specify a volume type'],
  [{ emptyDir: {}, hostPath: { path: '/x' } }, '.hostPath: Forbidden: may not specify more than 1 volume type'],
  [{ hostPath: { path: '/x', type: 'FileOrCreate' } }],
  [{ hostPath: { path: '' } }, '.hostPath.path: Required value'],
  [
    { hostPath: { path: '../x', type: 'Foo' } },
    '.hostPath.path: Invalid value: "../x": must not contain \'..\'',
    `.hostPath.type: Unsupported value: "Foo": supported values: ${TYPES}`,
  ],
  [
    { configMap: { defaultMode: 512, items: [{ key: '', path: '', mode: -1 }] } },
    '.configMap.name: Required value',
    `.configMap.defaultMode: Invalid value: 512: ${MODE}`,
    '.configMap.items[0].key: Required value',
    '.configMap.items[0].path: Required value',
    `.configMap.items[0].mode: Invalid value: -1: ${MODE}`,
  ],
  [{ secret: { secretName: 's', defaultMode: 511 } }],
  [{ secret: {} }, '.secret.secretName: Required value'],
  [show('metadata.labels')],
  [show("metadata.annotations['a']")],
  [
    show('status.podIP'),
    `.downwardAPI.items[0].fieldRef.fieldPath: Unsupported value: "status.podIP": supported values: ${FIELDS}`,
  ],
  [
    show('foo'),
    '.downwardAPI.items[0].fieldRef.fieldPath: Invalid value: "foo": error converting fieldPath: field label not supported: foo',
  ],
  [file({}), '.downwardAPI.items[0]: Required value: one of fieldRef and resourceFieldRef is required'],
  [
    file({ resourceFieldRef: { resource: 'limits.cpu' } }),
    '.downwardAPI.items[0].resourceFieldRef.containerName: Required value',
  ],
  [
    file({ fieldRef: { fieldPath: 'metadata.uid' }, resourceFieldRef: { resource: 'limits.cpu' } }),
    '.downwardAPI.items[0]: Invalid value: "resource": fieldRef and resourceFieldRef can not be specified simultaneously',
  ],
  [
    project({ configMap: { name: 'c' }, secret: { name: 's' } }),
    '.projected.sources[0].secret: Forbidden: may not specify more than 1 volume type',
  ],
  [project({ secret: {} }), '.projected.sources[0].secret.name: Required value'],
  [
    project({ serviceAccountToken: { path: '', expirationSeconds: 599 } }),
    '.projected.sources[0].serviceAccountToken.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes',
    '.projected.sources[0].serviceAccountToken.path: Required value',
  ],
  [{ persistentVolumeClaim: {} }, '.persistentVolumeClaim.claimName: Required value'],
  [{ csi: {} }, '.csi.driver: Required value'],
  [{ ephemeral: {} }, '.ephemeral.volumeClaimTemplate: Required value'],
])('a volume: %j', (source, ...faults) => {
  const volumes = [{ name: 'v', ...source } as Volume];
  const told = volumesFaults(volumes, 'spec.volumes').map((f) => `${f.field}: ${f.message}`);
  expect(told).toEqual(faults.map((text) => `spec.volumes[0]${text}`));
});

test('names are labels, each used once', () => {
  const volumes: Volume[] = [
    { name: 'v', emptyDir: {} },
    { name: 'v', emptyDir: {} },
    { name: '', emptyDir: {} },
    { name: 'A', emptyDir: {} },
  ];
  const told = volumesFaults(volumes, 'spec.volumes').map((f) => `${f.field}: ${f.message}`);
  expect(told).toEqual([
    'spec.volumes[1].name: Duplicate value: "v"',
    'spec.volumes[2].name: Required value',
    expect.stringMatching(/^spec\.volumes\[3\]\.name: Invalid value: "A": a lowercase RFC 1123 label/),
  ]);
});
