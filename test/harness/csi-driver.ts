// A CSI driver for tests: a real gRPC server on real sockets that makes real bind mounts of directories of its own.
// It is strict where CSI is (no publishing of what is not staged, no staging elsewhere) and fails, hangs or loses
// answers when it is told to. Started again over the same directories it finds what an earlier one has mounted.
import { createHash } from 'node:crypto';
import { mkdir, rm, rmdir } from 'node:fs/promises';
import path from 'node:path';
import { execOk, systemExec } from '../../host/exec.ts';
import { systemMounter } from '../../host/mounts.ts';
import { GrpcFailure, type MethodSpec, servePlugin, serveRegistration } from './plugin-socket.ts';

const CAPABILITY_NUMBERS = {
  STAGE_UNSTAGE_VOLUME: 1,
  GET_VOLUME_STATS: 2,
  EXPAND_VOLUME: 3,
  SINGLE_NODE_MULTI_WRITER: 5,
  VOLUME_MOUNT_GROUP: 6,
};

export interface CsiDriverOptions {
  readonly name: string;
  /** The kubelet's root directory. */
  readonly rootDir: string;
  /** Where the driver keeps its volumes. */
  readonly dataDir: string;
  readonly nodeId?: string;
  readonly capabilities?: readonly (keyof typeof CAPABILITY_NUMBERS)[];
  readonly topology?: Readonly<Record<string, string>>;
  readonly maxVolumes?: number;
}

/** `fail`: refuse without doing anything. `lose`: do it, then lose the answer. `hang`: wait for `until`, then do it. */
export type Fault =
  | { readonly fail: GrpcFailure }
  | { readonly lose: true }
  | { readonly hang: Promise<void>; readonly reached?: () => void };

export interface CsiCall {
  readonly method: string;
  readonly request: Readonly<Record<string, unknown>>;
}

const mounter = systemMounter(systemExec);

export class TestCsiDriver implements AsyncDisposable {
  readonly calls: CsiCall[] = [];
  /** What the node said of the registration. */
  readonly said: string[] = [];
  readonly socket: string;
  /** What the next NodeGetInfo says. */
  maxVolumes: number;
  onCall: ((method: string) => void) | undefined;
  onStatus: ((status: string) => void) | undefined;
  readonly #opts: CsiDriverOptions;
  readonly #registration: string;
  readonly #faults = new Map<string, Fault[]>();
  #servers: AsyncDisposable[] = [];

  constructor(opts: CsiDriverOptions) {
    this.#opts = opts;
    this.maxVolumes = opts.maxVolumes ?? 0;
    this.socket = path.join(opts.rootDir, 'plugins', opts.name, 'csi.sock');
    this.#registration = path.join(opts.rootDir, 'plugins_registry', `${opts.name}-reg.sock`);
  }

  /** Serves, and registers. */
  async start(): Promise<this> {
    await mkdir(path.dirname(this.socket), { recursive: true });
    await mkdir(path.dirname(this.#registration), { recursive: true });
    this.#servers.push(await servePlugin(this.socket, { 'csi.v1.Node': this.#methods() }));
    this.#servers.push(
      await serveRegistration(this.#registration, {
        type: 'CSIPlugin',
        name: this.#opts.name,
        endpoint: this.socket,
        onStatus: (s) => {
          const status = s.pluginRegistered ? 'registered' : s.error;
          this.said.push(status);
          this.onStatus?.(status);
        },
      }),
    );
    return this;
  }

