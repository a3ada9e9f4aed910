// The CRI client against real containerd, in every supported version: a shared contract, and what only a real runtime
// has (restarts, logs, streams, versions).

import { mkdir, readFile, rename } from 'node:fs/promises';
import { connect } from 'node:net';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { streamContainerLog } from '../../cri/container-log.ts';
import { isCriError } from '../../cri/errors.ts';
import { CONTAINERD_VERSIONS, containerdMissing, TestContainerd } from '../harness/containerd.ts';
import { describeRuntimeContract, EventLog, type RuntimeUnderTest, sandboxConfig } from '../harness/cri-contract.ts';

const missing = containerdMissing();
if (missing !== undefined) console.warn(`CRI tests are skipped: ${missing}`);
const IMAGE = 'docker.io/library/busybox:latest';
/** Ends when its exit code is written into a pipe: a reader waits there, nothing polls. */
const COMMAND = ['sh', '-c', 'mkfifo /end && read code < /end && exit $code'];

async function end(containerd: TestContainerd, containerId: string, exitCode: number): Promise<void> {
  // The pipe may not be there yet: the container has only just started.
  const script = `until [ -p /end ]; do :; done; echo ${exitCode} > /end`;
  await containerd.runtime.execSync(containerId, ['sh', '-c', script], 10);
}

function underTest(containerd: TestContainerd): RuntimeUnderTest {
  return {
    runtime: containerd.runtime,
    images: containerd.images,
    image: IMAGE,
    logDirectory: path.join(containerd.dir, 'logs'),
    cgroupParent: containerd.cgroupParent,
    command: COMMAND,
    end: (containerId, exitCode) => end(containerd, containerId, exitCode),
    [Symbol.asyncDispose]: () => containerd[Symbol.asyncDispose](),
  };
}

describe.skipIf(missing !== undefined).each(CONTAINERD_VERSIONS)('containerd %s', (version) => {
  describe('contract', () => {
    describeRuntimeContract(async () => underTest(await TestContainerd.start({ version })));
  });
});
