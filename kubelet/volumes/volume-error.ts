// Why a volume of a pod is not there, with the step at which it failed: the step decides how users are told.
import { AgentError, errorMessage } from '../../core/errors.ts';

/**
 * `process`: what the pod asks for could not be found out (a claim that is not bound). `attach`: somebody else has not
 * attached it yet; that is waited for without a word. The others are steps of mounting as Events name them.
 */
export type VolumeStep =
  | 'process'
  | 'attach'
  | 'NodeAffinity check'
  | 'NewMounter initialization'
  | 'WaitForAttach'
  | 'MountDevice'
  | 'SetUp'
  | 'SetUpDevice'
  | 'MapPodDevice'
  | 'FindPluginBySpec'
  | 'NodeExpandVolume';

export class VolumeStepError extends AgentError {
  readonly step: VolumeStep;
  /** As Events name the volume: the PersistentVolume where there is one. */
  readonly volume: string;
  readonly isBlock: boolean;

  constructor(step: VolumeStep, volume: string, message: string, cause?: unknown, isBlock = false) {
    super(message, { code: 'VOLUME_STEP_FAILED', cause, retryable: true });
    this.step = step;
    this.volume = volume;
    this.isBlock = isBlock;
  }
}

/** The volume cannot be attached: the node has as many as its driver takes. The pod will never run here. */
export class AttachLimitError extends VolumeStepError {}

/** Runs one step; what it throws becomes a VolumeStepError, unless it is one. */
export async function inStep<T>(
  step: VolumeStep,
  volume: string,
  work: () => Promise<T>,
  textOf: (err: unknown) => string = errorMessage,
  isBlock = false,
): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof VolumeStepError) throw cause;
    throw new VolumeStepError(step, volume, textOf(cause), cause, isBlock);
  }
}
