import { readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { GATES, resolveGates } from './feature-gates.ts';
import { type Fields, settle } from './field.ts';
import { KINDS } from './fields.ts';
import { FLAGS } from './flag-table.ts';
import { kubeletFields } from './kubelet-fields.ts';

function paths(fields: Fields, prefix = ''): string[] {
  return Object.entries(fields).flatMap(([name, f]) =>
    f.fields === undefined ? [`${prefix}${name}`] : paths(f.fields, `${prefix}${name}.`),
  );
}

test('every field that is not a group has a type that says what it expects', () => {
  for (const { fields } of Object.values(KINDS)) {
    expect(paths(fields).length).toBeGreaterThan(5);
    expect(() => settle(fields, {})).not.toThrow();
  }
});

test('what is honoured is read by what makes the settings of the parts', async () => {
  const tables = /-fields\.ts$|^fields\.ts$|flag-table|configuration-doc|^rules\.ts$|\.test\.ts$/;
  const names = (await readdir(import.meta.dirname)).filter((name) => name.endsWith('.ts') && !tables.test(name));
  const readers = await Promise.all(names.map((name) => readFile(path.join(import.meta.dirname, name), 'utf8')));
  const source = readers.join('\n');
  const forgotten = Object.entries(kubeletFields as Fields)
    .filter(([, f]) => f.effect === 'used' && f.fields === undefined)
    .map(([name]) => name)
    .filter((name) => !new RegExp(`\\.${name}\\b|\\b${name}\\b[^;]*\\} = c\\b`).test(source));
  expect(forgotten).toEqual([]);
});

test('no sub-command has a flag twice', () => {
  for (const flags of Object.values(FLAGS)) {
    const names = flags.map((flag) => flag.name);
    expect(names.filter((name, i) => names.indexOf(name) !== i)).toEqual([]);
  }
});

test('the agent has every flag of the kubelet', () => {
  const flags = new Map(FLAGS.agent.map((flag) => [flag.name, flag]));
  for (const flag of FLAGS.kubelet) expect(flags.get(flag.name)).toBe(flag);
});

test.each([
  [
    'agent',
    [
      'parts',
      'proxy-mode',
      'network-backend',
      'cluster-cidr',
      'kube-api-qps',
      'cpu-cfs-quota',
      'fail-cgroupv1',
      'provider-id',
      'eviction-hard',
      'cluster-dns',
    ],
  ],
  [
    'kubelet',
    [
      'cgroups-per-qos',
      'tls-cert-file',
      'pod-cidr',
      'node-status-max-images',
      'cpu-manager-policy',
      'reserved-cpus',
      'bootstrap-kubeconfig',
      'fail-swap-on',
      'make-iptables-util-chains',
      'seccomp-default',
    ],
  ],
  ['proxy', ['nodeport-addresses', 'conntrack-tcp-be-liberal', 'ipvs-strict-arp', 'detect-local-mode']],
  ['network', ['iface', 'kube-subnet-mgr', 'net-config-path', 'subnet-file', 'public-ip']],
] as const)("%s knows upstream's names", (which, names) => {
  const known = new Set(FLAGS[which].map((flag) => flag.name));
  expect(names.filter((name) => !known.has(name))).toEqual([]);
});

test('flags that were taken away upstream are unknown', () => {
  const known = new Set(FLAGS.agent.map((flag) => flag.name));
  for (const name of ['container-runtime', 'network-plugin', 'cni-bin-dir', 'max-parallel-image-pulls', 'memory-swap'])
    expect(known.has(name)).toBe(false);
});

test('the gates of v1.36 are known', () => {
  expect(GATES.size).toBe(70 + 4 + 82 + 11 + 47 + 5 + 4 + 7);
  expect(GATES.get('MemoryQoS')).toMatchObject({ stage: 'Alpha', on: false, locked: false });
});

test('AllAlpha and AllBeta change what is not set by name and not locked', () => {
  const faults: string[] = [];
  const values = resolveGates({ AllAlpha: true, AllBeta: false, EventedPLEG: false, EnvFiles: true }, (name) =>
    faults.push(name),
  );
  expect(
    ['MemoryQoS', 'EventedPLEG', 'ContainerCheckpoint', 'EnvFiles', 'ImageVolume'].map((name) => values.get(name)),
  ).toEqual([true, false, false, true, true]);
  expect(faults).toEqual(['StorageVersionAPI']); // alpha, and what it needs is beta
});
