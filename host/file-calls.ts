// The calls that make small trees of files, made in one of two ways. The usual one hands each call to a thread of a pool:
// a disk may take its time. In a file system that is all memory a call takes some 30 µs, and the way to the pool and back
// takes three times as long, and many times as long when all processors are busy: there it is made at once.
import fs from 'node:fs';
import promises from 'node:fs/promises';

export type FileCalls = Pick<
  typeof promises,
  | 'chmod'
  | 'lchown'
  | 'lstat'
  | 'mkdir'
  | 'readdir'
  | 'readFile'
  | 'readlink'
  | 'rename'
  | 'symlink'
  | 'unlink'
  | 'writeFile'
>;

export const diskFiles: FileCalls = promises;

/** For tmpfs only, and for few calls in a row: nothing else happens in this process meanwhile. */
export const memoryFiles = {
  chmod: atOnce(fs.chmodSync),
  lchown: atOnce(fs.lchownSync),
  lstat: atOnce(fs.lstatSync),
  mkdir: atOnce(fs.mkdirSync),
  readdir: atOnce(fs.readdirSync),
  readFile: atOnce(fs.readFileSync),
  readlink: atOnce(fs.readlinkSync),
  rename: atOnce(fs.renameSync),
  symlink: atOnce(fs.symlinkSync),
  unlink: atOnce(fs.unlinkSync),
  writeFile: atOnce(fs.writeFileSync),
} as unknown as FileCalls;

/** What it throws becomes a rejection. */
function atOnce(call: (...args: never[]) => unknown) {
  return async (...args: never[]): Promise<unknown> => call(...args);
}
