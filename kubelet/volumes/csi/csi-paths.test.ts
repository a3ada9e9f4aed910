import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { attachmentName, CsiPaths, driverOf, ephemeralHandle, uniqueVolumeName } from './csi-paths.ts';

const hex = (text: string) => createHash('sha256').update(text).digest('hex');

test('names that other programs reckon too', () => {
  expect(attachmentName('vol', 'drv', 'node')).toBe(`csi-${hex('voldrvnode')}`);
  expect(ephemeralHandle('uid', 'v')).toBe(`csi-${hex('uidv')}`);
  expect(uniqueVolumeName('drv', 'vol')).toBe('kubernetes.io/csi/drv^vol');
  expect(driverOf(uniqueVolumeName('drv.test', 'a^b'))).toBe('drv.test');
});

test('the layout on disk is that of the kubelet', () => {
  const paths = new CsiPaths('/r');
  const csi = '/r/plugins/kubernetes.io/csi';
  expect(paths.publishTarget('u', 'pv')).toBe('/r/pods/u/volumes/kubernetes.io~csi/pv/mount');
  expect(paths.stagingTarget('drv', 'a/b')).toBe(`${csi}/drv/${hex('a/b')}/globalmount`);
  expect(paths.podDeviceLink('u', 'pv')).toBe('/r/pods/u/volumeDevices/kubernetes.io~csi/pv');
  expect(paths.blockStagingTarget('pv')).toBe(`${csi}/volumeDevices/staging/pv`);
  expect(paths.blockPublishTarget('u', 'pv')).toBe(`${csi}/volumeDevices/publish/pv/u`);
  expect(paths.blockDataDir('pv')).toBe(`${csi}/volumeDevices/pv/data`);
});

test.each(['..', '.', 'a/b', '', '../x', 'a\0b'])('the name %j leads nowhere', (name) => {
  const paths = new CsiPaths('/r');
  expect(() => paths.publishTarget('u', name)).toThrow(/is no name of/);
  expect(() => paths.publishTarget(name, 'pv')).toThrow(/is no name of/);
  expect(() => paths.stagingDir(name, 'h')).toThrow(/is no name of/);
});
