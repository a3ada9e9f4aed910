// The option --netns of commands that look at a node: a named network namespace, checked before anything is asked of it.
import { existsSync } from 'node:fs';
import { AgentError } from '../core/errors.ts';

/** @throws {AgentError} CONFIG_INVALID when there is none of that name. */
export function existingNetns(name: string): string {
  if (/^[^/]+$/.test(name) && !/^\.\.?$/.test(name) && existsSync(`/run/netns/${name}`)) return name;
  throw new AgentError(`--netns=${name}: there is no network namespace of that name`, {
    code: 'CONFIG_INVALID',
    hint: '`ip netns list` shows them, `nodelet lab status` those of a lab',
  });
}
