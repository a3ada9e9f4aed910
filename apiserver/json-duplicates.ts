// Finds members that occur twice in one JSON object: JSON.parse keeps the last and says nothing. One pass over text
// that JSON.parse has accepted, so its grammar need not be checked again.

interface Frame {
  readonly path: string;
  /** Keys met so far; undefined in arrays. */
  readonly keys: Set<string> | undefined;
  index: number;
  /** Member whose value comes next. */
  key: string;
}

/** Paths such as `spec.containers[0].image`, each once. `text` must be valid JSON. */
export function findDuplicateFields(text: string): string[] {
  const duplicates = new Set<string>();
  const stack: Frame[] = [];
  let i = 0;
  let expectKey = false;
  while (i < text.length) {
    const c = text[i]!;
    const top = stack.at(-1);
    if (c === '"') {
      const end = endOfString(text, i);
      if (expectKey && top?.keys !== undefined) {
        const key = JSON.parse(text.slice(i, end)) as string;
        if (top.keys.has(key)) duplicates.add(join(top.path, key));
        top.keys.add(key);
        top.key = key;
        expectKey = false;
      }
      i = end;
      continue;
    }
    if (c === '{' || c === '[') {
      const path =
        top === undefined ? '' : top.keys === undefined ? `${top.path}[${top.index}]` : join(top.path, top.key);
      stack.push({ path, keys: c === '{' ? new Set() : undefined, index: 0, key: '' });
      expectKey = c === '{';
    } else if (c === '}' || c === ']') {
      stack.pop();
      expectKey = false;
    } else if (c === ',' && top !== undefined) {
      top.index++;
      expectKey = top.keys !== undefined;
    }
    i++;
  }
  return [...duplicates];
}

function endOfString(text: string, start: number): number {
  let i = start + 1;
  while (text[i] !== '"') i += text[i] === '\\' ? 2 : 1;
  return i + 1;
}

function join(path: string, key: string): string {
  return path === '' ? key : `${path}.${key}`;
}
