import { expect, test } from 'vitest';
import type { Service } from '../../../api/kinds.ts';
import { serviceFaults } from './service.ts';

const faults = (ports: NonNullable<NonNullable<Service['spec']>['ports']>) =>
  serviceFaults({ spec: { type: 'NodePort', sessionAffinity: 'None', clusterIP: '10.96.0.5', ports } } as Service);

test('a node port is had by one port of each protocol', () => {
  const tcp = { name: 'a', port: 80, protocol: 'TCP', nodePort: 30_001 };
  expect(faults([tcp, { ...tcp, name: 'b', protocol: 'UDP' }])).toEqual([]);
  expect(faults([tcp, { ...tcp, name: 'b', port: 81 }])).toMatchObject([
    { field: 'spec.ports[1].nodePort', message: 'Duplicate value: 30001' },
  ]);
});
