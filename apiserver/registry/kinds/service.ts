// Services: addresses and node ports are given out here. After pkg/registry/core/service.
import type { Service } from '../../../api/kinds.ts';
import { defaultService } from '../defaults/service.ts';
import type { KindDefinition } from '../definition.ts';
import type { ServiceAllocator } from '../service-allocator.ts';
import { service } from '../tables/core.ts';
import { serviceFaults, serviceUpdateFaults } from '../validation/service.ts';
import { namespaced } from './build.ts';

export function serviceKind(allocator: ServiceAllocator): KindDefinition {
  return namespaced('', 'v1', 'services', 'Service', {
    root: '/registry/services/specs/',
    shortNames: ['svc'],
    categories: ['all'],
    nameRule: 'label',
    status: true,
    createOnUpdate: true,
    fields: { 'spec.clusterIP': (o) => o.spec?.clusterIP ?? '', 'spec.type': (o) => o.spec?.type ?? '' },
    defaults: defaultService,
    prepareCreate: (o) => {
      o.status = { loadBalancer: {} };
    },
    prepareUpdate: (next, old) => allocator.carryOver(next as Service, old as Service),
    validate: (o) => serviceFaults(o as Service),
    validateUpdate: (next, old) => serviceUpdateFaults(next as Service, old as Service),
    reserve: (next, old) => allocator.reserve(next as Service, old as Service | undefined),
    onDeleted: (o) => allocator.free(o as Service),
    table: service,
  });
}
