// The text format of Prometheus, 0.0.4 (prometheus.io/docs/instrumenting/exposition_formats). Written line by line into
// one list: a scrape has tens of thousands of lines, and an object for each of them would cost more than reading them.

export type MetricType = 'counter' | 'gauge';

export const TEXT_CONTENT_TYPE = 'text/plain; version=0.0.4; charset=utf-8';

/** Pure: `{a="1",b="2"}` without the braces. */
export function labelText(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}="${escapeLabel(value)}"`)
    .join(',');
}

function escapeLabel(value: string): string {
  return /[\\"\n]/.test(value) ? value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n') : value;
}

export class MetricsText {
  readonly #lines: string[] = [];
  #name = '';
  #head = '';

  /** Begins a family; its head is written with its first sample, so that a family without samples does not show. */
  family(name: string, type: MetricType, help: string): void {
    this.#name = name;
    this.#head = `# HELP ${name} ${help}\n# TYPE ${name} ${type}`;
  }

  /** `labels` as `labelText` makes them; `atMs` is the wall clock of the value, where the reader is to know it. */
  add(labels: string, value: number, atMs?: number): void {
    if (this.#head !== '') {
      this.#lines.push(this.#head);
      this.#head = '';
    }
    const stamp = atMs === undefined ? '' : ` ${Math.trunc(atMs)}`;
    this.#lines.push(labels === '' ? `${this.#name} ${value}${stamp}` : `${this.#name}{${labels}} ${value}${stamp}`);
  }

  toString(): string {
    return this.#lines.length === 0 ? '' : `${this.#lines.join('\n')}\n`;
  }
}
