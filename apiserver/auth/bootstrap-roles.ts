// Puts the roles and bindings of bootstrap-policy.ts into the cluster.
import { isDeepStrictEqual } from 'node:util';
import type { KubeObject } from '../../api/meta.ts';
import type { ResourceType } from '../../api/resources.ts';
import type { ApiClient } from '../../client/api-client.ts';
import { isAlreadyExists, isNotFound } from '../../client/errors.ts';
import { bootstrapClusterRoleBindings, bootstrapClusterRoles } from './bootstrap-policy.ts';
import { type ClusterRole, type ClusterRoleBinding, clusterRoleBindings, clusterRoles } from './rbac.ts';

const AUTO_UPDATE = 'rbac.authorization.kubernetes.io/autoupdate';

/**
 * Creates what is missing and gives back what was taken away; what an administrator added stays, and so does an object
 * whose autoupdate annotation is `false`. Idempotent.
 */
export async function ensureBootstrapRoles(client: ApiClient): Promise<void> {
  for (const role of bootstrapClusterRoles()) await ensure(client, clusterRoles, role, lackingRules);
  for (const binding of bootstrapClusterRoleBindings()) {
    await ensure(client, clusterRoleBindings, binding, lackingSubjects);
  }
}

/** `lacking`: the part of a merge patch that completes `stored`; undefined when it is complete. */
async function ensure<T extends KubeObject>(
  client: ApiClient,
  type: ResourceType<T>,
  wanted: T,
  lacking: (stored: T, wanted: T) => object | undefined,
): Promise<void> {
  const name = { name: wanted.metadata?.name ?? '' };
  const stored = await getIfThere(client, type, name);
  if (stored === undefined) {
    await client.create<T>(type, {}, wanted).catch((err: unknown) => {
      if (!isAlreadyExists(err)) throw err;
    });
    return;
  }
  if (stored.metadata?.annotations?.[AUTO_UPDATE] === 'false') return;
  const body = lacking(stored, wanted);
  if (body !== undefined) await client.patch(type, name, { type: 'merge', body });
}

async function getIfThere<T extends KubeObject>(
  client: ApiClient,
  type: ResourceType<T>,
  name: { readonly name: string },
): Promise<T | undefined> {
  try {
    return await client.get(type, name);
  } catch (err) {
    if (isNotFound(err)) return undefined;
    throw err;
  }
}

function lackingRules(stored: ClusterRole, wanted: ClusterRole): object | undefined {
  const rules = withMissing(stored.rules ?? [], wanted.rules ?? []);
  return rules === undefined ? undefined : { rules };
}

function lackingSubjects(stored: ClusterRoleBinding, wanted: ClusterRoleBinding): object | undefined {
  const subjects = withMissing(stored.subjects ?? [], wanted.subjects ?? []);
  return subjects === undefined ? undefined : { subjects };
}

function withMissing<E>(present: readonly E[], wanted: readonly E[]): E[] | undefined {
  const missing = wanted.filter((w) => !present.some((p) => isDeepStrictEqual(p, w)));
  return missing.length === 0 ? undefined : [...present, ...missing];
}
