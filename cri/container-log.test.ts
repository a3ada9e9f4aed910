import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type ContainerLogOptions, parseLogLine, streamContainerLog, tailLog } from './container-log.ts';

let dir: string;
let file: string;

beforeEach(() => {
  dir = mkdtempSync(path.join(tmpdir(), 'nodelet-log-'));
  file = path.join(dir, '0.log');
});
afterEach(() => rmSync(dir, { recursive: true }));

const at = (seconds: number) => new Date(Date.UTC(2026, 0, 1, 0, 0, seconds)).toISOString().replace('Z', '000000Z');
const line = (seconds: number, text: string, tag = 'F', stream = 'stdout') =>
  `${at(seconds)} ${stream} ${tag} ${text}\n`;

async function read(opts: ContainerLogOptions = {}): Promise<string> {
  const chunks: Buffer[] = [];
  const signal = AbortSignal.timeout(10_000);
  await streamContainerLog(file, opts, async (c) => void chunks.push(Buffer.from(c)), { signal });
  return Buffer.concat(chunks).toString();
}

describe('reading', () => {
  test('text without stamps, parts joined, both streams in their order', async () => {
    writeFileSync(
      file,
      line(1, 'a') + line(2, 'b1', 'P') + line(2, 'b2') + line(3, 'err', 'F', 'stderr') + line(4, ''),
    );
    expect(await read()).toBe('a\nb1b2\nerr\n\n');
    expect(await read({ stream: 'stderr' })).toBe('err\n');
  });

  test('stamps stand once before a line in parts', async () => {
    writeFileSync(file, line(1, 'a', 'P') + line(1, 'b'));
    expect(await read({ timestamps: true })).toBe(`${at(1)} ab\n`);
  });

  test('since, limit and tail', async () => {
    writeFileSync(file, line(1, 'one') + line(2, 'two') + line(3, 'three'));
    expect(await read({ sinceMs: Date.UTC(2026, 0, 1, 0, 0, 2) })).toBe('two\nthree\n');
    expect(await read({ limitBytes: 5 })).toBe('one\nt');
    expect(await read({ tailLines: 2 })).toBe('two\nthree\n');
    expect(await read({ tailLines: 0 })).toBe('');
    expect(await read({ tailLines: 99 })).toBe('one\ntwo\nthree\n');
  });

  test('a line in parts counts once for the tail', async () => {
    writeFileSync(file, line(1, 'x') + line(2, 'a', 'P') + line(2, 'b', 'P') + line(2, 'c') + line(3, 'd'));
    expect(await read({ tailLines: 2 })).toBe('abc\nd\n');
  });

  test('a missing file is empty; foreign lines are shown as they are; an unfinished last line is shown', async () => {
    expect(await read()).toBe('');
    writeFileSync(file, `not a log line\n${line(1, 'end').trimEnd()}`);
    expect(await read()).toBe('not a log line\nend\n');
  });

  test('tail equals the end of the whole, whatever the lines, over block borders', async () => {
    const text = fc.string({ maxLength: 40 }).map((s) => s.replaceAll(/[\n\r]/g, ' '));
    const entries = fc.array(fc.tuple(text, fc.constantFrom('F', 'F', 'P')), { maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(entries, fc.nat(40), fc.constantFrom(1, 2000), async (list, tail, repeat) => {
        const body = list.map(([t, tag]) => line(1, t.repeat(repeat), tag)).join('') + line(2, 'last');
        writeFileSync(file, body);
        const whole = (await read()).split('\n').slice(0, -1);
        const expected = tail === 0 ? '' : `${whole.slice(-tail).join('\n')}\n`;
        expect(await read({ tailLines: tail })).toBe(expected);
      }),
      { numRuns: 60 },
    );
  });

  test('hostile bytes never throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        parseLogLine(bytes);
      }),
    );
  });
});

describe('following', () => {
  function follow(opts: ContainerLogOptions = {}) {
    const ended = Promise.withResolvers<void>();
    const stop = new AbortController();
    let text = '';
    let wanted: { text: string; resolve: () => void } | undefined;
    const sink = async (chunk: Uint8Array) => {
      text += Buffer.from(chunk).toString();
      if (wanted !== undefined && text.endsWith(wanted.text)) wanted.resolve();
    };
    const control = { signal: stop.signal, ended: ended.promise };
    const done = streamContainerLog(file, { ...opts, follow: true }, sink, control);
    const seen = (end: string) =>
      text.endsWith(end)
        ? Promise.resolve()
        : new Promise<void>((resolve) => {
            wanted = { text: end, resolve };
          });
    return { done, seen, end: () => ended.resolve(), stop, text: () => text };
  }

  test('what is appended comes at once, and the end of the container ends it', async () => {
    writeFileSync(file, line(1, 'a'));
    const log = follow();
    await log.seen('a\n');
    appendFileSync(file, line(2, 'b'));
    await log.seen('b\n');
    appendFileSync(file, line(3, 'c'));
    log.end();
    await log.done;
    expect(log.text()).toBe('a\nb\nc\n');
  });

  test('a rotated log is followed into its successor, and nothing is lost or doubled', async () => {
    writeFileSync(file, line(1, 'a'));
    const log = follow();
    await log.seen('a\n');
    appendFileSync(file, line(2, 'b'));
    renameSync(file, `${file}.20260101-000000`);
    writeFileSync(file, line(3, 'c'));
    await log.seen('c\n');
    appendFileSync(file, line(4, 'd'));
    await log.seen('d\n');
    log.end();
    await log.done;
    expect(log.text()).toBe('a\nb\nc\nd\n');
  });

  test('a log that does not exist yet is waited for', async () => {
    const log = follow();
    writeFileSync(file, line(1, 'first'));
    await log.seen('first\n');
    log.end();
    await log.done;
  });

  test('an abort and a full limit end it', async () => {
    writeFileSync(file, line(1, 'abcdef'));
    const limited = follow({ limitBytes: 3 });
    await limited.done;
    expect(limited.text()).toBe('abc');
    const aborted = follow();
    await aborted.seen('abcdef\n');
    aborted.stop.abort();
    await aborted.done;
  });
});

test('the end of a log for a termination message: lines and bytes are bounded, the last bytes win', async () => {
  writeFileSync(file, Array.from({ length: 100 }, (_, i) => line(i, `line ${i}`)).join(''));
  expect((await tailLog(file, 80, 1 << 20)).split('\n')).toHaveLength(81);
  expect(await tailLog(file, 80, 8)).toBe('line 99\n');
});
