// Programs of other Debian releases, unpacked into a cache in the working tree, so that suites can run them beside the
// host's own. The host's apt state is not touched: lists, caches and sources are the suites' own, and the mirror is the
// one that the host uses.
import { mkdir, mkdtemp, readdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { AgentError, errnoOf } from '../../core/errors.ts';
import { execOk, systemExec } from '../../host/exec.ts';
import { withFileLock } from './file-lock.ts';

/** Releases by their code names; `sid` moves on, the others only within their release. */
export type DebianSuite = 'bookworm' | 'trixie' | 'sid';

const CACHE = path.resolve(import.meta.dirname, '../../.cache/debian');
const ATTEMPTS = 3;
const UPDATE_MS = 180_000;

interface Mirror {
  readonly uri: string;
  readonly signedBy: string | undefined;
}

/**
 * The directory that holds the unpacked files of `name`, e.g. `<dir>/usr/bin/kubectl`. Fetched once, then taken from the
 * cache; suites that run at the same time wait for each other.
 * @throws {AgentError} DEBIAN_PACKAGE when the mirror cannot be reached or has no such package.
 */
export async function fetchDebianPackage(suite: DebianSuite, name: string): Promise<string> {
  const base = path.join(CACHE, suite);
  const unpacked = path.join(base, name);
  if (await exists(unpacked)) return unpacked;
  await mkdir(base, { recursive: true });
  await withFileLock(path.join(base, 'lock'), async () => {
    if (await exists(unpacked)) return;
    const temporary = await mkdtemp(path.join(base, '.unpack-'));
    try {
      const deb = await downloadWithRetries(suite, name, base, temporary);
      const tree = path.join(temporary, 'tree');
      await execOk(systemExec, 'dpkg-deb', ['-x', deb, tree], { timeoutMs: 120_000 });
      await rename(tree, unpacked);
    } finally {
      await rm(temporary, { recursive: true, force: true });
    }
  });
  return unpacked;
}

async function downloadWithRetries(suite: DebianSuite, name: string, base: string, into: string): Promise<string> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await download(suite, name, base, into, attempt > 1);
    } catch (cause) {
      if (attempt < ATTEMPTS) continue; // a mirror in the middle of its update answers for seconds with old lists
      throw new AgentError(`cannot fetch the Debian package ${name} of ${suite}: ${(cause as Error).message}`, {
        code: 'DEBIAN_PACKAGE',
        cause,
        hint: 'the suites need the Debian mirror of this host once; later runs use the cache',
      });
    }
  }
}

async function download(
  suite: DebianSuite,
  name: string,
  base: string,
  into: string,
  refreshLists: boolean,
): Promise<string> {
  const options = await aptOptions(suite, base);
  const marker = path.join(base, 'lists-complete');
  if (refreshLists || !(await exists(marker))) {
    await execOk(systemExec, 'apt-get', [...options, '--error-on=any', 'update'], { timeoutMs: UPDATE_MS });
    await writeFile(marker, '');
  }
  await execOk(systemExec, 'apt-get', [...options, 'download', name], { cwd: into, timeoutMs: UPDATE_MS });
  const deb = (await readdir(into)).find((file) => file.endsWith('.deb'));
  if (deb === undefined) throw new Error('apt-get left no file');
  return path.join(into, deb);
}

async function aptOptions(suite: DebianSuite, base: string): Promise<string[]> {
  const { uri, signedBy } = await hostMirror();
  const sources = path.join(base, 'sources.list');
  const lists = path.join(base, 'lists');
  const cache = path.join(base, 'cache');
  for (const dir of [lists, cache])
    await mkdir(path.join(dir, dir === lists ? 'partial' : 'archives/partial'), { recursive: true });
  await writeFile(sources, `deb ${signedBy === undefined ? '' : `[signed-by=${signedBy}] `}${uri} ${suite} main\n`);
  const settings = {
    'Dir::Etc::SourceList': sources,
    'Dir::Etc::SourceParts': '-',
    'Dir::State::Lists': lists,
    'Dir::State::Status': '/dev/null', // what is installed here must not decide which version is fetched
    'Dir::Cache': cache,
    // A mirror that fell behind still has what is wanted, and its signature is checked all the same.
    'Acquire::Check-Valid-Until': 'false',
    'Acquire::Languages': 'none',
    'Acquire::Retries': '3',
    'APT::Sandbox::User': 'root', // the cache need not be readable for the user _apt
  };
  return ['-q', ...Object.entries(settings).flatMap(([key, value]) => ['-o', `${key}=${value}`])];
}

/** The archive of Debian itself (not its security updates) in the host's own sources. */
export async function hostMirror(): Promise<Mirror> {
  const dir = '/etc/apt/sources.list.d';
  const files = ['/etc/apt/sources.list', ...(await readdir(dir)).map((file) => path.join(dir, file))];
  for (const file of files) {
    const text = await readFile(file, 'utf8').catch((err: unknown) => {
      if (errnoOf(err) === 'ENOENT') return '';
      throw err;
    });
    const mirror = file.endsWith('.sources')
      ? parseDeb822(text)
      : file.endsWith('.list')
        ? parseOneLine(text)
        : undefined;
    if (mirror !== undefined) return mirror;
  }
  throw new Error('the apt sources of this host name no Debian mirror');
}

const isArchive = (uri: string): boolean => /^https?:\/\/.+\/debian\/?$/.test(uri);

/** `Field: value` stanzas parted by empty lines (sources.list(5)). */
export function parseDeb822(text: string): Mirror | undefined {
  for (const stanza of text.split(/\n\s*\n/)) {
    const field = (name: string): string | undefined =>
      new RegExp(`^${name}:[ \\t]*(.*)$`, 'im').exec(stanza)?.[1]?.trim();
    const uri = field('URIs')?.split(/\s+/).find(isArchive);
    if (uri === undefined || field('Enabled') === 'no') continue;
    const signedBy = field('Signed-By');
    return { uri, signedBy: signedBy?.startsWith('/') ? signedBy : undefined };
  }
  return undefined;
}

/** `deb [options] uri suite component…` */
export function parseOneLine(text: string): Mirror | undefined {
  for (const line of text.split('\n')) {
    const m = /^deb\s+(?:\[([^\]]*)\]\s+)?(\S+)\s/.exec(line.trim());
    if (m === null || !isArchive(m[2]!)) continue;
    return { uri: m[2]!, signedBy: /signed-by=(\S+)/.exec(m[1] ?? '')?.[1] };
  }
  return undefined;
}

async function exists(file: string): Promise<boolean> {
  try {
    await stat(file);
    return true;
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return false;
    throw err;
  }
}
