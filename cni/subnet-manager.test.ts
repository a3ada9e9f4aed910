import { expect, test } from 'vitest';
import type { Node } from '../api/kinds.ts';
import { compactNode } from './compact-node.ts';
import {
  annotation,
  annotationNames,
  hasNetworkUp,
  leasePatch,
  podSubnetOf,
  publishedMac,
  readLease,
} from './subnet-manager.ts';

const MAC = 'c6:d2:32:6f:8f:44';
const peer: Node = {
  metadata: {
    name: 'b',
    creationTimestamp: '2026-05-01T00:00:00Z',
    annotations: {
      [annotation.managed]: 'true',
      [annotation.backendType]: 'vxlan',
      [annotation.backendData]: `{"VNI":1,"VtepMAC":"${MAC}"}`,
      [annotation.publicIp]: '192.0.2.2',
    },
  },
  spec: { podCIDR: '10.244.2.0/24' },
};

function withAnnotation(key: string, value: string): Node {
  return { ...peer, metadata: { ...peer.metadata, annotations: { ...peer.metadata!.annotations, [key]: value } } };
}

test('a lease that flanneld wrote is read', () => {
  expect(readLease(peer, '10.244.0.0/16')).toEqual({
    nodeName: 'b',
    subnet: '10.244.2.0/24',
    publicIp: '192.0.2.2',
    since: Date.parse('2026-05-01T00:00:00Z'),
    backendType: 'vxlan',
    backendData: { VNI: 1, VtepMAC: MAC },
  });
  expect(publishedMac(peer, 1)).toBe(MAC);
  expect(publishedMac(peer, 2)).toBeUndefined();
});

test.each([
  ['unmanaged', withAnnotation(annotation.managed, 'false')],
  ['address with a command in it', withAnnotation(annotation.publicIp, '192.0.2.2\nlink delete eth0')],
  ['broken JSON', withAnnotation(annotation.backendData, '{')],
  ['subnet outside the pod network', { ...peer, spec: { podCIDR: '0.0.0.0/0' } }],
  ['no subnet', { ...peer, spec: {} }],
] as const)('no lease: %s', (_what, node) => {
  expect(readLease(node as Node, '10.244.0.0/16')).toBeUndefined();
});

test('what is published has the form flanneld reads, an overwrite wins, and nothing is written twice', () => {
  const lease = { backendType: 'vxlan', v4: { backendData: { VNI: 1, VtepMAC: MAC }, publicIp: '192.0.2.2' } };
  expect(leasePatch(peer, lease)).toBeUndefined();
  const patch = leasePatch(withAnnotation(annotation.publicIpOverwrite, '198.51.100.1'), lease);
  expect(patch?.body).toEqual({
    metadata: { annotations: { ...peer.metadata!.annotations, [annotation.publicIp]: '198.51.100.1' } },
  });
});

test('of a node what others read is kept, and little else', () => {
  const conditions = [
    { type: 'Ready', status: 'True' },
    { type: 'NetworkUnavailable', status: 'False', reason: 'FlannelIsUp' },
  ];
  const images = [{ names: ['registry.example.com/app:1'], sizeBytes: 1 }];
  const metadata = { ...withAnnotation('example.com/other', 'x').metadata, resourceVersion: '7', uid: 'u' };
  const node: Node = { ...peer, metadata, status: { conditions, images } };
  const kept = compactNode(annotation)(node);
  expect(readLease(kept, '10.244.0.0/16')).toEqual(readLease(node, '10.244.0.0/16'));
  expect(hasNetworkUp(kept)).toBe(true);
  const dual = { ...node, spec: { podCIDR: '10.244.1.0/24', podCIDRs: ['10.244.1.0/24', 'fd00::/64'] } };
  expect(compactNode(annotation)(dual).spec).toEqual(dual.spec);
  expect(kept.metadata).toMatchObject({ resourceVersion: '7', uid: 'u' });
  expect(JSON.stringify(kept)).not.toMatch(/registry|example\.com\/other|Ready/);
});

test('the IPv4 network is found among several', () => {
  expect(podSubnetOf({ spec: { podCIDRs: ['fd00:1::/64', '10.244.3.0/24'] } })).toBe('10.244.3.0/24');
  expect(podSubnetOf({ spec: { podCIDR: 'nonsense' } })).toBeUndefined();
});

test('both families are published in one patch and read apart', () => {
  const lease = {
    backendType: 'vxlan',
    v4: { backendData: { VNI: 1, VtepMAC: MAC }, publicIp: '192.0.2.2' },
    v6: { backendData: { VNI: 1, VtepMAC: '02:00:00:00:00:66' }, publicIp: 'fd00:9::2' },
  };
  const annotations = (leasePatch({}, lease)!.body as Node).metadata!.annotations!;
  expect(annotations['flannel.alpha.coreos.com/backend-v6-data']).toBe('{"VNI":1,"VtepMAC":"02:00:00:00:00:66"}');
  const node = { metadata: { name: 'b', annotations }, spec: { podCIDRs: ['10.244.2.0/24', 'fd00:42:0:2::/64'] } };
  expect(readLease(node, 'fd00:42::/56')).toMatchObject({ subnet: 'fd00:42:0:2::/64', publicIp: 'fd00:9::2' });
  expect(readLease(node, '10.244.0.0/16')).toMatchObject({ subnet: '10.244.2.0/24', publicIp: '192.0.2.2' });
  expect(publishedMac(node, 1, 6)).toBe('02:00:00:00:00:66');
});

test.each([
  ['flannel.example.com', 'flannel.example.com/public-ip'],
  ['example.com/flannel', 'example.com/flannel-public-ip'],
  ['example.com/', 'example.com/public-ip'],
  ['example.com/a-', 'example.com/a-public-ip'],
])('annotation prefix %s', (prefix, expected) => {
  expect(annotationNames(prefix).publicIp).toBe(expected);
});
