// The kinds of resource.k8s.io: claims of devices and what drivers advertise. Nobody allocates here; the node's part works on
// claims whose status says what they were given. After pkg/registry/resource.

import type { AnyObject, KindDefinition } from '../definition.ts';
import * as tables from '../tables/resource-claims.ts';
import {
  claimStatusFaults,
  claimUpdateFaults,
  deviceClassFaults,
  resourceClaimFaults,
  resourceClaimTemplateFaults,
  resourceSliceFaults,
  resourceSliceUpdateFaults,
  templateUpdateFaults,
} from '../validation/resource-claims.ts';
import { clusterScoped, namespaced } from './build.ts';

const GROUP = 'resource.k8s.io';

interface RequestedDevices {
  allocationMode?: string;
  count?: number;
}

interface ClaimSpec {
  devices?: { requests?: { exactly?: RequestedDevices; firstAvailable?: RequestedDevices[] }[] };
}

/** One device, unless a request says otherwise. */
function defaultClaimSpec(spec: ClaimSpec | undefined): void {
  for (const { exactly, firstAvailable = [] } of spec?.devices?.requests ?? []) {
    for (const wanted of [...(exactly === undefined ? [] : [exactly]), ...firstAvailable]) {
      wanted.allocationMode ??= 'ExactCount';
      if (wanted.allocationMode === 'ExactCount') wanted.count ??= 1;
    }
  }
}

export const resourceKinds: KindDefinition[] = [
  namespaced(GROUP, 'v1', 'resourceclaims', 'ResourceClaim', {
    status: true,
    statusKeepsMetadata: true,
    defaults: (o) => defaultClaimSpec(o.spec),
    prepareCreate: (o) => {
      o.status = {};
    },
    validate: resourceClaimFaults,
    validateUpdate: claimUpdateFaults,
    subresources: { status: { reset: () => {}, validate: claimStatusFaults } },
    table: tables.resourceClaim,
  }),
  namespaced(GROUP, 'v1', 'resourceclaimtemplates', 'ResourceClaimTemplate', {
    defaults: (o) => defaultClaimSpec(o.spec?.spec),
    validate: resourceClaimTemplateFaults,
    validateUpdate: templateUpdateFaults,
    table: tables.named,
  }),
  clusterScoped(GROUP, 'v1', 'deviceclasses', 'DeviceClass', {
    generation: true,
    validate: deviceClassFaults,
    table: tables.named,
  }),
  clusterScoped(GROUP, 'v1', 'resourceslices', 'ResourceSlice', {
    generation: true,
    fields: {
      'spec.nodeName': (o: AnyObject) => o.spec?.nodeName ?? '',
      'spec.driver': (o: AnyObject) => o.spec?.driver ?? '',
    },
    validate: resourceSliceFaults,
    validateUpdate: resourceSliceUpdateFaults,
    table: tables.resourceSlice,
  }),
];
