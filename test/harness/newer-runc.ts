// A runc with idmapped mounts, which Debian 12's has not: that of Debian unstable, told to use the C library that came
// with it instead of the host's.
import { chmod, copyFile, mkdir, rename, stat } from 'node:fs/promises';
import path from 'node:path';
import { errorMessage } from '../../core/errors.ts';
import { execOk, systemExec } from '../../host/exec.ts';
import { fetchDebianPackage } from './debian-packages.ts';

/** The program's path, or why it cannot be had: Debian unstable moves on, and may come to need more than is here. */
export async function findNewerRunc(): Promise<{ readonly program: string } | { readonly missing: string }> {
  if (process.arch !== 'x64') return { missing: 'the newer runc is fetched for x86-64 only' };
  try {
    const program = await newerRunc();
    const features = await execOk(systemExec, program, ['features']);
    if (/"idmap":\s*\{\s*"enabled":\s*true/.test(features)) return { program };
    return { missing: 'the newer runc has no idmapped mounts' };
  } catch (err) {
    return { missing: errorMessage(err) };
  }
}

/** Made once, then taken from the cache. @throws {AgentError} DEBIAN_PACKAGE */
async function newerRunc(): Promise<string> {
  const runc = await fetchDebianPackage('sid', 'runc');
  const libc = await fetchDebianPackage('sid', 'libc6');
  const seccomp = await fetchDebianPackage('sid', 'libseccomp2');
  const patchelf = await fetchDebianPackage('bookworm', 'patchelf');
  const dir = path.join(path.dirname(runc), 'runc-here');
  const program = path.join(dir, 'runc');
  if (await isThere(program)) return program;
  await mkdir(dir, { recursive: true });
  const temporary = path.join(dir, `.runc-${process.pid}`);
  const source = path.join(runc, 'usr/bin/runc');
  await copyFile((await isThere(source)) ? source : path.join(runc, 'usr/sbin/runc'), temporary);
  await chmod(temporary, 0o755);
  const libs = (tree: string) => path.join(tree, 'usr/lib/x86_64-linux-gnu');
  const loader = path.join(libs(libc), 'ld-linux-x86-64.so.2');
  const rpath = `${libs(libc)}:${libs(seccomp)}`;
  await execOk(systemExec, path.join(patchelf, 'usr/bin/patchelf'), [
    '--set-interpreter',
    loader,
    '--set-rpath',
    rpath,
    temporary,
  ]);
  await rename(temporary, program); // whole or not at all: suites may run side by side
  return program;
}

async function isThere(file: string): Promise<boolean> {
  return await stat(file).then(
    () => true,
    () => false,
  );
}
