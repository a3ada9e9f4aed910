// The pods that run on the machine from the first test to the one after it has restarted: where everything is emulated a
// start takes seconds, so that the suites share them. And where the groups of pods are.
import type { Pod, ResourceRequirements } from '../../api/pod.ts';
import { pod, SLEEP } from '../harness/manifests.ts';

export const MIB = 1024 * 1024;

/** Serves its hostname, and says so first. */
export const WEB = ['sh', '-c', 'trap "exit 0" TERM; echo here I am; httpd -f -p 8080 -h /etc & wait'];

export function withResources(name: string, resources: ResourceRequirements, command: readonly string[] = SLEEP): Pod {
  const made = pod(name, command);
  made.spec!.containers[0]!.resources = resources;
  return made;
}

/** One of every QoS class, by its name. */
export interface QosPods {
  readonly guaranteed: Pod;
  readonly burstable: Pod;
  readonly besteffort: Pod;
}

export const QOS_PODS: QosPods = {
  guaranteed: withResources('guaranteed', {
    requests: { cpu: '250m', memory: '64Mi' },
    limits: { cpu: '250m', memory: '64Mi' },
  }),
  burstable: withResources('burstable', {
    requests: { cpu: '100m', memory: '32Mi' },
    limits: { cpu: '500m', memory: '96Mi' },
  }),
  besteffort: withResources('besteffort', {}, WEB),
};
export const QOS_POD_NAMES = Object.keys(QOS_PODS);

/** The group of a pod below /sys/fs/cgroup: systemd's name spells the whole way, with `_` for the uid's own hyphens. */
export function podSlice({ metadata, status }: Pod): string {
  const level = status?.qosClass === 'Guaranteed' ? '' : `-${status!.qosClass!.toLowerCase()}`;
  const last = `kubepods${level}-pod${metadata!.uid!.replaceAll('-', '_')}.slice`;
  return level === '' ? `kubepods.slice/${last}` : `kubepods.slice/kubepods${level}.slice/${last}`;
}

export function containerScope(of: Pod): string {
  const id = of.status!.containerStatuses![0]!.containerID!.split('//')[1]!;
  return `${podSlice(of)}/cri-containerd-${id}.scope`;
}
