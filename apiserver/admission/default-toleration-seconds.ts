// Pods stay five minutes on a node that stopped answering. Source: plugin/pkg/admission/defaulttolerationseconds.
import type { Pod, Toleration } from '../../api/pod.ts';
import type { AdmissionPlugin } from '../admission.ts';

const KEYS = ['node.kubernetes.io/not-ready', 'node.kubernetes.io/unreachable'];
const SECONDS = 300;

export const defaultTolerationSeconds: AdmissionPlugin = {
  name: 'DefaultTolerationSeconds',
  mutate({ operation, group, resource, subresource, object }) {
    if (group !== '' || resource !== 'pods' || subresource !== '') return;
    if (operation !== 'CREATE' && operation !== 'UPDATE') return;
    const spec = (object as Pod).spec;
    if (spec === undefined) return;
    const known = spec.tolerations ?? [];
    const added = KEYS.filter((key) => !known.some((t) => covers(t, key))).map((key) => ({
      key,
      operator: 'Exists',
      effect: 'NoExecute',
      tolerationSeconds: SECONDS,
    }));
    if (added.length > 0) spec.tolerations = [...known, ...added];
  },
};

function covers(t: Toleration, key: string): boolean {
  return (!t.key || t.key === key) && (!t.effect || t.effect === 'NoExecute');
}
