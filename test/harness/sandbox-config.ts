// Sandboxes for tests that speak CRI themselves.
import type { PodSandboxConfig } from '../../cri/gen/messages.ts';
import type { Init } from '../../cri/runtime-service.ts';

let serial = 0;

/** A pod of another name each time, in the network of the host: it needs no CNI. */
export function sandboxConfig(
  under: { readonly logDirectory: string; readonly cgroupParent: string },
  labels: Record<string, string> = {},
): Init<PodSandboxConfig> {
  const name = `pod-${++serial}`;
  return {
    metadata: { name, namespace: 'default', uid: `uid-${name}`, attempt: 0 },
    logDirectory: `${under.logDirectory}/${name}`,
    labels,
    annotations: { note: 'kept' },
    linux: {
      cgroupParent: under.cgroupParent,
      securityContext: { namespaceOptions: { network: 'NODE', pid: 'CONTAINER', ipc: 'POD' } },
    },
  };
}
