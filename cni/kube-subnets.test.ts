import { expect, test } from 'vitest';
import type { Node } from '../api/kinds.ts';
import { nodes } from '../api/resources.ts';
import { FakeApi } from '../client/fake-client.ts';
import { Store } from '../client/store.ts';
import { FakeClock } from '../core/fake-clock.ts';
import { KubeSubnets } from './kube-subnets.ts';
import { annotation, annotationNames } from './subnet-manager.ts';

const signal = new AbortController().signal;

test('a node that is registered anew tells of itself once it has a range: flanneld would not look again', async () => {
  const store = new Store<Node>();
  const api = new FakeApi();
  const source = new KubeSubnets(
    {
      nodeName: 'a',
      networks: { v4: '10.244.0.0/16' },
      annotations: annotationNames('flannel.alpha.coreos.com'),
      setCondition: true,
    },
    { client: api, nodes: store, clock: new FakeClock() },
  );
  const publish = (resourceVersion: string, spec: Node['spec'] & object) => {
    store.replace([{ metadata: { name: 'a', resourceVersion }, spec }]);
    return source.publish({ backendType: 'host-gw', v4: { publicIp: '192.0.2.1', backendData: null } }, signal);
  };
  api.seed(nodes, { metadata: { name: 'a' } });
  await publish('1', {});
  expect(api.requests).toEqual([]);
  await publish('2', { podCIDR: '10.244.7.0/24', podCIDRs: ['10.244.7.0/24'] });
  const annotations = { [annotation.managed]: 'true', [annotation.publicIp]: '192.0.2.1' };
  expect(api.requests).toMatchObject([{ verb: 'patch', body: { metadata: { annotations } } }]);
});
