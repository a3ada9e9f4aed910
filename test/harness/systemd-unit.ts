// The command line of a systemd service, worked out as systemd does it (systemd.exec(5), systemd.service(5)): as much of
// that as the units in deploy/ use.
import { readFile } from 'node:fs/promises';
import { errnoOf } from '../../core/errors.ts';

export interface UnitCommand {
  readonly argv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
}

/** `read` gives the content of an EnvironmentFile by its path on the node. */
export async function unitCommand(
  files: readonly string[],
  read: (file: string) => Promise<string> = (file) => readFile(file, 'utf8'),
): Promise<UnitCommand> {
  let env: Record<string, string> = {};
  let start: string | undefined;
  for (const file of files) {
    for (const line of (await readFile(file, 'utf8')).split('\n')) {
      const [, name = '', value = ''] = /^([A-Za-z]+)=(.*)$/.exec(line) ?? [];
      if (name === 'Environment') env = { ...env, ...assignment(unquoted(value)) };
      if (name === 'EnvironmentFile') env = { ...env, ...(await environmentOf(value, read)) };
      if (name === 'ExecStart') start = value === '' ? undefined : value;
    }
  }
  const words = (start ?? '').split(' ').flatMap((word) => {
    // An unbraced variable alone is split into words; one that is not set is no word.
    const variable = /^\$([A-Z_]+)$/.exec(word)?.[1];
    return variable === undefined ? [word] : (env[variable] ?? '').split(/\s+/).filter((w) => w !== '');
  });
  return { argv: words, env };
}

/** A dash before the path: the file may be missing. */
async function environmentOf(value: string, read: (file: string) => Promise<string>): Promise<Record<string, string>> {
  try {
    const lines = (await read(value.replace(/^-/, ''))).split('\n').filter((l) => /^[A-Za-z_]/.test(l));
    return Object.assign({}, ...lines.map((l) => assignment(l))) as Record<string, string>;
  } catch (err) {
    if (value.startsWith('-') && errnoOf(err) === 'ENOENT') return {};
    throw err;
  }
}

function assignment(text: string): Record<string, string> {
  const at = text.indexOf('=');
  return { [text.slice(0, at)]: unquoted(text.slice(at + 1)) };
}

const unquoted = (text: string): string => /^"(.*)"$/.exec(text)?.[1] ?? text;
