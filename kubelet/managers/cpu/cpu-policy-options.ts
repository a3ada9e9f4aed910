// cpuManagerPolicyOptions: what each is called, from which feature gate on it may be used, and which do not go together.
// Pure. After pkg/kubelet/cm/cpumanager/policy_options.go.

export interface CpuPolicyOptions {
  /** Whole cores or nothing. */
  readonly fullPcpusOnly: boolean;
  /** As many CPUs of each NUMA node where one does not do. */
  readonly distributeAcrossNuma: boolean;
  /** NUMA nodes of one socket count as one. */
  readonly alignBySocket: boolean;
  readonly distributeAcrossCores: boolean;
  /** Reserved CPUs are for the system alone, not for containers that share. */
  readonly strictReservation: boolean;
  readonly alignByUncoreCache: boolean;
}

type Key = keyof CpuPolicyOptions;

const OPTIONS: Readonly<Record<string, { readonly key: Key; readonly stage: 'GA' | 'Beta' | 'Alpha' }>> = {
  'full-pcpus-only': { key: 'fullPcpusOnly', stage: 'GA' },
  'strict-cpu-reservation': { key: 'strictReservation', stage: 'GA' },
  'prefer-align-cpus-by-uncorecache': { key: 'alignByUncoreCache', stage: 'GA' },
  'distribute-cpus-across-numa': { key: 'distributeAcrossNuma', stage: 'Beta' },
  'align-by-socket': { key: 'alignBySocket', stage: 'Alpha' },
  'distribute-cpus-across-cores': { key: 'distributeAcrossCores', stage: 'Alpha' },
};

const GATES = {
  GA: undefined,
  Beta: 'CPUManagerPolicyBetaOptions',
  Alpha: 'CPUManagerPolicyAlphaOptions',
} as const;

const EXCLUDING: readonly (readonly [Key, Key])[] = [
  ['fullPcpusOnly', 'distributeAcrossCores'],
  ['distributeAcrossNuma', 'distributeAcrossCores'],
  ['alignByUncoreCache', 'distributeAcrossCores'],
  ['alignByUncoreCache', 'distributeAcrossNuma'],
];

export const NO_CPU_POLICY_OPTIONS: CpuPolicyOptions = Object.freeze({
  fullPcpusOnly: false,
  distributeAcrossNuma: false,
  alignBySocket: false,
  distributeAcrossCores: false,
  strictReservation: false,
  alignByUncoreCache: false,
});

/** `faults`: each a sentence about one option. */
export function parseCpuPolicyOptions(
  options: Readonly<Record<string, string>>,
  isGateOn: (gate: string) => boolean,
): { readonly options: CpuPolicyOptions; readonly faults: readonly string[] } {
  const faults: string[] = [];
  const found: Record<Key, boolean> = { ...NO_CPU_POLICY_OPTIONS };
  for (const [name, value] of Object.entries(options)) {
    const known = Object.hasOwn(OPTIONS, name) ? OPTIONS[name] : undefined;
    const gate = GATES[known?.stage ?? 'GA'];
    const on = parseGoBool(value);
    if (known === undefined) faults.push(`unknown CPU Manager Policy option: "${name}"`);
    else if (gate !== undefined && !isGateOn(gate)) faults.push(`${name} needs the feature gate ${gate}`);
    else if (on === undefined) faults.push(`bad value for option "${name}": expected true or false, got "${value}"`);
    else found[known.key] = on;
  }
  for (const [a, b] of EXCLUDING) {
    if (found[a] && found[b]) faults.push(`${nameOf(a)} and ${nameOf(b)} can not be used at the same time`);
  }
  return { options: found, faults };
}

function nameOf(key: Key): string {
  return Object.entries(OPTIONS).find(([, option]) => option.key === key)![0];
}

/** What Go's strconv.ParseBool takes. */
export function parseGoBool(text: string): boolean | undefined {
  if (/^(1|t|T|TRUE|true|True)$/.test(text)) return true;
  return /^(0|f|F|FALSE|false|False)$/.test(text) ? false : undefined;
}
