// A containerd of the suite's own, beside whatever runs on the host: own directories, socket, runc state and network
// namespaces, in any of the supported versions. Stopping it leaves nothing behind, also after a failed test.
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createWriteStream, existsSync } from 'node:fs';
import { chmod, mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { createInterface } from 'node:readline';
import { systemClock } from '../../core/clock.ts';
import { errnoOf } from '../../core/errors.ts';
import { isCriError } from '../../cri/errors.ts';
import { type CallObserver, connectRuntime } from '../../cri/remote-runtime.ts';
import type { ImageEvents, ImageService, RuntimeService } from '../../cri/runtime-service.ts';
import { removeCgroupTree } from '../../host/cgroup-tree.ts';
import { execOk, systemExec } from '../../host/exec.ts';
import { mountsUnder, parseMountInfo } from '../../host/mounts.ts';
import { identifyProcess, isRunning, type ProcessIdentity } from '../../host/process.ts';
import { buildImages, PAUSE_IMAGE } from '../../lab/images.ts';
import { fetchDebianPackage } from './debian-packages.ts';
import { withFileLock } from './file-lock.ts';

export type ContainerdVersion = '1.6' | '1.7' | '2.1';
/** Debian 12, Debian 13 and Debian unstable carry these. */
export const CONTAINERD_VERSIONS: readonly ContainerdVersion[] = ['1.6', '1.7', '2.1'];
const SUITES = { '1.6': 'bookworm', '1.7': 'trixie', '2.1': 'sid' } as const;

export interface TestContainerdOptions {
  /** Default: the host's own containerd, whichever it is. */
  readonly version?: ContainerdVersion;
  /** Where the CRI plugin looks for a CNI configuration. Default: an empty directory, for pods on the host's network. */
  readonly cniConfDir?: string;
  readonly cniBinDir?: string;
  /** Network namespace (name under /run/netns) in which containerd runs. */
  readonly netns?: string;
  /** Further image archives; pause and busybox are always there. */
  readonly archives?: readonly string[];
  /** Where CDI files are looked for; containerd 1.6 does not know them. Default: nowhere. */
  readonly cdiDir?: string;
  /** The OCI runtime's program. Default: `runc` of the host. */
  readonly runc?: string;
  /** Told about every CRI call of `runtime` and `images`. */
  readonly observe?: CallObserver;
}

const START_MS = 120_000;
const STOP_MS = 10_000;
const RETRY_MS = 10;
const DIR_PREFIX = path.join(tmpdir(), 'nodelet-cd-');
/** Names the process that uses the directory. */
const OWNER = 'owner.json';
const CACHE = path.resolve(import.meta.dirname, '../../.cache');

/** Why no containerd can be started here; undefined when one can. For `describe.skipIf`, and to be printed. */
export function containerdMissing(): string | undefined {
  if (process.getuid?.() !== 0) return 'root is needed to run containerd';
  const places = ['/usr/bin', '/usr/sbin', '/bin', '/sbin', '/usr/local/bin', '/usr/local/sbin'];
  for (const program of ['containerd', 'runc', 'catatonit', 'busybox', 'flock']) {
    if (!places.some((dir) => existsSync(path.join(dir, program)))) return `${program} is not installed`;
  }
  return undefined;
}

export class TestContainerd implements AsyncDisposable {
  readonly dir: string;
  /** `unix://…` */
  readonly endpoint: string;
  /** A parent for the cgroups of this suite's pods (v1 and v2 path), removed at the end. */
  readonly cgroupParent: string;
  readonly #socket: string;
  readonly #state: string;
  readonly #runcRoot: string;
  readonly #binDir: string | undefined;
  readonly #opts: TestContainerdOptions;
  #process: ChildProcess | undefined;
  #services: ReturnType<typeof connectRuntime> | undefined;

  private constructor(dir: string, binDir: string | undefined, opts: TestContainerdOptions) {
    this.dir = dir;
    this.#socket = path.join(dir, 'c.sock');
    this.endpoint = `unix://${this.#socket}`;
    this.cgroupParent = `/${path.basename(dir)}`;
    this.#state = path.join(dir, 'state');
    this.#runcRoot = path.join(dir, 'runc');
    this.#binDir = binDir;
    this.#opts = opts;
  }

  /** Starts one, serving and with its images in place. */
  static async start(opts: TestContainerdOptions = {}): Promise<TestContainerd> {
    await mkdir(CACHE, { recursive: true });
    await withFileLock(path.join(CACHE, 'orphans.lock'), removeOrphans);
    const binDir = opts.version === undefined ? undefined : await containerdPrograms(opts.version);
    const { archives } = await withFileLock(path.join(CACHE, 'images.lock'), () =>
      buildImages(path.join(CACHE, 'images')),
    );
    const self = new TestContainerd(await mkdtemp(DIR_PREFIX), binDir, opts);
    try {
      await chmod(self.dir, 0o711); // pods with user namespaces enter their root file system as nobody
      await writeFile(path.join(self.dir, OWNER), JSON.stringify(await identifyProcess(process.pid)));
      await mkdir(path.join(self.dir, 'cni'));
      await writeFile(path.join(self.dir, 'config.toml'), self.#config());
      await self.startDaemon();
      for (const archive of [...archives, ...(opts.archives ?? [])]) await self.importImage(archive);
      return self;
    } catch (err) {
      await self[Symbol.asyncDispose]();
      throw err;
    }
  }

  get runtime(): RuntimeService {
    return this.#connected().runtime;
  }

  get images(): ImageService & ImageEvents {
    return this.#connected().images;
  }

  get pid(): number {
    return this.#process!.pid!;
  }

  get logFile(): string {
    return path.join(this.dir, 'containerd.log');
  }

  /** Starts the daemon, again after `stopDaemon`: what ran in the meantime runs on. Resolves once CRI answers. */
  async startDaemon(): Promise<void> {
    const program = this.#binDir === undefined ? 'containerd' : path.join(this.#binDir, 'containerd');
    const args = ['--config', path.join(this.dir, 'config.toml')];
    const [command, ...rest] =
      this.#opts.netns === undefined
        ? [program, ...args]
        : ['nsenter', `--net=/run/netns/${this.#opts.netns}`, program, ...args];
    const child = spawn(command!, rest, { stdio: ['ignore', 'ignore', 'pipe'], env: this.#env() });
    this.#process = child;
    await booted(child, this.logFile);
    await this.#untilServing();
  }

  /** Ends the daemon alone; containers and their shims stay. */
  async stopDaemon(signal: 'SIGTERM' | 'SIGKILL' = 'SIGTERM'): Promise<void> {
    const child = this.#process;
    this.#process = undefined;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    const exited = once(child, 'exit');
    child.kill(signal);
    const timer = setTimeout(() => child.kill('SIGKILL'), STOP_MS);
    await exited;
    clearTimeout(timer);
  }

  /** Runs ctr in the namespace of the CRI plugin. */
  async ctr(...args: string[]): Promise<string> {
    const program = this.#binDir === undefined ? 'ctr' : path.join(this.#binDir, 'ctr');
    return await execOk(systemExec, program, ['--address', this.#socket, '--namespace', 'k8s.io', ...args], {
      timeoutMs: 120_000,
    });
  }

  /** Imports a docker-archive or OCI tar and waits until the CRI plugin has learnt of it, which it does from an event. */
  async importImage(archive: string): Promise<void> {
    await this.ctr('images', 'import', archive);
    // What the import prints differs by version; what there is afterwards does not. The plugin's own names are digests.
    const names = (await this.ctr('images', 'list', '-q'))
      .split('\n')
      .filter((n) => n !== '' && !n.startsWith('sha256:'));
    const endMs = Date.now() + START_MS;
    for (const image of names) {
      while ((await this.images.imageStatus({ image })) === undefined) {
        if (Date.now() > endMs) throw new Error(`containerd's CRI plugin does not see ${image}`);
        await systemClock.sleep(RETRY_MS);
      }
    }
  }

  /** Removes what the run that used `dir` left, its daemon included. */
  static async removeOrphan(dir: string): Promise<void> {
    for (const pid of await processesWith(path.join(dir, 'config.toml'))) killIfThere(pid);
    await new TestContainerd(dir, undefined, {}).#removeAll();
  }

  /** Ends every container, the shims and the daemon, and removes what they made. @throws when something stays. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#process !== undefined) await this.#removePods();
    this.#services?.close();
    this.#services = undefined;
    await this.stopDaemon();
    await this.#removeAll();
  }

  async #removeAll(): Promise<void> {
    await this.#killContainers();
    await this.#killShims();
    await unmountBelow(this.dir);
    await removeCgroupTree(this.cgroupParent.slice(1));
    await this.#checkNothingLeft();
    await rm(this.dir, { recursive: true, force: true });
  }

  /** The clean way, which runs the network plugins as well. What it cannot remove, the next steps do. */
  async #removePods(): Promise<void> {
    const signal = AbortSignal.timeout(STOP_MS);
    try {
      const pods = await this.runtime.listPodSandboxes(undefined, { signal });
      await Promise.all(
        pods.map(async ({ id }) => {
          await this.runtime.stopPodSandbox(id, { signal });
          await this.runtime.removePodSandbox(id, { signal });
        }),
      );
    } catch (err) {
      if (!isCriError(err)) throw err;
    }
  }

  async #killContainers(): Promise<void> {
    const root = path.join(this.#runcRoot, 'k8s.io');
    for (const id of await entries(root)) await systemExec('runc', ['--root', root, 'delete', '--force', id]);
  }

  /** Shims outlive their daemon. Their sockets lie in a directory that all containerds share. */
  async #killShims(): Promise<void> {
    const bundles = path.join(this.#state, 'io.containerd.runtime.v2.task', 'k8s.io');
    for (const id of await entries(bundles)) {
      const address = await readFile(path.join(bundles, id, 'address'), 'utf8').catch(() => '');
      const socket = /^unix:\/\/(.+)$/.exec(address.trim())?.[1];
      if (socket !== undefined) await rm(socket, { force: true });
    }
    const endMs = Date.now() + STOP_MS;
    for (;;) {
      const pids = await processesWith(this.#socket);
      if (pids.length === 0) return;
      if (Date.now() > endMs) throw new Error(`shims do not end: ${pids.join(' ')}`);
      for (const pid of pids) killIfThere(pid);
      await systemClock.sleep(RETRY_MS);
    }
  }

  async #checkNothingLeft(): Promise<void> {
    const mounts = (await mountPointsBelow(this.dir)).map((point) => `mount ${point}`);
    const processes = (await processesWith(this.dir)).map((pid) => `process ${pid}`);
    const left = [...mounts, ...processes];
    if (left.length > 0) throw new Error(`containerd of this suite left behind: ${left.join(', ')}`);
  }

  #connected() {
    this.#services ??= connectRuntime(
      { endpoint: this.endpoint, requestTimeoutMs: 120_000 },
      this.#opts.observe ?? (() => {}),
      systemClock,
    );
    return this.#services;
  }

  /** The CRI plugin initialises itself after the daemon says that it has booted, and refuses calls until then. */
  async #untilServing(): Promise<void> {
    const endMs = Date.now() + START_MS;
    for (;;) {
      try {
        await this.runtime.version();
        return;
      } catch (err) {
        if (!isCriError(err) || Date.now() > endMs) throw err;
        await systemClock.sleep(RETRY_MS);
      }
    }
  }

  /** The shim is looked up on PATH. */
  #env(): NodeJS.ProcessEnv {
    const PATH = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';
    return { PATH: this.#binDir === undefined ? PATH : `${this.#binDir}:${PATH}` };
  }

  /** Like the lab's, and besides: runc's state and network namespaces inside `dir`, no plugin that writes elsewhere. */
  #config(): string {
    const q = JSON.stringify; // a JSON string is a TOML basic string
    const cri = 'plugins."io.containerd.grpc.v1.cri"';
    return `version = 2
root = ${q(path.join(this.dir, 'root'))}
state = ${q(this.#state)}
oom_score = 0
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.nri.v1.nri"]

[grpc]
  address = ${q(this.#socket)}

[${cri}]
  sandbox_image = ${q(PAUSE_IMAGE)}
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true${this.#opts.cdiDir === undefined ? '' : `\n  enable_cdi = true\n  cdi_spec_dirs = [${q(this.#opts.cdiDir)}]`}
  [${cri}.cni]
    bin_dir = ${q(this.#opts.cniBinDir ?? '/usr/lib/cni')}
    conf_dir = ${q(this.#opts.cniConfDir ?? path.join(this.dir, 'cni'))}
    max_conf_num = 1
  [${cri}.containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [${cri}.containerd.runtimes.runc.options]
      Root = ${q(this.#runcRoot)}${this.#opts.runc === undefined ? '' : `\n      BinaryName = ${q(this.#opts.runc)}`}
`;
  }
}

/** A run that was killed leaves a daemon and its containers; the next one removes them. */
async function removeOrphans(): Promise<void> {
  for (const name of await readdir(tmpdir())) {
    const dir = path.join(tmpdir(), name);
    if (!dir.startsWith(DIR_PREFIX)) continue;
    const text = await readFile(path.join(dir, OWNER), 'utf8').catch(() => ''); // it is being made, or removed
    if (text !== '' && !(await isRunning(JSON.parse(text) as ProcessIdentity))) await TestContainerd.removeOrphan(dir);
  }
}

/** The host's own programs when they are of this version, else Debian's. */
export async function containerdPrograms(version: ContainerdVersion): Promise<string | undefined> {
  const host = await systemExec('containerd', ['--version']).catch(() => undefined);
  if (host?.stdout.includes(` ${version}.`)) return undefined;
  return path.join(await fetchDebianPackage(SUITES[version], 'containerd'), 'usr/bin');
}

/** Resolves when the daemon says so in its log, all of which goes to `logFile`. */
async function booted(child: ChildProcess, logFile: string): Promise<void> {
  const log = createWriteStream(logFile, { flags: 'a' });
  child.stderr!.pipe(log);
  const lines = createInterface({ input: child.stderr! });
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`containerd does not start, see ${logFile}`)), START_MS);
    let last = '';
    lines.on('line', (line) => {
      last = line;
      if (!line.includes('containerd successfully booted')) return;
      clearTimeout(timer);
      resolve();
    });
    child.once('error', reject);
    child.once('exit', (code) => {
      clearTimeout(timer);
      reject(new Error(`containerd ended with code ${code}: ${last}`));
    });
  });
  lines.close();
  child.stderr!.resume();
}

/** Mount points below `dir`, in the order in which they can be unmounted. */
async function mountPointsBelow(dir: string): Promise<string[]> {
  return mountsUnder(parseMountInfo(await readFile('/proc/self/mountinfo', 'utf8')), dir).map((m) => m.mountPoint);
}

async function unmountBelow(dir: string): Promise<void> {
  for (const point of await mountPointsBelow(dir)) await execOk(systemExec, 'umount', ['--lazy', point]);
}

/** Processes that were started with `text` in one of their arguments. */
async function processesWith(text: string): Promise<number[]> {
  const pids: number[] = [];
  for (const name of await readdir('/proc')) {
    if (!/^\d+$/.test(name) || Number(name) === process.pid) continue;
    const args = await readFile(`/proc/${name}/cmdline`, 'utf8').catch(() => ''); // it may have ended meanwhile
    if (args.includes(text)) pids.push(Number(name));
  }
  return pids;
}

async function entries(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return [];
    throw err;
  }
}

function killIfThere(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch (err) {
    if (errnoOf(err) !== 'ESRCH') throw err;
  }
}
