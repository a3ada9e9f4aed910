/**
 * Columns as wide as they need to be, two blanks between them, no blanks at the ends of lines. The first row is the heading;
 * every row has as many cells. Pure.
 */
export function formatTable(rows: readonly (readonly string[])[]): string {
  const widths = (rows[0] ?? []).map((_, i) => Math.max(...rows.map((row) => row[i]!.length)));
  const lineOf = (row: readonly string[]) =>
    row
      .map((cell, i) => cell.padEnd(widths[i]!))
      .join('  ')
      .trimEnd();
  return rows.map(lineOf).join('\n');
}
