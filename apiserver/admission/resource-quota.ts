// Nobody takes more of a namespace than its quotas allow: what is taken is charged before the object is stored. Source:
// apiserver pkg/admission/plugin/resourcequota.
import type { ResourceQuota } from 'kubernetes-types/core/v1.js';
import type { Pod } from '../../api/pod.ts';
import type { Clock } from '../../core/clock.ts';
import type { AdmissionPlugin, AdmissionRequest } from '../admission.ts';
import { charged, coversPod, difference, hasScopes, refusal, resourceQuotas, trackedBy } from '../quota/quotas.ts';
import { missingRequirements, type Usage, usageOf } from '../quota/usage.ts';
import type { AnyObject } from '../registry/definition.ts';
import type { Registry } from '../registry/registry.ts';
import { forbidden, StatusError } from '../status-error.ts';

/** Updates that can take more than before; of others only creation counts. */
const GROWING = new Set(['pods/resize', 'services/', 'persistentvolumeclaims/']);
const NOTHING: Usage = new Map();

/** The last of the plugins: what it charges for should then be stored. The controller gives back what was not. */
export function resourceQuota(registry: Registry, clock: Clock): AdmissionPlugin {
  return {
    name: 'ResourceQuota',
    async validate(request) {
      if (!concerns(request)) return;
      const quotas = registry.list<ResourceQuota>(resourceQuotas, request.namespace);
      if (quotas.length === 0) return;
      const charges = chargesOf(request, quotas, clock.now());
      // All of them first: none is to be charged for what another refuses.
      for (const [quota, change] of charges) check(request, quota, change);
      if (request.dryRun) return;
      for (const [quota, change] of charges) await charge(registry, request, quota.metadata?.name ?? '', change);
    },
  };
}

/** @throws {StatusError} 403 when others were faster and nothing is left. */
async function charge(registry: Registry, request: AdmissionRequest, name: string, change: Usage): Promise<void> {
  const { namespace, user, warn } = request;
  const take = (current: AnyObject): AnyObject => {
    const quota = current as ResourceQuota;
    check(request, quota, change);
    const { resourceVersion: _, ...metadata } = quota.metadata ?? {}; // whatever its version: it was checked just now
    const status = { ...quota.status, used: charged(quota.status?.used ?? {}, change) };
    return { ...quota, metadata, status } as AnyObject;
  };
  try {
    await registry
      .endpoint(resourceQuotas)
      .resource.update(namespace, name, 'status', take, { user, dryRun: false, warn });
  } catch (err) {
    if (!(err instanceof StatusError) || err.code !== 404) throw err;
    // Deleted meanwhile: it limits nothing any more.
  }
}

function concerns({ operation, namespace, resource, subresource }: AdmissionRequest): boolean {
  if (namespace === '') return false;
  if (operation === 'CREATE') return subresource === '';
  return operation === 'UPDATE' && GROWING.has(`${resource}/${subresource}`);
}

/** Quotas that the request changes, with what it takes of them. @throws {StatusError} for what must be said and is not. */
function chargesOf(
  request: AdmissionRequest,
  quotas: readonly ResourceQuota[],
  nowMs: number,
): (readonly [ResourceQuota, Usage])[] {
  const { group, resource, name, object, oldObject } = request;
  const next = usageOf({ group, resource }, object!, nowMs);
  const old = oldObject === undefined ? NOTHING : usageOf({ group, resource }, oldObject, nowMs);
  const isPod = group === '' && resource === 'pods';
  return quotas.flatMap((quota) => {
    if (isPod ? !coversPod(quota, object as Pod) : hasScopes(quota)) return [];
    const missing = isPod ? missingRequirements(Object.keys(quota.status?.hard ?? {}), object as Pod) : undefined;
    if (missing !== undefined) {
      throw forbidden({ group, resource }, name, `failed quota: ${quota.metadata?.name ?? ''}: ${missing}`);
    }
    const change = trackedBy(quota, difference(next, old));
    return change.size === 0 ? [] : [[quota, change] as const];
  });
}

/** @throws {StatusError} 403 */
function check({ group, resource, name }: AdmissionRequest, quota: ResourceQuota, change: Usage): void {
  const why = refusal(quota, change);
  if (why !== undefined) throw forbidden({ group, resource }, name, why);
}
