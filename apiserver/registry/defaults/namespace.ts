// Namespaces: the label that selects them by name, and the finalizer in spec that the namespace controller removes.
import type { Namespace } from '../../../api/kinds.ts';
import type { AnyObject } from '../definition.ts';

export function defaultNamespace(object: AnyObject): void {
  const namespace = object as Namespace;
  const name = namespace.metadata?.name;
  if (name) namespace.metadata!.labels = { ...namespace.metadata!.labels, 'kubernetes.io/metadata.name': name };
  namespace.spec ??= {};
  namespace.status ??= {};
  namespace.status.phase ??= 'Active';
}

export function prepareNamespace(object: AnyObject): void {
  const namespace = object as Namespace;
  const finalizers = namespace.spec?.finalizers ?? [];
  namespace.spec = { ...namespace.spec, finalizers: finalizers.length > 0 ? finalizers : ['kubernetes'] };
  namespace.status = { phase: 'Active' };
}
