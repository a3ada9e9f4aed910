// Small objects for suites against a cluster.
import type { Pod, PodSpec } from '../../api/pod.ts';

export const IMAGE = 'busybox';
/** Runs until it is told to end, at once. */
export const SLEEP = ['sh', '-c', 'trap "exit 0" TERM; sleep 1000000 & wait'];

/** A pod of one busybox container `main`, that goes as soon as it is asked to. */
export function pod(name: string, command: readonly string[] = SLEEP, spec: Partial<PodSpec> = {}): Pod {
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { app: name } },
    spec: {
      terminationGracePeriodSeconds: 1,
      containers: [{ name: 'main', image: IMAGE, imagePullPolicy: 'IfNotPresent', command: [...command] }],
      ...spec,
    },
  };
}
