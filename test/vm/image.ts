// The disk of the suite's virtual machine: Debian 12 with systemd, its kernel and containerd, made once by debootstrap
// and kept in the working tree's cache under the hash of this recipe. Packages come from the mirror of the host's apt.
import { createHash } from 'node:crypto';
import { chmod, cp, mkdir, mkdtemp, readdir, readFile, rename, rm, stat, symlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { AgentError, errnoOf, errorMessage } from '../../core/errors.ts';
import { execOk, systemExec } from '../../host/exec.ts';
import { hostMirror } from '../harness/debian-packages.ts';
import { withFileLock } from '../harness/file-lock.ts';
import { IMAGE_FILES, MASKED_UNITS, WANTED_UNITS } from './image-files.ts';

const CACHE = path.resolve(import.meta.dirname, '../../.cache/vm');
const RELEASE = 'bookworm';
const KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg';
const PACKAGES = [
  ...['systemd-sysv', 'udev', 'dbus', 'kmod', 'linux-image-cloud-amd64'],
  ...['containerd', 'runc', 'containernetworking-plugins', 'iptables', 'nftables', 'conntrack', 'iproute2'],
  ...['ca-certificates', 'procps', 'busybox-static', 'libatomic1', 'libstdc++6'],
];
/** What the kernel needs before it sees the disk, in the order of their dependencies. */
const BOOT_MODULES = [
  'virtio/virtio',
  'virtio/virtio_ring',
  'virtio/virtio_pci_modern_dev',
  'virtio/virtio_pci_legacy_dev',
  'virtio/virtio_pci',
  'block/virtio_blk',
];
/** Debian's initial file system is not used; and what a crash of this host would leave unwritten is made anew. */
const QUICKLY: NodeJS.ProcessEnv = { INITRD: 'No', DPKG_FORCE: 'unsafe-io' };
const ATTEMPTS = 3;
const BOOTSTRAP_MS = 900_000;
const STEP_MS = 300_000;
/** Sparse: what is not written takes no space. */
const DISK_SIZE = '4G';

/** Files in a directory of their own. */
export interface VmImage {
  readonly disk: string;
  readonly kernel: string;
  readonly initrd: string;
}

const filesIn = (dir: string): VmImage => ({
  disk: path.join(dir, 'disk.raw'),
  kernel: path.join(dir, 'vmlinuz'),
  initrd: path.join(dir, 'initrd.img'),
});

/**
 * Makes the image where the cache has none. Suites that run at the same time wait for each other.
 * @throws {AgentError} VM_PACKAGES when debootstrap cannot have its packages.
 */
export async function ensureImage(): Promise<void> {
  const dir = path.join(CACHE, `image-${await recipeHash()}`);
  if (await exists(dir)) return;
  await mkdir(CACHE, { recursive: true });
  await withFileLock(path.join(CACHE, 'lock'), async () => {
    if (await exists(dir)) return;
    const startMs = performance.now();
    console.log('building the image of the virtual machine');
    await removeOldImages();
    const unfinished = await mkdtemp(path.join(CACHE, 'unfinished-'));
    try {
      await buildInto(unfinished);
      await rename(path.join(unfinished, 'image'), dir);
    } finally {
      await rm(unfinished, { recursive: true, force: true });
    }
    console.log(`built it in ${((performance.now() - startMs) / 1000).toFixed(0)} s`);
  });
}

/** Copies the image into `dir`, which a machine may then write to. */
export async function copyImage(dir: string): Promise<VmImage> {
  const from = filesIn(path.join(CACHE, `image-${await recipeHash()}`));
  const to = filesIn(dir);
  const args = ['--sparse=always', '--reflink=auto', from.disk, from.kernel, from.initrd, dir];
  await withFileLock(path.join(CACHE, 'lock'), () => execOk(systemExec, 'cp', args, { timeoutMs: STEP_MS }));
  return to;
}

/** Whatever changes in these files makes another image. */
async function recipeHash(): Promise<string> {
  const hash = createHash('sha256');
  for (const file of ['image.ts', 'image-files.ts']) hash.update(await readFile(path.join(import.meta.dirname, file)));
  return hash.digest('hex').slice(0, 16);
}

/** Of other recipes, and of builds that were killed. */
async function removeOldImages(): Promise<void> {
  const old = (await readdir(CACHE)).filter((name) => /^(image|unfinished)-/.test(name));
  for (const name of old) await rm(path.join(CACHE, name), { recursive: true, force: true });
}

async function buildInto(dir: string): Promise<void> {
  const root = path.join(dir, 'root');
  const image = filesIn(path.join(dir, 'image'));
  await bootstrap(root);
  await addFiles(root);
  await mkdir(path.dirname(image.disk));
  const version = await kernelVersion(root);
  await cp(path.join(root, 'boot', `vmlinuz-${version}`), image.kernel);
  await writeInitrd(root, version, path.join(dir, 'initrd'), image.initrd);
  await removeUnneeded(root);
  await execOk(systemExec, 'truncate', [`--size=${DISK_SIZE}`, image.disk]);
  const ext4 = ['-q', '-F', '-L', 'root', '-E', 'lazy_itable_init=0,lazy_journal_init=0', '-d', root, image.disk];
  await execOk(systemExec, 'mkfs.ext4', ext4, { timeoutMs: STEP_MS });
}

async function bootstrap(root: string): Promise<void> {
  const debs = path.join(CACHE, 'debs');
  await mkdir(debs, { recursive: true });
  const options = ['--variant=minbase', `--keyring=${KEYRING}`, `--cache-dir=${debs}`];
  const args = [...options, `--include=${PACKAGES.join(',')}`, RELEASE, root];
  for (let attempt = 1; ; attempt++) {
    try {
      // What it mounts is seen by nobody else, and gone with it, however it ends.
      const command = ['--mount', 'nice', 'debootstrap', ...args, (await hostMirror()).uri];
      await execOk(systemExec, 'unshare', command, { timeoutMs: BOOTSTRAP_MS, env: { ...process.env, ...QUICKLY } });
      return;
    } catch (cause) {
      const log = await readFile(path.join(root, 'debootstrap/debootstrap.log'), 'utf8').catch(() => '');
      await rm(root, { recursive: true, force: true });
      if (attempt < ATTEMPTS) continue; // what was fetched is in the cache
      throw new AgentError(`cannot make a Debian system: ${errorMessage(cause)}\n${log.slice(-2000)}`, {
        code: 'VM_PACKAGES',
        cause,
        hint: 'the suite needs the Debian mirror of this host once; later runs use the cache',
      });
    }
  }
}

async function addFiles(root: string): Promise<void> {
  for (const [name, { content, mode }] of Object.entries(IMAGE_FILES)) {
    const file = path.join(root, name);
    await mkdir(path.dirname(file), { recursive: true });
    await writeFile(file, content);
    await chmod(file, mode ?? 0o644);
  }
  const units = path.join(root, 'etc/systemd/system');
  for (const [name, target] of Object.entries(WANTED_UNITS)) {
    await mkdir(path.join(units, `${target}.wants`), { recursive: true });
    await symlink(`../${name}`, path.join(units, `${target}.wants`, name));
  }
  for (const name of MASKED_UNITS) {
    await rm(path.join(units, name), { force: true });
    await symlink('/dev/null', path.join(units, name));
  }
}

async function kernelVersion(root: string): Promise<string> {
  const versions = await readdir(path.join(root, 'lib/modules'));
  if (versions.length !== 1) throw new Error(`one kernel is wanted, there are: ${versions.join(' ')}`);
  return versions[0]!;
}

/** Debian's own initial file system looks for every kind of disk; this one knows what it will find. */
async function writeInitrd(root: string, version: string, dir: string, file: string): Promise<void> {
  for (const name of ['dev', 'root', 'modules']) await mkdir(path.join(dir, name), { recursive: true });
  await cp(path.join(root, 'bin/busybox'), path.join(dir, 'busybox'));
  for (const module of BOOT_MODULES) {
    const source = path.join(root, 'lib/modules', version, 'kernel/drivers', `${module}.ko`);
    await cp(source, path.join(dir, 'modules', `${path.basename(module)}.ko`));
  }
  const init = [
    '#!/busybox sh',
    '/busybox mount -t devtmpfs dev /dev',
    ...BOOT_MODULES.map((module) => `/busybox insmod /modules/${path.basename(module)}.ko`),
    '/busybox mount -t ext4 /dev/vda /root',
    '/busybox umount /dev',
    'exec /busybox switch_root /root /sbin/init',
  ];
  await writeFile(path.join(dir, 'init'), `${init.join('\n')}\n`, { mode: 0o755 });
  const names = (await readdir(dir, { recursive: true })).map((name) => `${name}\n`).join('');
  const args = ['cpio', '-o', '-H', 'newc', '-F', file];
  await execOk(systemExec, 'busybox', args, { input: names, cwd: dir });
}

async function removeUnneeded(root: string): Promise<void> {
  const dirs = ['boot', 'var/cache/apt', 'var/lib/apt/lists', 'usr/share/doc', 'usr/share/man', 'usr/share/locale'];
  for (const dir of dirs) {
    const entries = await readdir(path.join(root, dir)).catch((err: unknown) => {
      if (errnoOf(err) === 'ENOENT') return [];
      throw err;
    });
    for (const entry of entries) await rm(path.join(root, dir, entry), { recursive: true, force: true });
  }
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
