// What is told of a container's end beyond its exit code: the runtime's words and the container's own
// (pkg/kubelet/kuberuntime getTerminationMessage).
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import { errnoOf } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { ContainerStatus } from '../../cri/gen/messages.ts';
import { parseContainerMeta } from './labels.ts';
import type { RuntimeDeps } from './runtime-deps.ts';

const MAX_MESSAGE_BYTES = 4096;
const MAX_LOG_MESSAGE_LINES = 80;
const MAX_LOG_MESSAGE_BYTES = 2048;

/** The runtime's message, then what the container left in its file or, after a failure, at the end of its log. */
export async function lastWords(
  cri: ContainerStatus,
  { tailLog, log }: Pick<RuntimeDeps, 'tailLog'> & { readonly log: Logger },
): Promise<string> {
  const text = await terminationText(cri, tailLog).catch((err: unknown) => {
    log.warn({ err, containerId: cri.id }, 'termination message not read');
    return '';
  });
  return cri.message !== '' && text !== '' ? `${cri.message}: ${text}` : cri.message || text;
}

async function terminationText(cri: ContainerStatus, tailLog: RuntimeDeps['tailLog']): Promise<string> {
  const meta = parseContainerMeta(cri.labels, cri.annotations);
  const path = meta.terminationMessagePath;
  const mount = path === '' ? undefined : cri.mounts.find((m) => m.containerPath === path);
  const text = mount === undefined ? '' : await readTail(mount.hostPath, MAX_MESSAGE_BYTES);
  const wantsLog =
    text === '' &&
    meta.terminationMessagePolicy === 'FallbackToLogsOnError' &&
    cri.exitCode !== 0 &&
    cri.reason !== 'ContainerCannotRun';
  if (!wantsLog) return text;
  return tailLog(cri.logPath, MAX_LOG_MESSAGE_LINES, MAX_LOG_MESSAGE_BYTES);
}

/**
 * The last `maxBytes` of a file as text; '' when there is none, and for what is no plain file: a pod may mount a pipe
 * there, which would hold the reader up for good, or a link.
 */
async function readTail(file: string, maxBytes: number): Promise<string> {
  try {
    await using handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    const info = await handle.stat();
    if (!info.isFile()) return '';
    const { size } = info;
    const length = Math.min(size, maxBytes);
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(length), 0, length, size - length);
    return buffer.subarray(0, bytesRead).toString('utf8');
  } catch (err) {
    if (errnoOf(err) === 'ENOENT' || errnoOf(err) === 'ELOOP') return '';
    throw err;
  }
}
