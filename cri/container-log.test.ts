import { execFileSync } from 'node:child_process';
import {
  appendFileSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { type ContainerLogOptions, streamContainerLog, tailLog } from './container-log.ts';
import { formatLogTime, parseLogLine } from './log-format.ts';

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

/** None for a descriptor that is closed by now. */
function linkOf(file: string): string[] {
  try {
    return [readlinkSync(file)];
  } catch {
    return [];
  }
}

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

  test.each([
    ['a FIFO that nobody writes to', () => execFileSync('mkfifo', [file])],
    ['a device', () => symlinkSync('/dev/zero', file)],
    ['a directory', () => mkdirSync(file)],
  ])('%s in the place of the log is refused, and holds nothing up', async (_what, put) => {
    put();
    for (const opts of [{}, { tailLines: 1 }, { follow: true }]) {
      await expect(read(opts)).rejects.toMatchObject({ code: 'LOG_FORMAT' });
    }
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

  test('the parts of a line count like lines for the tail', async () => {
    writeFileSync(file, line(1, 'x') + line(2, 'a', 'P') + line(2, 'b', 'P') + line(2, 'c') + line(3, 'd'));
    expect(await read({ tailLines: 2 })).toBe('c\nd\n');
  });

  test('a missing file is empty; an unfinished last line is shown', async () => {
    expect(await read()).toBe('');
    writeFileSync(file, line(1, 'a') + line(2, 'end').trimEnd());
    expect(await read()).toBe('a\nend\n');
    expect(await read({ tailLines: 1 })).toBe('end\n');
  });

  test('a file that is no container log is refused; a foreign line in one is left out', async () => {
    writeFileSync(file, 'hello world\n');
    await expect(read()).rejects.toThrow('unsupported log format: "hello world"');
    writeFileSync(file, `${line(1, 'a')}hello world\n${line(2, 'b')}`);
    expect(await read()).toBe('a\nb\n');
  });

  test("a log in Docker's format", async () => {
    const line = (log: string, stream: string, second: number) =>
      `${JSON.stringify({ log, stream, time: `2026-01-01T00:00:0${second}.5Z` })}\n`;
    writeFileSync(file, `${line('one\n', 'stdout', 1)}${line('tw', 'stderr', 2)}${line('o\n', 'stderr', 2)}not one\n`);
    expect(await read({})).toBe('one\ntwo\n');
    expect(await read({ timestamps: true, stream: 'stderr' })).toBe('2026-01-01T00:00:02.500000000Z two\n');
  });

  test('a line longer than any that the runtime writes does not fill memory', async () => {
    writeFileSync(file, line(1, 'a') + line(2, 'x'.repeat(3_000_000)) + line(3, 'b'));
    const text = await read();
    expect(text.length).toBeLessThan(500_000);
    expect(text).toMatch(/^a\nx+\nb\n$/);
    expect(await read({ tailLines: 1 })).toBe('b\n');
    expect(await read({ tailLines: 3 })).toBe(text);
  });

  test('tail equals the end of the whole, whatever the lines, over block borders', async () => {
    const text = fc.string({ maxLength: 40 }).map((s) => s.replaceAll(/[\n\r]/g, ' '));
    const entries = fc.array(text, { maxLength: 60 });
    await fc.assert(
      fc.asyncProperty(entries, fc.nat(40), fc.constantFrom(1, 2000), async (list, tail, repeat) => {
        writeFileSync(file, list.map((t) => line(1, t.repeat(repeat))).join('') + line(2, 'last'));
        const whole = (await read()).split('\n').slice(0, -1);
        const expected = tail === 0 ? '' : `${whole.slice(-tail).join('\n')}\n`;
        expect(await read({ tailLines: tail })).toBe(expected);
      }),
      { numRuns: 60 },
    );
  });

  test('what is written is what the runtime was given, however it was cut', async () => {
    const pieces = fc.array(fc.tuple(fc.base64String({ maxLength: 30 }), fc.constantFrom('F', 'P')), { maxLength: 50 });
    await fc.assert(
      fc.asyncProperty(pieces, fc.nat(200), async (list, limitBytes) => {
        writeFileSync(file, list.map(([t, tag]) => line(1, t, tag)).join(''));
        const written = list.map(([t, tag]) => (tag === 'F' ? `${t}\n` : t)).join('');
        expect(await read()).toBe(written);
        expect(await read({ limitBytes: limitBytes + 1 })).toBe(written.slice(0, limitBytes + 1));
      }),
      { numRuns: 60 },
    );
  });

  test('times get nine digits and keep their zone', () => {
    expect(formatLogTime('2026-01-01T00:00:00.1234567891Z')).toBe('2026-01-01T00:00:00.123456789Z');
    expect(formatLogTime('2026-01-02T03:04:05Z')).toBe('2026-01-02T03:04:05.000000000Z');
    expect(formatLogTime('2026-01-02T03:04:05.12+02:00')).toBe('2026-01-02T03:04:05.120000000+02:00');
    expect(formatLogTime('2026-01-02T03:04:05.123456789Z')).toBe('2026-01-02T03:04:05.123456789Z');
  });

  test('one entry is read into its parts', () => {
    const parse = (text: string) => parseLogLine(Buffer.from(text));
    expect(parse('2026-01-02T03:04:05Z stderr P:x some text')).toEqual({
      timestamp: '2026-01-02T03:04:05Z',
      stream: 'stderr',
      complete: false,
      textStart: 32,
    });
    for (const bad of [
      '',
      'x',
      '2026-01-02T03:04:05Z stdout F',
      '2026-01-02T03:04:05Z stdin F x',
      'today stdout F x',
    ]) {
      expect(parse(bad)).toBeUndefined();
    }
  });

  test('hostile bytes never throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        parseLogLine(Buffer.from(bytes));
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

  test('what the old file gets between the last look and its rotation is not lost', async () => {
    for (let i = 0; i < 20; i++) {
      rmSync(file, { force: true });
      writeFileSync(file, line(1, 'a'));
      const log = follow();
      await log.seen('a\n');
      const rotated = `${file}.${i}`;
      renameSync(file, rotated);
      appendFileSync(rotated, line(2, 'b')); // the runtime writes on until it is told to reopen
      appendFileSync(rotated, line(3, 'unfinished').trimEnd());
      writeFileSync(file, line(4, 'c'));
      await log.seen('c\n');
      log.end();
      await log.done;
      expect(log.text()).toBe('a\nb\nunfinished\nc\n');
    }
  });

  test('a reader that goes while the log is rotated leaves no file open: Node.js would end the process', async () => {
    const openNow = () => readdirSync('/proc/self/fd').flatMap((fd) => linkOf(`/proc/self/fd/${fd}`));
    writeFileSync(file, line(1, 'a') + line(2, 'unfinished').trimEnd());
    const begun = Promise.withResolvers<void>();
    const sink = async (chunk: Uint8Array) => {
      begun.resolve();
      if (Buffer.from(chunk).includes('unfinished')) throw new Error('the reader has gone');
    };
    const done = streamContainerLog(file, { follow: true }, sink, { signal: AbortSignal.timeout(60_000) });
    await begun.promise;
    renameSync(file, `${file}.1`);
    writeFileSync(file, line(3, 'b')); // what is unfinished in the old file is written now
    await expect(done).rejects.toThrow('the reader has gone');
    expect(openNow().filter((name) => name.startsWith(file))).toEqual([]);
  });

  test('a link to the log is followed where the log is rotated', async () => {
    const real = path.join(dir, 'pods');
    mkdirSync(real);
    const target = path.join(real, '0.log');
    writeFileSync(target, line(1, 'a'));
    symlinkSync(target, file);
    const log = follow();
    await log.seen('a\n');
    renameSync(target, `${target}.1`);
    writeFileSync(target, line(2, 'b'));
    await log.seen('b\n');
    log.end();
    await log.done;
  });

  test('a slow reader holds the log back', async () => {
    writeFileSync(file, Array.from({ length: 5000 }, (_, i) => line(1, `${i}`.padStart(100, '.'))).join(''));
    const chunks: number[] = [];
    const release = Promise.withResolvers<void>();
    const blocked = Promise.withResolvers<void>();
    const sink = async (chunk: Uint8Array) => {
      chunks.push(chunk.length);
      blocked.resolve();
      await release.promise;
    };
    const done = streamContainerLog(file, {}, sink, { signal: new AbortController().signal });
    await blocked.promise;
    for (let i = 0; i < 5; i++) await new Promise((resolve) => setImmediate(resolve));
    expect(chunks).toHaveLength(1);
    release.resolve();
    await done;
    expect(chunks.reduce((a, b) => a + b)).toBe(5000 * 101);
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

describe('whatever is in the file', () => {
  /** The format's rules, slowly: the whole file at once. */
  function expected(content: Buffer, timestamps: boolean): string {
    const lines = content.toString('latin1').split('\n');
    let out = '';
    let continued = false;
    for (const line of lines) {
      const m = /^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d)(?:\.(\d+))?Z (?:stdout|stderr) ([^ ]*) (.*)$/s.exec(line);
      const tag = m?.[3]?.split(':')[0];
      if (m === null || (tag !== 'F' && tag !== 'P')) continue;
      if (timestamps && !continued) out += `${m[1]}.${(m[2] ?? '').padEnd(9, '0').slice(0, 9)}Z `;
      out += tag === 'F' ? `${m[4]}\n` : m[4];
      continued = tag === 'P';
    }
    return out;
  }

  test('it reads as the rules say, however long its lines are', async () => {
    const random = seeded(20_261_121);
    for (let round = 0; round < 60; round++) {
      const lines = Array.from({ length: 1 + random(40) }, () => randomLine(random));
      const content = Buffer.from(`2026-01-01T00:00:00Z stdout F first\n${lines.join('\n')}`, 'latin1');
      const file = path.join(dir, `random-${round}.log`);
      writeFileSync(file, content);
      for (const timestamps of [false, true]) {
        const chunks: Buffer[] = [];
        const sink = async (chunk: Uint8Array) => void chunks.push(Buffer.from(chunk));
        await streamContainerLog(file, { timestamps }, sink, { signal: new AbortController().signal });
        expect(Buffer.concat(chunks).toString('latin1') === expected(content, timestamps), `round ${round}`).toBe(true);
      }
    }
  });

  function randomLine(random: (below: number) => number): string {
    const text = (length: number) => String.fromCharCode(...Array.from({ length }, () => 32 + random(224)));
    const lengths = [0, 1, 20, 200, 16_384, 70_000];
    const length = lengths[random(random(8) === 0 ? lengths.length : 4)]!;
    const time = `2026-01-01T00:00:00${['', '.5', '.123456789'][random(3)]}Z`;
    const stream = ['stdout', 'stderr', 'stdin'][random(20) === 0 ? 2 : random(2)];
    const tag = ['F', 'P', 'F:more', 'X', ''][random(20) === 0 ? 3 + random(2) : random(3)];
    const entry = `${time} ${stream} ${tag} ${text(length)}`;
    if (random(15) === 0) return text(random(60));
    return random(15) === 0 ? entry.slice(0, random(40)) : entry;
  }
});

/** Small numbers in a fixed order (Lehmer). */
function seeded(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
}
