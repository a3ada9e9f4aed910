// Runtime statuses for tests, written as briefly as the rules they are for.
import type { Container } from '../../api/pod.ts';
import type { ContainerStatus, PodSandboxStatus } from '../../cri/gen/messages.ts';
import { containerHash } from './container-hash.ts';
import type { PodRuntimeStatus, RuntimeContainer } from './pod-runtime-status.ts';

export interface FakeContainer extends Partial<Omit<RuntimeContainer, 'cri'>> {
  readonly name: string;
  readonly image?: string;
}

/** A container as the runtime would report it; by default running in `sandbox`, made from an image named `image`. */
export function fakeContainer(opts: FakeContainer): RuntimeContainer {
  const { image = 'image', ...rest } = opts;
  const id = opts.id ?? `id-${opts.name}`;
  return {
    id,
    sandboxId: 'sandbox',
    state: 'running',
    createdAtMs: 1000,
    startedAtMs: 1000,
    finishedAtMs: 0,
    exitCode: 0,
    reason: '',
    message: '',
    restartCount: 0,
    hash: containerHash({ name: opts.name, image }),
    cri: fakeCriStatus(id, opts.name),
    ...rest,
  };
}

export function exited(name: string, exitCode: number, more: Partial<FakeContainer> = {}): RuntimeContainer {
  const reason = exitCode === 0 ? 'Completed' : 'Error';
  return fakeContainer({ name, state: 'exited', exitCode, reason, finishedAtMs: 2000, ...more });
}

export function fakeSandbox(more: Partial<PodSandboxStatus> & { attempt?: number } = {}): PodSandboxStatus {
  const { attempt = 0, ...rest } = more;
  return {
    id: 'sandbox',
    metadata: { name: 'p', namespace: 'ns', uid: 'u', attempt },
    state: 'SANDBOX_READY',
    createdAt: 0n,
    network: { ip: '10.0.0.1', additionalIps: [] },
    labels: {},
    annotations: {},
    runtimeHandler: '',
    ...rest,
  };
}

/** A pod with one ready sandbox (unless given others) and `containers`, newest first. */
export function fakeStatus(
  containers: readonly RuntimeContainer[] = [],
  sandboxes: readonly PodSandboxStatus[] = [fakeSandbox()],
): PodRuntimeStatus {
  return { uid: 'u', name: 'p', namespace: 'ns', ips: ['10.0.0.1'], sandboxes, containers, observedAtMs: 0 };
}

/** A container spec whose hash equals that of a `fakeContainer` with the same name. */
export function spec(name: string, more: Partial<Container> = {}): Container {
  return { name, image: 'image', ...more };
}

function fakeCriStatus(id: string, name: string): ContainerStatus {
  return {
    id,
    metadata: { name, attempt: 0 },
    state: 'CONTAINER_RUNNING',
    createdAt: 0n,
    startedAt: 0n,
    finishedAt: 0n,
    exitCode: 0,
    imageRef: '',
    reason: '',
    message: '',
    labels: {},
    annotations: {},
    mounts: [],
    logPath: '',
    imageId: '',
    stopSignal: 'RUNTIME_DEFAULT',
  };
}
