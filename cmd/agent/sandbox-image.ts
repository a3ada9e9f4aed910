// The image that the runtime makes pods' sandboxes from, which containerd tells to those who ask for everything.
import type { RuntimeService } from '../../cri/runtime-service.ts';

/** Undefined when the runtime does not tell: others have a form of their own. @throws {CriError} when it does not answer. */
export async function sandboxImage(
  runtime: Pick<RuntimeService, 'status'>,
  signal?: AbortSignal,
): Promise<string | undefined> {
  const { info } = await runtime.status(true, signal === undefined ? {} : { signal });
  try {
    const { sandboxImage: name } = JSON.parse(info.config ?? '{}') as { sandboxImage?: unknown };
    return typeof name === 'string' ? name : undefined;
  } catch {
    return undefined;
  }
}
