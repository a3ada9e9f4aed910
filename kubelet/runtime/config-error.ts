// What the spec asks for cannot be had (yet): shown as CreateContainerConfigError, with this text.
import { AgentError } from '../../core/errors.ts';

export class ContainerConfigError extends AgentError {
  constructor(message: string, cause?: unknown) {
    super(message, { code: 'CONTAINER_CONFIG', cause });
  }
}
