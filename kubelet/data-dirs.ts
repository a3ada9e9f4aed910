// The directories that the node's pods and others on the host count on, with the modes that they count on. After
// pkg/kubelet/kubelet.go setupDataDirs.
import { mkdir, realpath } from 'node:fs/promises';
import path from 'node:path';
import { AgentError } from '../core/errors.ts';

export interface DataDirs {
  /** `--root-dir`. */
  readonly rootDir: string;
  readonly podLogsDir: string;
  readonly containerLogsDir: string;
}

/** Below the root directory; `pki` is made by who writes into it, with a mode for others to read. */
const BELOW_ROOT = ['pods', 'plugins', 'plugins_registry', 'pod-resources', 'device-plugins'];
const PRIVATE = 0o750;
const CHECKPOINTS = 0o700;
const READABLE = 0o755;

/**
 * Makes what is missing; what is there keeps its mode. @returns the root directory without links.
 * @throws {AgentError} CONFIG_INVALID for a root directory that is not written in the shortest form.
 */
export async function ensureDataDirs(dirs: DataDirs): Promise<string> {
  const clean = path.normalize(dirs.rootDir).replace(/(.)\/+$/, '$1');
  if (clean !== dirs.rootDir) {
    throw new AgentError(`rootDirectory not in canonical form: expected ${clean}, was ${dirs.rootDir}`, {
      code: 'CONFIG_INVALID',
      hint: `give --root-dir=${clean}`,
    });
  }
  const make = (dir: string, mode: number) => mkdir(dir, { recursive: true, mode });
  await make(dirs.rootDir, PRIVATE);
  const rootDir = await realpath(dirs.rootDir);
  for (const name of BELOW_ROOT) await make(path.join(rootDir, name), PRIVATE);
  await make(path.join(rootDir, 'checkpoints'), CHECKPOINTS);
  await make(dirs.podLogsDir, PRIVATE);
  await make(dirs.containerLogsDir, READABLE);
  return rootDir;
}
