// Log lines in klog's form, for people and for programs that read the kubelet's log:
//   I1121 14:42:45.123456    1234 pleg] "container died" pod="default/web-0"
// Made from the JSON line, so that both forms say the same.
import { writeSync } from 'node:fs';
import type { DestinationStream } from 'pino';

const LETTERS: Readonly<Record<string, string>> = { warn: 'W', error: 'E', fatal: 'F' };

/** Writes to a file descriptor, each line at once. */
export function textLog(fd: number): DestinationStream {
  return { write: (line) => void writeSync(fd, textLine(line, process.pid)) };
}

/** A line of pino's JSON as klog writes it; what is no JSON is left as it is. Time is local, as klog's is. */
export function textLine(json: string, pid: number): string {
  let entry: Record<string, unknown>;
  try {
    entry = JSON.parse(json);
  } catch {
    return json; // e.g. what a crashing process wrote itself
  }
  const { level, time, component, msg, ...fields } = entry;
  const at = new Date(String(time));
  const two = (n: number): string => String(n).padStart(2, '0');
  const date = `${two(at.getMonth() + 1)}${two(at.getDate())}`;
  const clock = `${two(at.getHours())}:${two(at.getMinutes())}:${two(at.getSeconds())}`;
  const micros = `${String(at.getMilliseconds()).padStart(3, '0')}000`;
  const head = `${LETTERS[String(level)] ?? 'I'}${date} ${clock}.${micros} ${String(pid).padStart(7)}`;
  const told = Object.entries(fields).map(([key, value]) => ` ${key}=${textValue(value)}`);
  return `${head} ${component ?? 'agent'}] ${JSON.stringify(msg ?? '')}${told.join('')}\n`;
}

/** Texts and errors in quotes, all else as JSON. */
function textValue(value: unknown): string {
  const message = (value as { message?: unknown } | null)?.message;
  return JSON.stringify(typeof message === 'string' ? message : value);
}
