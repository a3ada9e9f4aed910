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
  /** Of the pod's mirror. */
  mirrorUid: string | undefined;
  containers: RuntimeContainer[] = [fakeContainer({ name: 'main' })];
  sandboxes = [fakeSandbox()];
  readonly #listeners = new Set<() => void>();

  getPods(): Pod[] {
    return [this.pod];
  }

  podByName(namespace: string, name: string): Pod | undefined {
    return namespace === 'default' && name === 'web' ? this.pod : undefined;
  }

  hasUid(pod: Pod, uid: string): boolean {
    return uid === pod.metadata?.uid || uid === this.mirrorUid;
  }

  async runtimeStatus(pod: { uid: string; name: string; namespace: string }): Promise<PodRuntimeStatus> {
    const { containers, sandboxes } = this;
    return { ...pod, ips: [], sandboxes, containers, observedAtMs: 0 };
  }

  onRuntimeChange(_podUid: string, listener: () => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Followers of the pod, and what tells them to look again. */
  get listening(): number {
    return this.#listeners.size;
  }

  changed(): void {
    for (const listener of this.#listeners) listener();
  }
}
