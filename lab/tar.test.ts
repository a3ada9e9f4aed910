import { execFileSync } from 'node:child_process';
import { mkdtempSync, readFileSync, readlinkSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createTar, type TarEntry } from './tar.ts';

function unpack(archive: Buffer, look: (dir: string) => void): void {
  const dir = mkdtempSync(path.join(tmpdir(), 'nodelet-tar-'));
  try {
    execFileSync('tar', ['-x', '-p', '-C', dir], { input: archive });
    look(dir);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

test('tar(1) unpacks files, directories and links as they were put in', () => {
  const content = Buffer.from('#!/bin/sh\n');
  const entries: TarEntry[] = [
    { kind: 'directory', path: 'bin', mode: 0o755 },
    { kind: 'file', path: 'bin/tool', content, mode: 0o750 },
    { kind: 'symlink', path: 'bin/alias', target: '/bin/tool' },
    { kind: 'file', path: 'empty', content: new Uint8Array(0), mode: 0o600 },
    { kind: 'directory', path: 'tmp', mode: 0o1777 },
  ];
  unpack(createTar(entries), (dir) => {
    expect(readFileSync(path.join(dir, 'bin/tool'))).toEqual(content);
    expect(statSync(path.join(dir, 'bin/tool')).mode & 0o7777).toBe(0o750);
    expect(readlinkSync(path.join(dir, 'bin/alias'))).toBe('/bin/tool');
    expect(statSync(path.join(dir, 'empty')).size).toBe(0);
    expect(statSync(path.join(dir, 'tmp')).mode & 0o7777).toBe(0o1777);
    expect(statSync(path.join(dir, 'empty')).mtimeMs).toBe(0);
  });
});

test('content of any length comes out whole, and equal entries give equal bytes', () => {
  const contents = fc.array(fc.uint8Array({ maxLength: 1200 }), { minLength: 1, maxLength: 4 });
  fc.assert(
    fc.property(contents, (list) => {
      const entries = list.map((content, i): TarEntry => ({ kind: 'file', path: `f${i}`, content, mode: 0o644 }));
      const archive = createTar(entries);
      expect(archive.length % 512).toBe(0);
      expect(createTar(entries).equals(archive)).toBe(true);
      unpack(archive, (dir) => {
        for (const [i, content] of list.entries()) {
          expect(Buffer.compare(readFileSync(path.join(dir, `f${i}`)), content)).toBe(0);
        }
      });
    }),
    { numRuns: 15 },
  );
});

test('a path that does not fit is refused, not cut', () => {
  expect(() => createTar([{ kind: 'directory', path: 'd'.repeat(100), mode: 0o755 }])).toThrow(RangeError);
  expect(() => createTar([{ kind: 'symlink', path: 'link', target: 't'.repeat(101) }])).toThrow(RangeError);
});
