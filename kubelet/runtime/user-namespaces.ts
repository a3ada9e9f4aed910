// Ranges of host user and group ids for pods with `hostUsers: false` (pkg/kubelet/userns). The record in the pod's
// directory is the only state: a range is taken as long as the directory of its pod exists, also for the next agent, and
// is free again once the directory is removed, which happens after everything of the pod has ended.
import { mkdir, readdir, readFile } from 'node:fs/promises';
import path from 'node:path';
import { AgentError, errnoOf, errorMessage } from '../../core/errors.ts';
import type { IDMapping } from '../../cri/gen/messages.ts';
import { type Exec, execOk } from '../../host/exec.ts';
import { writeFileAtomic } from '../../host/files.ts';

/** Host ids that may be handed out. */
export interface IdPool {
  readonly start: number;
  readonly length: number;
}

const FILE = 'userns';
const ALL_IDS = 2 ** 32;

export class UserNamespaces {
  readonly #podsDir: string;
  readonly #pool: IdPool;
  readonly #idsPerPod: number;
  /** One at a time, in the order of asking: two pods must not find the same range free. */
  #last: Promise<unknown> = Promise.resolve();

  constructor(opts: { readonly rootDir: string; readonly pool: IdPool; readonly idsPerPod: number }) {
    this.#podsDir = path.join(opts.rootDir, 'pods');
    this.#pool = opts.pool;
    this.#idsPerPod = opts.idsPerPod;
  }

  /**
   * The pod's range, the same on each call, recorded before it is told.
   * @throws {AgentError} USER_NAMESPACES_EXHAUSTED; USER_NAMESPACE_RECORD_INVALID naming the file.
   */
  async mappingOf(podUid: string): Promise<IDMapping> {
    const mine = this.#last.then(async () => (await this.#read(podUid)) ?? (await this.#allocate(podUid)));
    this.#last = mine.catch(() => {});
    return mine;
  }

