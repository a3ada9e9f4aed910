// A resize beyond what the node has will never happen, and is not taken. Source: plugin/pkg/admission/podresize.
import type { Node } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import { podRequests } from '../../api/pod-resources.ts';
import { parseQuantity, quantityMilliValue, quantityValue, ZERO_QUANTITY } from '../../api/quantity.ts';
import { nodes } from '../../api/resources.ts';
import type { AdmissionPlugin } from '../admission.ts';
import type { ObjectReader } from '../registry/reader.ts';
import { forbidden } from '../status-error.ts';

const OS_LABEL = 'kubernetes.io/os';

export function podResize(reader: ObjectReader): AdmissionPlugin {
  return {
    name: 'PodResizeValidator',
    validate({ operation, group, resource, subresource, name, object, oldObject }) {
      if (operation !== 'UPDATE' || group !== '' || resource !== 'pods' || subresource !== 'resize') return;
      const pod = object as Pod;
      const nodeName = pod.spec?.nodeName;
      if (!nodeName || pod.metadata?.generation === oldObject?.metadata?.generation) return;
      const refused = refusal(pod, nodeName, reader.get<Node>(nodes, { name: nodeName }));
      if (refused === undefined) return;
      const [why, reason] = refused;
      throw forbidden({ group, resource }, name, why, reason === undefined ? undefined : [{ reason }]);
    },
  };
}

/** In v1.36's words, with the reason by which autoscalers tell one refusal from another. */
function refusal(pod: Pod, nodeName: string, node: Node | undefined): [why: string, reason?: string] | undefined {
  if (node === undefined) return [`node "${nodeName}" not found`];
  const os = node.metadata?.labels?.[OS_LABEL] ?? 'linux';
  if (os !== 'linux') {
    return [`pod resize is only supported on linux nodes, node "${nodeName}" is "${os}"`, 'UnsupportedPlatform'];
  }
  const requests = podRequests(pod);
  const over = (['cpu', 'memory'] as const).flatMap((name) => {
    const value = name === 'cpu' ? quantityMilliValue : quantityValue;
    const requested = value(requests.get(name) ?? ZERO_QUANTITY);
    const allocatable = value(parseQuantity(node.status?.allocatable?.[name] ?? '0'));
    return requested > allocatable ? [`${name}, requested: ${requested}, allocatable: ${allocatable}`] : [];
  });
  if (over.length === 0) return undefined;
  return [`node didn't have enough allocatable resources: ${over.join('; ')}`, 'NodeCapacity'];
}
