import { rmSync, writeFileSync } from 'node:fs';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { Pod } from '../../api/pod.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { FileSource } from './file-source.ts';

let dir: string;
let published: string[];
/** Everything that was ever published. */
let history: string[][];
let reads: number;
let broken: number;
let wake: (() => void) | undefined;
let onDecode: (text: string) => void;
let stop: AbortController;
let ended: Promise<void>;

beforeEach(async () => {
  dir = await mkdtemp(path.join(tmpdir(), 'static-pods-'));
  published = [];
  history = [];
  reads = 0;
  broken = 0;
  onDecode = () => {};
});

afterEach(async () => {
  stop.abort();
  await ended;
  await rm(dir, { recursive: true, force: true });
});

/** A manifest is its pod's name; `!` is one that cannot be used. */
function start(at = dir, checkFrequencyMs = 60_000): void {
  const source = new FileSource(
    { path: at, checkFrequencyMs },
    {
      decode: (text) => {
        reads++;
        onDecode(text);
        if (text.startsWith('!')) throw new Error('broken');
        return { metadata: { name: text } } as Pod;
      },
      onBroken: () => void broken++,
      publish: (pods) => {
        published = pods.map((p) => p.metadata!.name!);
        history.push(published);
        wake?.();
      },
      clock: systemClock,
      log: silentLog,
    },
  );
  stop = new AbortController();
  ended = source.run(stop.signal);
}

const isSame = (a: readonly string[], b: readonly string[]) => JSON.stringify(a) === JSON.stringify(b);

async function until(names: readonly string[]): Promise<void> {
  while (!isSame(published, names)) await nextPublication();
}

/** Waits until `names` were published, be it only for a moment. */
async function untilSeen(names: readonly string[]): Promise<void> {
  while (!history.some((past) => isSame(past, names))) await nextPublication();
}

async function nextPublication(): Promise<void> {
  await new Promise<void>((resolve) => {
    wake = resolve;
  });
}

const put = (name: string, text: string) => writeFile(path.join(dir, name), text);

test('files come, change and go, in the order of their names', async () => {
  await put('b.yaml', 'b');
  start();
  await until(['b']);
  await put('a.yaml', 'a');
  await until(['a', 'b']);
  await put('b.yaml', 'changed');
  await until(['a', 'changed']);
  await rename(path.join(dir, 'a.yaml'), path.join(dir, '.a.yaml')); // dot files do not count
  await until(['changed']);
  await rm(path.join(dir, 'b.yaml'));
  await until([]);
});

test('a file that cannot be used leaves the others alone, and its own last good pod', async () => {
  await put('a.yaml', 'a');
  await put('b.yaml', 'b');
  await put('broken.yaml', '!');
  await mkdir(path.join(dir, 'directory'));
  await symlink('/nowhere', path.join(dir, 'link.yaml'));
  start();
  await until(['a', 'b']);
  await put('b.yaml', '!half');
  await put('c.yaml', 'c'); // after it was read, the broken one was too
  await until(['a', 'b', 'c']);
  expect(broken).toBeGreaterThanOrEqual(2);
  await put('b.yaml', 'mended');
  await until(['a', 'mended', 'c']);
});

test('a link that leads round in circles is told of once', async () => {
  await symlink('loop.yaml', path.join(dir, 'loop.yaml'));
  start();
  for (const name of ['a', 'b', 'c']) {
    await put(`${name}.yaml`, name);
    await until(['a', 'b', 'c'].slice(0, 'abc'.indexOf(name) + 1));
  }
  expect(broken).toBe(1);
});

test('a file that did not change is not read again', async () => {
  await put('a.yaml', 'a');
  start();
  await until(['a']);
  await put('b.yaml', 'b');
  await until(['a', 'b']);
  expect(reads).toBe(2);
});

test('a file that went and came back with the same text is gone for a moment; one that was replaced is not', async () => {
  await put('a.yaml', 'a');
  await put('b.yaml', 'b');
  start();
  await until(['a', 'b']);
  rmSync(path.join(dir, 'b.yaml'));
  writeFileSync(path.join(dir, 'b.yaml'), 'b');
  await untilSeen(['a']);
  await until(['a', 'b']);
  await put('.a.yaml', 'a');
  await rename(path.join(dir, '.a.yaml'), path.join(dir, 'a.yaml'));
  await put('c.yaml', 'c'); // once this one was seen, the other was too
  await until(['a', 'b', 'c']);
  expect(history.filter((names) => !names.includes('a'))).toEqual([]);
});

test('a file that goes and comes back while others are read is gone for a moment too', async () => {
  const file = path.join(dir, 'b.yaml');
  await writeFile(file, 'two');
  start();
  await until(['two']);
  onDecode = (text) => {
    if (text !== 'one') return;
    rmSync(file);
    writeFileSync(file, 'two');
  };
  await writeFile(path.join(dir, '.a'), 'one');
  await rename(path.join(dir, '.a'), path.join(dir, 'a.yaml'));
  await untilSeen(['one']);
  await until(['one', 'two']);
});

test('a path that is not there is an empty set, until it comes', async () => {
  const later = path.join(dir, 'manifests');
  published = ['something'];
  start(later, 20);
  await until([]);
  await mkdir(later);
  await writeFile(path.join(later, 'a.yaml'), 'a');
  await until(['a']);
});

test('a single file is a manifest', async () => {
  await put('only.yaml', 'only');
  start(path.join(dir, 'only.yaml'));
  await until(['only']);
  await put('only.yaml', 'other');
  await until(['other']);
});
