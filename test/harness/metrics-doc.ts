// Which metrics an answer has, and which docs/metrics.md says it has.

/** Names of families with at least one sample. */
export function servedMetrics(text: string): Set<string> {
  const names = new Set<string>();
  let family = '';
  for (const line of text.split('\n')) {
    const type = /^# TYPE (\S+)/.exec(line);
    if (type !== null) family = type[1]!;
    else if (line !== '' && !line.startsWith('#')) names.add(family);
  }
  return names;
}

/** By endpoint and name: when it is there; '' is always. Of tables below headings that name an endpoint. */
export function documentedMetrics(markdown: string): Map<string, Map<string, string>> {
  const endpoints = new Map<string, Map<string, string>>();
  let current: Map<string, string> | undefined;
  for (const line of markdown.split('\n')) {
    const heading = /^## `(\/\S+)`/.exec(line);
    if (heading !== null) {
      current = new Map();
      endpoints.set(heading[1]!, current);
      continue;
    }
    const cells = line.split('|').map((cell) => cell.trim());
    const name = /^`(\w+)`$/.exec(cells[1] ?? '')?.[1];
    if (name !== undefined) current?.set(name, cells.at(-2) ?? '');
  }
  return endpoints;
}
