// Which CPUs containers have for themselves, and which are left for all others; and the file that it is kept in. After
// pkg/kubelet/cm/cpumanager/state.
import { type CpuSet, formatCpuSet, parseCpuSet, sameCpus } from '../cpu-set.ts';
import { goChecksum, goMap, refuseOtherPolicy, sortedRecord } from '../state-file.ts';

/** By pod uid and container name. */
export type CpuEntries = ReadonlyMap<string, ReadonlyMap<string, CpuSet>>;

export interface CpuAssignments {
  /** Shared by every container that is not in `entries`. */
  readonly pool: CpuSet;
  readonly entries: CpuEntries;
}

/** Pure: the whole file. `pool` is '' under the policy none. */
export function renderCpuState(policy: string, { pool, entries }: CpuAssignments): string {
  const text = formatCpuSet(pool);
  return JSON.stringify({
    policyName: policy,
    defaultCpuSet: text,
    ...(entries.size === 0
      ? {}
      : { entries: sortedRecord(entries, (containers) => sortedRecord(containers, formatCpuSet)) }),
    checksum: checksumOf('CPUManagerCheckpoint', policy, text, printEntries(entries)),
  });
}

/** @throws {Error} saying what is wrong with the file */
export function parseCpuState(text: string, policy: string): CpuAssignments {
  const stored = record(JSON.parse(text));
  const { policyName, defaultCpuSet, entries = {}, podEntries, checksum } = stored;
  if (typeof policyName !== 'string' || typeof defaultCpuSet !== 'string') throw new Error('checkpoint is corrupted');
  const parsed = new Map(
    Object.entries(record(entries)).map(([uid, containers]) => [
      uid,
      new Map(Object.entries(record(containers)).map(([name, cpus]) => [name, parseCpuSet(String(cpus))])),
    ]),
  );
  const printed = printEntries(parsed);
  const known = [
    checksumOf('CPUManagerCheckpoint', policyName, defaultCpuSet, printed),
    checksumOf('CPUManagerCheckpointV2', policyName, defaultCpuSet, printed),
    // Of kubelets that give whole pods CPUs of their own (gate PodLevelResourceManagers), as long as none has any.
    ...['CPUManagerCheckpoint', 'CPUManagerCheckpointV3'].map((type) =>
      checksumOf(type, policyName, defaultCpuSet, `${printed} PodEntries:(state.PodCPUAssignments)map[]`),
    ),
  ];
  if (Object.keys(record(podEntries ?? {})).length > 0) throw new Error('it holds CPUs of whole pods');
  if (checksum !== 0 && !known.includes(Number(checksum))) throw new Error('checkpoint is corrupted');
  refuseOtherPolicy(policy, policyName);
  return { pool: parseCpuSet(defaultCpuSet), entries: parsed };
}

export interface CpuStateRules {
  /** Online CPUs. */
  readonly all: CpuSet;
  readonly reserved: CpuSet;
  /** Reserved CPUs are not shared either. */
  readonly strict: boolean;
}

/** Why what was read cannot be gone on with; undefined when it can. In upstream's words. */
export function cpuStateFault({ pool, entries }: CpuAssignments, rules: CpuStateRules): string | undefined {
  const { all, reserved, strict } = rules;
  const usable = strict ? all.difference(reserved) : all;
  if (pool.size === 0) return 'default cpuset cannot be empty';
  const shared = reserved.intersection(pool);
  if (strict && shared.size > 0) {
    return `some of strictly reserved cpus: "${formatCpuSet(shared)}" are present in defaultCpuSet: "${formatCpuSet(pool)}"`;
  }
  if (!strict && !reserved.isSubsetOf(pool)) {
    return `not all reserved cpus: "${formatCpuSet(reserved)}" are present in defaultCpuSet: "${formatCpuSet(pool)}"`;
  }
  let known: CpuSet = pool;
  for (const [uid, containers] of entries) {
    for (const [name, cpus] of containers) {
      if (!pool.isDisjointFrom(cpus)) {
        return `pod: ${uid}, container: ${name} cpuset: "${formatCpuSet(cpus)}" overlaps with default cpuset "${formatCpuSet(pool)}"`;
      }
      known = known.union(cpus);
    }
  }
  if (sameCpus(known, usable)) return undefined;
  return `current set of available CPUs "${formatCpuSet(usable)}" doesn't match with CPUs in state "${formatCpuSet(known)}"`;
}

function record(value: unknown): Readonly<Record<string, unknown>> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new Error('checkpoint is corrupted');
  return value as Readonly<Record<string, unknown>>;
}

function printEntries(entries: CpuEntries): string {
  return goMap(
    [...entries].map(([uid, containers]) => [uid, goMap([...containers].map(([n, cpus]) => [n, formatCpuSet(cpus)]))]),
  );
}

function checksumOf(type: string, policy: string, pool: string, entries: string): number {
  return goChecksum(
    `(*state.${type}){PolicyName:(string)${policy} DefaultCPUSet:(string)${pool} ` +
      `Entries:(map[string]map[string]string)${entries} Checksum:(checksum.Checksum)0}`,
  );
}