  async #allocate(podUid: string): Promise<IDMapping> {
    const taken = await this.#taken();
    const { start, length } = this.#pool;
    for (let hostId = start; hostId + this.#idsPerPod <= start + length; hostId += this.#idsPerPod) {
      const end = hostId + this.#idsPerPod;
      if (taken.some((t) => t.hostId < end && hostId < t.hostId + t.length)) continue;
      const mapping = { hostId, containerId: 0, length: this.#idsPerPod };
      await mkdir(path.join(this.#podsDir, podUid), { recursive: true, mode: 0o750 });
      await writeFileAtomic(this.#file(podUid), renderRecord(mapping), 0o600);
      return mapping;
    }
    throw new AgentError('could not find an empty slot to allocate a user namespace', {
      code: 'USER_NAMESPACES_EXHAUSTED',
      retryable: true,
    });
  }

  async #taken(): Promise<IDMapping[]> {
    let uids: string[];
    try {
      uids = await readdir(this.#podsDir);
    } catch (err) {
      if (errnoOf(err) === 'ENOENT') return [];
      throw err;
    }
    const mappings = await Promise.all(uids.map((uid) => this.#read(uid)));
    return mappings.filter((m) => m !== undefined);
  }

  async #read(podUid: string): Promise<IDMapping | undefined> {
    const file = this.#file(podUid);
    try {
      return parseRecord(await readFile(file, 'utf8'), file);
    } catch (err) {
      if (errnoOf(err) === 'ENOENT' || errnoOf(err) === 'ENOTDIR') return undefined;
      throw err;
    }
  }

  #file(podUid: string): string {
    return path.join(this.#podsDir, podUid, FILE);
  }
}

/** The form in which a kubelet keeps it, so that either reads what the other wrote. */
function renderRecord({ hostId, length }: IDMapping): string {
  const mappings = [{ hostId, containerId: 0, length }];
  return JSON.stringify({ uidMappings: mappings, gidMappings: mappings });
}

/** @throws {AgentError} USER_NAMESPACE_RECORD_INVALID: its range may be in use, so it must not count as free. */
function parseRecord(text: string, file: string): IDMapping {
  const invalid = (cause?: unknown) =>
    new AgentError(`wrong user namespace record ${file}`, {
      code: 'USER_NAMESPACE_RECORD_INVALID',
      cause,
      hint: 'restore the file, or remove the pod and then its directory',
    });
  let record: { uidMappings?: Partial<IDMapping>[]; gidMappings?: Partial<IDMapping>[] } | null;
  try {
    record = JSON.parse(text) as typeof record;
  } catch (cause) {
    throw invalid(cause);
  }
  const [uids, gids] = [record?.uidMappings?.[0], record?.gidMappings?.[0]];
  if (uids === undefined || JSON.stringify(uids) !== JSON.stringify(gids)) throw invalid();
  const { hostId, containerId, length } = uids;
  if (!isId(hostId) || containerId !== 0 || !isId(length) || length === 0) throw invalid();
  return { hostId, containerId, length };
}

function isId(value: unknown): value is number {
  return typeof value === 'number' && Number.isInteger(value) && value >= 0 && value < ALL_IDS;
}

/**
 * Ids for pods: what `getsubids kubelet` tells where the host has a user `kubelet` and that program, else everything
 * above the first `idsPerPod`. `passwd` is the text of /etc/passwd.
 * @throws {AgentError} USER_NAMESPACE_RANGE_INVALID when the host's range does not do.
 */
export async function userNamespacePool(
  exec: Exec,
  passwd: string,
  opts: { readonly idsPerPod: number; readonly maxPods: number },
): Promise<IdPool> {
  const everything = { start: opts.idsPerPod, length: ALL_IDS - opts.idsPerPod };
  if (!/^kubelet:/m.test(passwd)) return everything;
  let uids: string;
  let gids: string;
  try {
    [uids, gids] = await Promise.all([
      execOk(exec, 'getsubids', ['kubelet'], { timeoutMs: 10_000 }),
      execOk(exec, 'getsubids', ['-g', 'kubelet'], { timeoutMs: 10_000 }),
    ]);
  } catch (cause) {
    if (cause instanceof AgentError && cause.code === 'EXEC_NOT_FOUND') return everything;
    throw rangeInvalid(`getsubids failed for the user kubelet: ${errorMessage(cause)}`, cause);
  }
  return parseSubIds(uids, gids, opts);
}

/** Pure. Each text is `0: kubelet 65536 7208960`. @throws {AgentError} USER_NAMESPACE_RANGE_INVALID */
export function parseSubIds(
  uids: string,
  gids: string,
  { idsPerPod, maxPods }: { readonly idsPerPod: number; readonly maxPods: number },
): IdPool {
  if (uids !== gids) throw rangeInvalid('the subordinate user and group ids of the user kubelet differ');
  const match = /^0: kubelet (\d+) (\d+)\n?$/.exec(uids);
  if (match === null) throw rangeInvalid(`one range expected of getsubids, not ${JSON.stringify(uids.trim())}`);
  const [start, length] = [Number(match[1]), Number(match[2])];
  if (start < idsPerPod || start % idsPerPod !== 0 || length % idsPerPod !== 0 || start + length > ALL_IDS) {
    throw rangeInvalid(`subordinate ids ${start}+${length} are no multiples of ${idsPerPod} above the first`);
  }
  if (length < idsPerPod * maxPods) {
    throw rangeInvalid(`subordinate ids ${start}+${length} do not do for ${maxPods} pods with ${idsPerPod} each`);
  }
  return { start, length };
}

function rangeInvalid(message: string, cause?: unknown): AgentError {
  return new AgentError(message, {
    code: 'USER_NAMESPACE_RANGE_INVALID',
    cause,
    hint: 'correct the lines of kubelet in /etc/subuid and /etc/subgid',
  });
}
