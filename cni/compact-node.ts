// What is kept of other nodes: the fields that the pod network depends on. Of the rest, images and addresses above all, a
// cluster of 5,000 nodes has more than the whole agent may use.
import type { Node } from '../api/kinds.ts';
import { type AnnotationNames, annotationPrefix } from './subnet-manager.ts';

/** Pure: a node without what nobody here reads. The parts that are kept are shared with the argument. */
export function compactNode(names: AnnotationNames): (node: Node) => Node {
  const prefix = annotationPrefix(names);
  return ({ metadata, spec, status }) => {
    const { name, uid, resourceVersion, creationTimestamp, annotations } = metadata ?? {};
    const own = Object.entries(annotations ?? {}).filter(([key]) => key.startsWith(prefix));
    const conditions = status?.conditions?.filter((c) => c.type === 'NetworkUnavailable');
    const { podCIDR, podCIDRs } = spec ?? {};
    return {
      metadata: { name, uid, resourceVersion, creationTimestamp, annotations: Object.fromEntries(own) },
      spec: { podCIDR, podCIDRs },
      status: { conditions },
    } as Node;
  };
}