  /** As when its process is killed: connections break off, sockets go, mounts stay. */
  async stop(): Promise<void> {
    for (const server of this.#servers.splice(0)) await server[Symbol.asyncDispose]();
  }

  /** The next call of `method` meets `fault`. May be said several times. */
  next(method: string, fault: Fault): void {
    this.#faults.set(method, [...(this.#faults.get(method) ?? []), fault]);
  }

  /** Names of the calls that change something, in order. */
  get steps(): string[] {
    return this.calls.map((c) => c.method).filter((m) => !m.startsWith('NodeGet'));
  }

  /** The volume's own directory. */
  dataOf(volumeId: string): string {
    return path.join(this.#opts.dataDir, createHash('sha256').update(volumeId).digest('hex').slice(0, 16));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #methods(): Record<string, MethodSpec> {
    const methods: Record<string, MethodSpec> = {};
    const add = (name: string, answer: (request: never) => Promise<object>) => {
      methods[name] = {
        request: `${name}Request`,
        response: `${name}Response`,
        answer: (request: Record<string, unknown>) => this.#answer(name, request, answer),
      };
    };
    const { nodeId = 'test-node', capabilities = ['STAGE_UNSTAGE_VOLUME'], topology } = this.#opts;
    add('NodeGetInfo', async () => ({
      nodeId,
      maxVolumesPerNode: this.maxVolumes,
      ...(topology === undefined ? {} : { accessibleTopology: { segments: topology } }),
    }));
    add('NodeGetCapabilities', async () => ({
      capabilities: capabilities.map((name) => ({ rpc: { type: CAPABILITY_NUMBERS[name] } })),
    }));
    add('NodeStageVolume', (r: Stage) => this.#stage(r));
    add('NodeUnstageVolume', (r: { volumeId: string; stagingTargetPath: string }) =>
      unmounted(r.stagingTargetPath, false),
    );
    add('NodePublishVolume', (r: Publish) => this.#publish(r));
    add('NodeUnpublishVolume', (r: { volumeId: string; targetPath: string }) => unmounted(r.targetPath, true));
    add('NodeGetVolumeStats', async () => ({
      usage: [
        { available: 60, total: 100, used: 40, unit: 1 },
        { available: 6, total: 10, used: 4, unit: 2 },
      ],
    }));
    add('NodeExpandVolume', async (r: { capacityRange?: { requiredBytes: number } }) => ({
      capacityBytes: r.capacityRange?.requiredBytes ?? 0,
    }));
    return methods;
  }

  async #answer(
    method: string,
    request: Record<string, unknown>,
    work: (request: never) => Promise<object>,
  ): Promise<object> {
    this.calls.push({ method, request });
    this.onCall?.(method);
    const fault = this.#faults.get(method)?.shift();
    if (fault === undefined) return await work(request as never);
    if ('fail' in fault) throw fault.fail;
    if ('hang' in fault) {
      fault.reached?.();
      await fault.hang;
      return await work(request as never);
    }
    await work(request as never);
    throw new GrpcFailure('UNAVAILABLE', 'the answer was lost');
  }

  async #stage(request: Stage): Promise<object> {
    const { volumeId, stagingTargetPath: target, volumeCapability } = request;
    if (volumeId === '' || target === '') throw new GrpcFailure('INVALID_ARGUMENT', 'volume id or path missing');
    const data = this.dataOf(volumeId);
    await mkdir(data, { recursive: true, mode: 0o755 });
    if (volumeCapability.block === undefined && !(await isMounted(target))) await mounter.bind(data, target);
    return {};
  }

  async #publish(request: Publish): Promise<object> {
    const { volumeId, stagingTargetPath: staging, targetPath: target, volumeCapability, readonly } = request;
    const isEphemeral = request.volumeContext['csi.storage.k8s.io/ephemeral'] === 'true';
    const { capabilities = ['STAGE_UNSTAGE_VOLUME'] } = this.#opts;
    if (volumeCapability.block !== undefined) {
      await rm(target, { force: true });
      await execOk(systemExec, 'mknod', [target, 'c', '1', '3'], { timeoutMs: 30_000 }); // /dev/null: a device is a device
      return {};
    }
    const stages = capabilities.includes('STAGE_UNSTAGE_VOLUME') && !isEphemeral;
    if (stages && !(await isMounted(staging))) throw new GrpcFailure('FAILED_PRECONDITION', `${staging} is not staged`);
    const source = stages ? staging : this.dataOf(volumeId);
    await mkdir(source, { recursive: true, mode: 0o755 });
    await mkdir(target, { recursive: true, mode: 0o755 });
    if (await isMounted(target)) return {};
    await mounter.bind(source, target);
    if (readonly) {
      await execOk(systemExec, 'mount', ['-o', 'remount,bind,ro', target], { timeoutMs: 30_000 });
    }
    return {};
  }
}

interface Stage {
  readonly volumeId: string;
  readonly stagingTargetPath: string;
  readonly volumeCapability: { readonly block?: object };
}

interface Publish extends Stage {
  readonly targetPath: string;
  readonly readonly: boolean;
  readonly volumeContext: Readonly<Record<string, string>>;
}

async function isMounted(dir: string): Promise<boolean> {
  return (await mounter.list()).some((m) => m.mountPoint === dir);
}

async function unmounted(dir: string, andRemoved: boolean): Promise<object> {
  while (await isMounted(dir)) await mounter.unmount(dir);
  if (!andRemoved) return {};
  await rmdir(dir).catch(() => rm(dir, { force: true })); // a directory, a device or nothing
  return {};
}
