// Pods started straight in a runtime, without a kubelet, as the node's HTTPS server sees them.
import path from 'node:path';
import type { Pod } from '../../api/pod.ts';
import type { PodRuntimeStatus, RuntimeContainer } from '../../kubelet/runtime/pod-runtime-status.ts';
import type { ServedPods } from '../../kubelet/server/served-pods.ts';
import type { TestContainerd } from './containerd.ts';
import { sandboxConfig } from './sandbox-config.ts';

const RELIST_MS = 5_000;
const IMAGE = 'docker.io/library/busybox:latest';

/** Each has one container, `main`, on the network of the host. */
export class RealPods implements ServedPods {
  readonly #containerd: TestContainerd;
  readonly #pods = new Map<string, { pod: Pod; sandboxId: string; containerId: string }>();

  constructor(containerd: TestContainerd) {
    this.#containerd = containerd;
  }

  async start(name: string, command: readonly string[], more: { stdin?: boolean } = {}): Promise<void> {
    const { runtime, dir, cgroupParent } = this.#containerd;
    const config = sandboxConfig({ logDirectory: path.join(dir, 'logs'), cgroupParent });
    const sandboxId = await runtime.runPodSandbox(config, '');
    const container = { metadata: { name: 'main' }, image: { image: IMAGE }, command, logPath: 'main.log', ...more };
    const containerId = await runtime.createContainer(sandboxId, container, config);
    await runtime.startContainer(containerId);
    const running = { name: 'main', image: IMAGE, imageID: '', ready: true, restartCount: 0, state: { running: {} } };
    this.#pods.set(name, {
      sandboxId,
      containerId,
      pod: {
        metadata: { namespace: 'default', name, uid: name },
        spec: { containers: [{ name: 'main', image: IMAGE }] },
        status: { containerStatuses: [{ ...running, containerID: `containerd://${containerId}` }] },
      },
    });
  }

  hasUid(pod: Pod, uid: string): boolean {
    return pod.metadata?.uid === uid;
  }

  /**
   * The runtime's own events, of whichever container, and now and then what a kubelet's relist is for: a look too many does no
   * harm.
   */
  onRuntimeChange(_podUid: string, listener: () => void): Disposable {
    const stop = new AbortController();
    void this.#follow(listener, stop.signal);
    const relist = setInterval(listener, RELIST_MS);
    return {
      [Symbol.dispose]() {
        clearInterval(relist);
        stop.abort();
      },
    };
  }

  async #follow(listener: () => void, signal: AbortSignal): Promise<void> {
    try {
      for await (const _event of this.#containerd.runtime.events(signal, listener)) listener();
    } catch (err) {
      if (!signal.aborted) throw err;
    }
  }

  async removeAll(): Promise<void> {
    for (const { sandboxId } of this.#pods.values()) {
      await this.#containerd.runtime.stopPodSandbox(sandboxId);
      await this.#containerd.runtime.removePodSandbox(sandboxId);
    }
  }

  getPods(): Pod[] {
    return [...this.#pods.values()].map((p) => p.pod);
  }

  podByName(_namespace: string, name: string): Pod | undefined {
    return this.#pods.get(name)?.pod;
  }

  async runtimeStatus(identity: { uid: string; name: string; namespace: string }): Promise<PodRuntimeStatus> {
    const { sandboxId, containerId } = this.#pods.get(identity.name)!;
    const { runtime } = this.#containerd;
    const [cri, sandbox] = await Promise.all([
      runtime.containerStatus(containerId),
      runtime.podSandboxStatus(sandboxId),
    ]);
    const container: RuntimeContainer = {
      id: containerId,
      name: 'main',
      sandboxId,
      state: cri.state === 'CONTAINER_RUNNING' ? 'running' : 'exited',
      createdAtMs: 0,
      startedAtMs: 0,
      finishedAtMs: 0,
      exitCode: cri.exitCode,
      reason: '',
      message: '',
      restartCount: 0,
      hash: '',
      cri,
    };
    return { ...identity, ips: [], sandboxes: [sandbox], containers: [container], observedAtMs: 0 };
  }
}
