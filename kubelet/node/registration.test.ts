import { describe, expect, test } from 'vitest';
import type { Node } from '../../api/kinds.ts';
import { factsOf } from './fake-facts.ts';
import { computeAddresses } from './node-address.ts';
import { computeNodeStatus } from './node-status.ts';
import { initialNode, type NodeIdentity, reconcileNode, withKeptMetadata } from './registration.ts';

const identity: NodeIdentity = {
  nodeName: 'n1',
  hostname: 'n1',
  architecture: 'amd64',
  labels: {},
  taints: [],
  providerId: undefined,
  controllerManagedAttachDetach: true,
};
const PROVIDED = 'alpha.kubernetes.io/provided-node-ip';

describe('with every status', () => {
  const node: Node = initialNode(identity);

  test('a node as it must be is left alone', () => {
    expect(withKeptMetadata(node, identity)).toBe(node);
  });

  test('labels of system and machine are put right, others stay', () => {
    const labels = { ...node.metadata!.labels, 'kubernetes.io/os': 'plan9', mine: 'x' };
    const kept = withKeptMetadata({ ...node, metadata: { ...node.metadata, labels } }, identity);
    expect(kept.metadata?.labels).toEqual({ ...node.metadata!.labels, mine: 'x' });
    expect(kept.metadata?.annotations).toEqual(node.metadata?.annotations);
  });

  test('the cloud controller manager is told of --node-ip, until there is none any more', () => {
    const inCloud = { ...identity, providedNodeIp: '10.0.0.1,fd00::1' };
    const told = withKeptMetadata(node, inCloud);
    expect(told.metadata?.annotations).toMatchObject({ [PROVIDED]: '10.0.0.1,fd00::1' });
    expect(initialNode(inCloud).metadata?.annotations).toMatchObject({ [PROVIDED]: '10.0.0.1,fd00::1' });
    expect(withKeptMetadata(told, identity).metadata?.annotations).not.toHaveProperty(PROVIDED);
  });
});

test('devices of a node that was made anew are those of another', () => {
  const status = (amounts: Record<string, string>) => ({ capacity: amounts, allocatable: amounts });
  const existing = {
    ...initialNode(identity),
    status: status({ cpu: '4', 'a.com/gpu': '2', 'x.kubernetes.io/y': '1' }),
  };
  const initial = { ...initialNode(identity), status: status({ cpu: '2' }) };
  const zeroed = { cpu: '4', 'a.com/gpu': '0', 'x.kubernetes.io/y': '1' };
  expect(reconcileNode(existing, initial, true).status).toEqual(status(zeroed));
  expect(reconcileNode(existing, initial).status).toEqual(existing.status);
});

describe('addresses where a cloud controller manager sets them', () => {
  const sources = { local: ['10.0.0.1'], lookup: async () => ['10.0.0.1'], defaultRoute: async () => '10.0.0.1' };

  test('the name alone, or what --node-ip says', async () => {
    expect(await computeAddresses('n1', [], sources, true)).toEqual([{ type: 'Hostname', address: 'n1' }]);
    expect(await computeAddresses('n1', ['10.0.0.1'], sources, true)).toEqual([
      { type: 'InternalIP', address: '10.0.0.1' },
      { type: 'Hostname', address: 'n1' },
    ]);
  });

  test('stay as they were set', () => {
    const addresses = [{ type: 'ExternalIP', address: '192.0.2.1' }];
    const status = (old: object) => computeNodeStatus(old, factsOf({ externalCloud: true }), 0).status.addresses;
    expect(status({ addresses })).toEqual(addresses);
    expect(status({ addresses: [] })).toEqual(factsOf().addresses);
  });
});
