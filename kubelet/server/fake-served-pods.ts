// Pods for tests of the HTTPS server.
import type { Pod } from '../../api/pod.ts';
import { fakeContainer, fakeSandbox } from '../runtime/fake-pod-status.ts';
import type { PodRuntimeStatus, RuntimeContainer } from '../runtime/pod-runtime-status.ts';
import type { ServedPods } from './served-pods.ts';

/** One pod `default/web` with a running container `main` (id `id-main`) in the sandbox `sandbox`. */
export class FakeServedPods implements ServedPods {
  pod: Pod = {
    metadata: { namespace: 'default', name: 'web', uid: 'uid-web' },
    spec: { containers: [{ name: 'main', image: 'busybox' }] },
    status: {
      phase: 'Running',
      containerStatuses: [
        {
          name: 'main',
          image: 'busybox',
          imageID: '',
          ready: true,
          restartCount: 0,
          containerID: 'containerd://id-main',
          state: { running: {} },
        },
      ],
    },
  };
  containers: RuntimeContainer[] = [fakeContainer({ name: 'main' })];
  sandboxes = [fakeSandbox()];

  getPods(): Pod[] {
    return [this.pod];
  }

  podByName(namespace: string, name: string): Pod | undefined {
    return namespace === 'default' && name === 'web' ? this.pod : undefined;
  }

  async runtimeStatus(pod: { uid: string; name: string; namespace: string }): Promise<PodRuntimeStatus> {
    const { containers, sandboxes } = this;
    return { ...pod, ips: [], sandboxes, containers, observedAtMs: 0 };
  }
}
