// What is counted of pods with a user namespace of their own, as upstream's suite looks at it
// (test/e2e/common/node/security_context.go).
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { FakeClock } from '../../core/fake-clock.ts';
import { CriError } from '../../cri/errors.ts';
import { FakeCri } from './fake-cri.ts';
import { spec } from './fake-pod-status.ts';
import { runtimeOver } from './fake-runtime.ts';
import type { KubeRuntime } from './kube-runtime.ts';

let dir: string;
let cri: FakeCri;
let kube: KubeRuntime;
let counted: string[];

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'user-namespaces-'));
  cri = new FakeCri();
  cri.addImage('image:latest');
  counted = [];
  kube = runtimeOver(
    dir,
    { cri, clock: new FakeClock() },
    {
      observer: {
        containerStarted: () => {},
        imagePulled: () => {},
        counted: (what) => void counted.push(what),
      },
    },
  );
});
afterEach(() => rm(dir, { recursive: true }));

async function sync(hostUsers: boolean) {
  const pod: Pod = {
    metadata: { name: 'p', namespace: 'ns', uid: 'u' },
    spec: { containers: [spec('a', { imagePullPolicy: 'IfNotPresent' })], restartPolicy: 'Never', hostUsers },
  };
  const status = await kube.getPodStatus('u', 'p', 'ns');
  const verdicts = { liveness: () => undefined, startup: () => undefined };
  return kube.syncPod({ pod, status, verdicts, onSandboxReady: () => {} });
}

const STARTED = 'kubelet_started_user_namespaced_pods_total';
const FAILED = 'kubelet_started_user_namespaced_pods_errors_total';

test('a pod is counted once, when it is started', async () => {
  await sync(false);
  await sync(false);
  expect(counted).toEqual([STARTED]);
});

test.each([
  ['whose sandbox cannot be made', 'runPodSandbox'],
  ['whose container cannot be started', 'startContainer'],
] as const)('a pod %s is counted as failed', async (_, method) => {
  cri.failNext(method, new CriError(method, 'UNKNOWN', 'exec: "bogus": executable file not found in $PATH'));
  await sync(false);
  expect(counted).toEqual([STARTED, FAILED]);
});

test('a pod among the users of the host is not counted', async () => {
  cri.failNext('startContainer', new CriError('StartContainer', 'UNKNOWN', 'no'));
  await sync(true);
  expect(counted).toEqual([]);
});
