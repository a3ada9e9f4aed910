// Everything that was written about an agent: flags, --config and drop-ins, merged by precedence, and where each setting
// was written, so that a fault can name what a person would change.
import { applyMergePatch } from '../../api/patch/merge-patch.ts';
import { changedFields, type Effect, refusalOf } from './field.ts';
import { type ConfigKind, KINDS } from './fields.ts';
import { type ConfigDocument, type FileAccess, readConfigFile, readDropIns } from './files.ts';
import type { Flag, Which } from './flag-table.ts';
import { attributeName, type FlagTexts, type GivenFlag, readFlags } from './flags.ts';
import { EVICTION_HARD, LEGACY_DEFAULTS } from './kubelet-fields.ts';
import type { Report } from './values.ts';

export interface ParseDeps extends FileAccess {
  /** The host's own name. */
  readonly hostname: () => string;
  /** $NODE_NAME, which flanneld's DaemonSet takes from the pod's spec.nodeName. */
  readonly nodeNameVariable: () => string | undefined;
}

type Values = Readonly<Record<string, unknown>>;
type Documents = Readonly<Record<ConfigKind, Values>>;

/** Everything that was written, merged, and where it was written. */
export class Input {
  readonly faults: string[] = [];
  readonly warnings: string[] = [];
  readonly deps: ParseDeps;
  documents: Documents = { KubeletConfiguration: {}, KubeProxyConfiguration: {}, NodeletConfiguration: {} };
  readonly #which: Which;
  readonly #texts: FlagTexts;
  #given: ReadonlyMap<string, GivenFlag> = new Map();
  #written: readonly ConfigDocument[] = [];

  constructor(which: Which, texts: FlagTexts, deps: ParseDeps) {
    this.#which = which;
    this.#texts = texts;
    this.deps = deps;
  }

  readonly fault = (problem: string): void => {
    if (!this.faults.includes(problem)) this.faults.push(problem);
  };

  readonly report: Report = (where, problem) => this.fault(`${where}: ${problem}`);

  async read(): Promise<this> {
    this.#given = readFlags(this.#which, this.#texts, this.fault);
    const [file, dir] = [this.text('config'), this.text('config-dir')];
    this.#written = [
      ...(file === undefined ? [] : await readConfigFile(file, this.deps, this.fault)),
      ...(dir === undefined ? [] : await readDropIns(dir, this.deps, this.fault)),
    ];
    // With --config-dir alone the old defaults are the base that is merged onto, as upstream has it.
    const base = file === undefined ? LEGACY_DEFAULTS : {};
    const filled = file === undefined ? {} : { evictionHard: EVICTION_HARD };
    this.documents = {
      KubeletConfiguration: this.#merge('KubeletConfiguration', base, filled),
      KubeProxyConfiguration: this.#merge('KubeProxyConfiguration', {}),
      NodeletConfiguration: this.#merge('NodeletConfiguration', {}),
    };
    this.#tellEffects();
    return this;
  }

  /** `filled`: defaults that --config already has when drop-ins are merged onto it, so that they merge with maps of theirs. */
  #merge(kind: ConfigKind, base: Values, filled: Values = {}): Values {
    const documents = this.#written.filter((doc) => doc.kind === kind);
    const file = this.text('config');
    let merged = base;
    let isFilled = false;
    for (const doc of documents) {
      if (doc.file !== file && !isFilled) {
        merged = { ...filled, ...merged };
        isFilled = true;
      }
      merged = applyMergePatch(merged, doc.values) as Values;
    }
    const targets = [...this.#given.values()].filter(({ flag }) => flag.target?.kind === kind);
    return targets.reduce(
      (sum, { flag, value }) => pathsOf(flag).reduce((at, path) => withValue(at, path.split('.'), value), sum),
      merged,
    );
  }

  /** What is set and refused is a fault; flags that are deprecated are told in one line. */
  #tellEffects(): void {
    for (const { flag, value } of this.#given.values()) {
      if (flag.target !== undefined) continue; // told with the field it sets
      if (value === '' || value === false || value === 0) continue;
      this.#refuse(`--${flag.name}=${this.#textsOf(flag.name)}`, flag.effect);
    }
    for (const kind of Object.keys(KINDS) as ConfigKind[]) {
      for (const { path, effect } of changedFields(KINDS[kind].fields, this.documents[kind]))
        if (this.#isWritten(kind, path)) this.#refuse(this.origin(kind, path), effect); // else an old default
    }
    const deprecated = [...this.#given.values()].filter(({ flag }) => flag.deprecated !== undefined);
    if (deprecated.length === 0) return;
    const listed = deprecated.map(({ flag }) => `--${flag.name} (${flag.deprecated})`).join(', ');
    this.warnings.push(`these flags are deprecated and will be taken away: ${listed}`);
  }

  #refuse(where: string, effect: Effect): void {
    const why = refusalOf(effect);
    if (why !== undefined) this.fault(`${where}: cannot be set: ${why}`);
  }

  #isWritten(kind: ConfigKind, path: string): boolean {
    return this.#flagOf(kind, path) !== undefined || this.#fileOf(kind, path) !== undefined;
  }

  /** `--name=value` when a flag set this field. */
  #flagOf(kind: ConfigKind, path: string): string | undefined {
    for (const { flag } of this.#given.values())
      if (flag.target?.kind === kind && pathsOf(flag).includes(path))
        return `--${flag.name}=${this.#textsOf(flag.name)}`;
    return undefined;
  }

  #textsOf(name: string): string {
    return (this.#texts[attributeName(name)] ?? []).join(',');
  }

  /** Where a field was set: the flag, the last file that has it, else the kind. */
  origin(kind: ConfigKind, path: string): string {
    const file = this.#fileOf(kind, path);
    return this.#flagOf(kind, path) ?? (file === undefined ? `${kind}.${path}` : `${file}: ${path}`);
  }

  #fileOf(kind: ConfigKind, path: string): string | undefined {
    const has = (doc: ConfigDocument): boolean =>
      doc.kind === kind && valueAt(doc.values, path.split('.')) !== undefined;
    return this.#written.findLast(has)?.file;
  }

  reportFor(kind: ConfigKind): Report {
    return (path, problem) => this.fault(`${this.origin(kind, path)}: ${problem}`);
  }

  /** A flag that stands alone; '' counts as not given. */
  text(name: string): string | undefined {
    const value = this.#given.get(name)?.value;
    return value === '' ? undefined : (value as string | undefined);
  }

  value<T>(name: string): T | undefined {
    return this.#given.get(name)?.value as T | undefined;
  }
}

/** The fields that a flag sets. */
function pathsOf({ target }: Flag): readonly string[] {
  return target === undefined ? [] : [target.path, target.also ?? []].flat();
}

function valueAt(values: Values, path: readonly string[]): unknown {
  return path.reduce<unknown>((at, key) => (at as Values | undefined)?.[key], values);
}

function withValue(values: Values, [head, ...rest]: readonly string[], value: unknown): Values {
  const inner = rest.length === 0 ? value : withValue((values[head!] ?? {}) as Values, rest, value);
  return { ...values, [head!]: inner };
}
