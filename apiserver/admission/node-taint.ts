// A new Node takes no pods until it has said that it is ready. Source: plugin/pkg/admission/nodetaint.
import type { Node } from '../../api/kinds.ts';
import type { AdmissionPlugin } from '../admission.ts';

const NOT_READY = { key: 'node.kubernetes.io/not-ready', effect: 'NoSchedule' };

export const nodeTaint: AdmissionPlugin = {
  name: 'TaintNodesByCondition',
  mutate({ operation, group, resource, subresource, object }) {
    if (operation !== 'CREATE' || group !== '' || resource !== 'nodes' || subresource !== '') return;
    const node = object as Node;
    const taints = node.spec?.taints ?? [];
    if (taints.some((t) => t.key === NOT_READY.key && t.effect === NOT_READY.effect)) return;
    node.spec = { ...node.spec, taints: [...taints, { ...NOT_READY }] };
  },
};
