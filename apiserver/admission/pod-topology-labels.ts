// A pod on a node carries the labels that say where that is, so that it can read them of itself. Source:
// plugin/pkg/admission/podtopologylabels (KEP-4742, on since v1.35).
import type { Node } from '../../api/kinds.ts';
import type { Pod } from '../../api/pod.ts';
import { nodes } from '../../api/resources.ts';
import type { AdmissionPlugin, AdmissionRequest } from '../admission.ts';
import type { ObjectReader } from '../registry/reader.ts';

const KEYS = ['topology.kubernetes.io/zone', 'topology.kubernetes.io/region'];

export function podTopologyLabels(reader: ObjectReader): AdmissionPlugin {
  return {
    name: 'PodTopologyLabels',
    mutate(request) {
      if (!givesNode(request)) return;
      const pod = request.object as Pod;
      const name = pod.spec?.nodeName;
      const labels = name ? reader.get<Node>(nodes, { name })?.metadata?.labels : undefined;
      const copied = KEYS.flatMap((key) => (labels?.[key] === undefined ? [] : [[key, labels[key]] as const]));
      if (copied.length === 0) return;
      pod.metadata ??= {};
      pod.metadata.labels = { ...pod.metadata.labels, ...Object.fromEntries(copied) };
    },
  };
}

function givesNode({ group, resource, subresource, operation }: AdmissionRequest): boolean {
  if (group !== '' || resource !== 'pods') return false;
  return (operation === 'CREATE' && subresource === '') || (operation === 'UPDATE' && subresource === 'binding');
}
