// The images a lab cannot do without, made on the spot from Debian's static programs: no registry is asked. The format
// is that of `docker save`: manifest.json, a config, one layer.
import { createHash } from 'node:crypto';
import { mkdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import { AgentError, errnoOf } from '../core/errors.ts';
import { type Exec, execOk, systemExec } from '../host/exec.ts';
import { writeFileAtomic } from '../host/files.ts';
import { createTar, type TarEntry } from './tar.ts';

export const PAUSE_IMAGE = 'registry.k8s.io/pause:3.10';
const BUSYBOX_IMAGES = ['docker.io/library/busybox:latest', 'docker.io/library/busybox:1.36'];

export interface BuiltImages {
  /** Archives to import into every node. */
  readonly archives: readonly string[];
  readonly pauseName: string;
}

interface ImageSpec {
  readonly names: readonly string[];
  readonly entries: readonly TarEntry[];
  readonly config: {
    readonly Entrypoint?: string[];
    readonly Cmd?: string[];
    readonly Env: string[];
    readonly User?: string;
    readonly StopSignal?: string;
  };
}

/** Builds both archives into `dir`; one that is there already is kept. */
export async function buildImages(dir: string, exec: Exec = systemExec): Promise<BuiltImages> {
  await mkdir(dir, { recursive: true, mode: 0o755 });
  const archives = [
    await ensureArchive(path.join(dir, 'pause.tar'), pauseImage),
    await ensureArchive(path.join(dir, 'busybox.tar'), () => busyboxImage(exec)),
  ];
  return { archives, pauseName: PAUSE_IMAGE };
}

async function ensureArchive(file: string, build: () => Promise<ImageSpec>): Promise<string> {
  try {
    await stat(file);
  } catch (err) {
    if (errnoOf(err) !== 'ENOENT') throw err;
    await writeFileAtomic(file, dockerArchive(await build()));
  }
  return file;
}

/** catatonit in its pause mode: it reaps orphans and ends on SIGTERM, as the sandbox's process 1 must. */
async function pauseImage(): Promise<ImageSpec> {
  const program = await readProgram('/usr/bin/catatonit', 'catatonit');
  return {
    names: [PAUSE_IMAGE],
    entries: [{ kind: 'file', path: 'pause', content: program, mode: 0o755 }],
    config: { Entrypoint: ['/pause', '-P'], Env: [], User: '65535:65535' },
  };
}

/** busybox with a link per applet, and the few files that programs expect of a root directory. */
async function busyboxImage(exec: Exec): Promise<ImageSpec> {
  const program = await readProgram('/bin/busybox', 'busybox-static');
  const applets = (await execOk(exec, '/bin/busybox', ['--list']))
    .split('\n')
    .filter((a) => a !== '' && a !== 'busybox');
  const text = (file: string, content: string, mode = 0o644): TarEntry => ({
    kind: 'file',
    path: file,
    content: Buffer.from(content),
    mode,
  });
  return {
    names: BUSYBOX_IMAGES,
    entries: [
      ...['bin', 'etc', 'home', 'root', 'usr', 'var', 'var/www'].map(
        (dir): TarEntry => ({ kind: 'directory', path: dir, mode: 0o755 }),
      ),
      { kind: 'directory', path: 'tmp', mode: 0o1777 },
      { kind: 'file', path: 'bin/busybox', content: program, mode: 0o755 },
      ...applets.map((applet): TarEntry => ({ kind: 'symlink', path: `bin/${applet}`, target: '/bin/busybox' })),
      text('etc/passwd', 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/home:/bin/false\n'),
      text('etc/group', 'root:x:0:\nnobody:x:65534:\n'),
    ],
    config: { Cmd: ['sh'], Env: ['PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin'] },
  };
}

async function readProgram(file: string, pkg: string): Promise<Buffer> {
  try {
    return await readFile(file);
  } catch (cause) {
    throw new AgentError(`cannot build the lab's images: ${file} cannot be read`, {
      code: 'IMAGE_SOURCE_MISSING',
      cause,
      hint: `apt-get install ${pkg}`,
    });
  }
}

/** Pure: equal content gives equal bytes, and so equal image ids on every node. */
export function dockerArchive(spec: ImageSpec): Buffer {
  const layer = createTar(spec.entries);
  const config = Buffer.from(
    JSON.stringify({
      architecture: process.arch === 'arm64' ? 'arm64' : 'amd64',
      os: 'linux',
      created: '1970-01-01T00:00:00Z',
      config: spec.config,
      rootfs: { type: 'layers', diff_ids: [`sha256:${sha256(layer)}`] },
      history: [{ created: '1970-01-01T00:00:00Z' }],
    }),
  );
  const configName = `${sha256(config)}.json`;
  const manifest = Buffer.from(JSON.stringify([{ Config: configName, RepoTags: spec.names, Layers: ['layer.tar'] }]));
  const file = (name: string, content: Uint8Array): TarEntry => ({ kind: 'file', path: name, content, mode: 0o644 });
  return createTar([file('manifest.json', manifest), file(configName, config), file('layer.tar', layer)]);
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}
