// A pod as the figures see it, for tests.
import type { Pod } from '../../api/pod.ts';
import { containerCgroups, type PodTarget } from './targets.ts';

/** Pod `p` in `default` with the containers of these names, whose ids are their names. */
export function fakeTarget(containers: readonly string[], pod: Pod = {}, cgroup = '/kubepods/podu'): PodTarget {
  const target = (id: string, name: string) => ({
    id,
    name,
    image: name === '' ? '' : 'busybox:1.36',
    createdAtMs: 1_000_000,
    cgroups: containerCgroups(cgroup, id),
  });
  return {
    pod: { ...pod, metadata: { name: 'p', namespace: 'default', uid: 'u', ...pod.metadata } },
    uid: 'u',
    name: 'p',
    namespace: 'default',
    hostNetwork: pod.spec?.hostNetwork === true,
    cgroup,
    sandbox: target('box', ''),
    containers: containers.map((name) => target(name, name)),
  };
}
