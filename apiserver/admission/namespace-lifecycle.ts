// Nothing is made in a namespace that is missing or going, and the system's own namespaces stay. Source:
// apiserver pkg/admission/plugin/namespace/lifecycle.
import { namespaces } from '../../api/resources.ts';
import type { AdmissionPlugin } from '../admission.ts';
import type { ObjectReader } from '../registry/reader.ts';
import { forbidden, notFound } from '../status-error.ts';

const IMMORTAL = new Set(['default', 'kube-system', 'kube-public']);
const NAMESPACES = { group: '', resource: 'namespaces' };

export function namespaceLifecycle(reader: ObjectReader): AdmissionPlugin {
  return {
    name: 'NamespaceLifecycle',
    mutate(request) {
      const { operation, namespace, resource } = request;
      if (operation !== 'CREATE' || namespace === '' || resource === 'namespaces') return;
      // Reviews may ask about any namespace.
      if (request.group === 'authorization.k8s.io') return;
      const found = reader.get(namespaces, { name: namespace });
      if (found === undefined) throw notFound(NAMESPACES, namespace);
      if (found.metadata?.deletionTimestamp === undefined) return;
      const message = `namespace ${namespace} is being terminated`;
      const causes = [{ reason: 'NamespaceTerminating', message, field: 'metadata.namespace' }];
      const why = `unable to create new content in namespace ${namespace} because it is being terminated`;
      throw forbidden({ group: request.group, resource }, request.name, why, causes);
    },
    validate({ operation, resource, group, name }) {
      if (operation === 'DELETE' && group === '' && resource === 'namespaces' && IMMORTAL.has(name)) {
        throw forbidden(NAMESPACES, name, 'this namespace may not be deleted');
      }
    },
  };
}
