import { expect, test } from 'vitest';
import type { Node } from '../../../api/kinds.ts';
import { csiNodes, nodes } from '../../../api/resources.ts';
import { FakeApi } from '../../../client/fake-client.ts';
import { systemClock } from '../../../core/clock.ts';
import { silentLog } from '../../../core/log.ts';
import { CsiDrivers } from './csi-drivers.ts';
import { MIGRATED_ANNOTATION, MIGRATED_PLUGINS } from './csi-migration.ts';
import { CsiNodeObject, type DriverInfo, NODE_ID_ANNOTATION, nodePatch, withDriver } from './csi-node.ts';

const info: DriverInfo = { name: 'a.csi', nodeId: 'id-a', maxVolumes: 3, topology: { 'z/zone': 'one', 'a/rack': 'r' } };
const signal = AbortSignal.timeout(30_000);

test('a driver replaces its own entry and no other', () => {
  const other = { name: 'b.csi', nodeID: 'id-b' };
  const entry = { name: 'a.csi', nodeID: 'id-a', topologyKeys: ['a/rack', 'z/zone'], allocatable: { count: 3 } };
  expect(withDriver([{ name: 'a.csi', nodeID: 'old' }, other], info)).toEqual([other, entry]);
  expect(withDriver([entry, other], info)).toBeUndefined();
  expect(withDriver([], { ...info, maxVolumes: 0, topology: {} })).toEqual([
    { name: 'a.csi', nodeID: 'id-a', topologyKeys: [] },
  ]);
  expect(withDriver([], { ...info, maxVolumes: 2 ** 40 })?.[0]?.allocatable).toEqual({ count: 2 ** 31 - 1 });
});

test('a topology label that has another value is not overwritten', () => {
  const node: Node = { metadata: { labels: { 'z/zone': 'two' } } };
  expect(() => nodePatch(node, info)).toThrow(
    'detected topology value collision: driver reported "z/zone:one" but existing label is "z/zone:two"',
  );
});

test('an annotation that is broken is written anew', () => {
  const node: Node = { metadata: { annotations: { [NODE_ID_ANNOTATION]: '[oops' } } };
  expect(nodePatch(node, { ...info, topology: {} })).toEqual({
    annotations: { [NODE_ID_ANNOTATION]: '{"a.csi":"id-a"}' },
    labels: {},
  });
});

test('drivers come and go: CSINode, annotation and labels, while others write the node', async () => {
  const api = new FakeApi();
  await api.create(nodes, {}, { metadata: { name: 'n', uid: 'node-uid' } } as Node);
  const object = new CsiNodeObject('n', { client: api, clock: systemClock });
  await object.ensure(signal);
  expect((await api.get(csiNodes, { name: 'n' })).metadata?.ownerReferences).toEqual([
    { apiVersion: 'v1', kind: 'Node', name: 'n', uid: (await api.get(nodes, { name: 'n' })).metadata?.uid },
  ]);
  const second = { name: 'b.csi', nodeId: 'id-b', maxVolumes: 0, topology: {} };
  await Promise.all([object.install(info, signal), object.install(second, signal)]);
  const node = await api.get(nodes, { name: 'n' });
  expect(JSON.parse(node.metadata?.annotations?.[NODE_ID_ANNOTATION] ?? '')).toEqual({
    'a.csi': 'id-a',
    'b.csi': 'id-b',
  });
  expect(node.metadata?.labels).toEqual({ 'z/zone': 'one', 'a/rack': 'r' });
  expect((await api.get(csiNodes, { name: 'n' })).spec?.drivers.map((d) => d.name).sort()).toEqual(['a.csi', 'b.csi']);
  await object.uninstall('a.csi', signal);
  await object.uninstall('b.csi', signal);
  await object.uninstall('b.csi', signal);
  const after = await api.get(nodes, { name: 'n' });
  expect(after.metadata?.annotations?.[NODE_ID_ANNOTATION]).toBeUndefined();
  expect(after.metadata?.labels).toEqual({ 'z/zone': 'one', 'a/rack': 'r' });
  expect((await api.get(csiNodes, { name: 'n' })).spec?.drivers).toEqual([]);
});

test('the CSINode tells that volumes of clouds go to CSI drivers, also one that was made before', async () => {
  const api = new FakeApi();
  await api.create(nodes, {}, { metadata: { name: 'n', uid: 'node-uid' } } as Node);
  const object = new CsiNodeObject('n', { client: api, clock: systemClock });
  const told = async () => (await api.get(csiNodes, { name: 'n' })).metadata?.annotations?.[MIGRATED_ANNOTATION];
  await object.ensure(signal);
  expect(await told()).toMatch(/^kubernetes\.io\/aws-ebs,.*,kubernetes\.io\/vsphere-volume$/);
  const body = { metadata: { annotations: { [MIGRATED_ANNOTATION]: null, other: 'kept' } } };
  await api.patch(csiNodes, { name: 'n' }, { type: 'merge', body });
  await object.ensure(signal);
  expect(await told()).toBe(MIGRATED_PLUGINS);
  expect((await api.get(csiNodes, { name: 'n' })).metadata?.annotations?.other).toBe('kept');
});

test.each([
  [[], /empty list for supported versions/],
  [['0.3.0'], /None of the versions specified \["0.3.0"\] are supported/],
  [['2.0.0', 'x'], /None of the versions/],
])('versions %j are refused', (supportedVersions, why) => {
  const drivers = new CsiDrivers({ node: {} as CsiNodeObject, log: silentLog, onRegistered: () => {} });
  const plugin = { type: 'CSIPlugin', name: 'a.csi', endpoint: '/x', supportedVersions };
  expect(() => drivers.validate(plugin)).toThrow(why);
  expect(() => drivers.validate({ ...plugin, name: '../a', supportedVersions: ['1.0.0'] })).toThrow(/no driver name/);
  expect(() => drivers.validate({ ...plugin, supportedVersions: ['1.0.0'] })).not.toThrow();
});
