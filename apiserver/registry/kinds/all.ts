// Every kind this server stores.
import type { KindDefinition } from '../definition.ts';
import type { ServedVersion } from '../registry.ts';
import type { ServiceAllocator } from '../service-allocator.ts';
import { appsKinds } from './apps.ts';
import { coreKinds } from './core.ts';
import { eventsV1 } from './events-v1.ts';
import { otherKinds } from './others.ts';
import { podKind } from './pod.ts';
import { resourceKinds } from './resource-claims.ts';
import { serviceKind } from './service.ts';

export function allKinds(allocator: ServiceAllocator): KindDefinition[] {
  return [...coreKinds, podKind, serviceKind(allocator), ...appsKinds, ...otherKinds, ...resourceKinds];
}

export const servedVersions: readonly ServedVersion[] = [eventsV1];
