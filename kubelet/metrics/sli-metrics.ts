// /metrics/slis: how each health check went whenever somebody asked for health. After component-base metrics/prometheus/slis.
import { labelText, MetricsText } from './text.ts';

const TYPE = 'healthz';

interface Seen {
  ok: boolean;
  successes: number;
  errors: number;
}

export class SliMetrics {
  readonly #checks = new Map<string, Seen>();

  /** A check was made. There are few of them, known by their code: nothing bounds the names. */
  observe(name: string, ok: boolean): void {
    const seen = this.#checks.get(name) ?? { ok, successes: 0, errors: 0 };
    seen.ok = ok;
    if (ok) seen.successes += 1;
    else seen.errors += 1;
    this.#checks.set(name, seen);
  }

  render(): string {
    const text = new MetricsText();
    text.family('kubernetes_healthcheck', 'gauge', 'How the check went last: 1 well, 0 not');
    for (const [name, { ok }] of this.#checks) text.add(labelText({ name, type: TYPE }), ok ? 1 : 0);
    text.family('kubernetes_healthchecks_total', 'counter', 'How often the check went so');
    for (const [name, { successes, errors }] of this.#checks) {
      if (errors > 0) text.add(labelText({ name, status: 'error', type: TYPE }), errors);
      if (successes > 0) text.add(labelText({ name, status: 'success', type: TYPE }), successes);
    }
    return text.toString();
  }
}
