// A driver of dynamic resources for tests: a real gRPC server on real sockets that writes a CDI file for each claim, as
// drivers do. It refuses what it was not asked for properly, and fails, hangs or loses answers when it is told to. Started
// again over the same directories it finds what an earlier one has prepared.
import { mkdir, readdir, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { GrpcFailure, type StreamSpec, servePlugin, serveRegistration } from './plugin-socket.ts';

export interface DraPluginOptions {
  /** Of the driver, e.g. `gpu.example.com`. */
  readonly name: string;
  /** The kubelet's root directory. */
  readonly rootDir: string;
  /** Where the container runtime looks for CDI files. */
  readonly cdiDir: string;
  /** What it says that it speaks. Default: v1. */
  readonly versions?: readonly string[];
  /** Tells sockets of several plugins of one driver apart. */
  readonly instance?: string;
  /** It tells of the health of its devices. */
  readonly hasHealth?: boolean;
}

/** `fail`: refuse. `lose`: do it, then lose the answer. `hang`: do it and never answer. */
export type DraFault = 'fail' | 'lose' | 'hang';

interface Claim {
  readonly namespace: string;
  readonly uid: string;
  readonly name: string;
}

const SERVICES = {
  'v1.DRAPlugin': 'k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin',
  'v1beta1.DRAPlugin': 'k8s.io.kubelet.pkg.apis.dra.v1beta1.DRAPlugin',
} as const;

export class TestDraPlugin implements AsyncDisposable {
  /** Each call as `NodePrepareResources a,b`. */
  readonly calls: string[] = [];
  /** What the node said of the registration. */
  readonly said: string[] = [];
  readonly #watchers = new Set<(message: object) => void>();
  onCall: ((call: string) => void) | undefined;
  onStatus: ((status: string) => void) | undefined;
  readonly #opts: DraPluginOptions;
  readonly #faults = new Map<string, DraFault[]>();
  #servers: AsyncDisposable[] = [];

  constructor(opts: DraPluginOptions) {
    this.#opts = opts;
  }

  /** Path of the socket that serves the calls. */
  get socket(): string {
    const { rootDir, name, instance = '' } = this.#opts;
    return path.join(rootDir, 'plugins', name, `dra${instance}.sock`);
  }

  get registration(): string {
    const { rootDir, name, instance = '' } = this.#opts;
    return path.join(rootDir, 'plugins_registry', `${name}${instance}-reg.sock`);
  }

  async start(): Promise<void> {
    const { name, cdiDir, versions = ['v1.DRAPlugin'], hasHealth = false } = this.#opts;
    for (const socket of [this.socket, this.registration]) await mkdir(path.dirname(socket), { recursive: true });
    await mkdir(cdiDir, { recursive: true });
    const methods = {
      NodePrepareResources: {
        request: 'NodePrepareResourcesRequest',
        response: 'NodePrepareResourcesResponse',
        answer: (request: { claims: Claim[] }) =>
          this.#answer('NodePrepareResources', request.claims, (c) => this.#prepare(c)),
      },
      NodeUnprepareResources: {
        request: 'NodeUnprepareResourcesRequest',
        response: 'NodeUnprepareResourcesResponse',
        answer: (request: { claims: Claim[] }) =>
          this.#answer('NodeUnprepareResources', request.claims, (c) => this.#unprepare(c)),
      },
    };
    const served = versions.flatMap((v) => (v in SERVICES ? SERVICES[v as keyof typeof SERVICES] : []));
    this.#servers = [
      await servePlugin(this.socket, {
        ...Object.fromEntries(served.map((service) => [service, methods])),
        ...(hasHealth ? { 'v1alpha1.DRAResourceHealth': { NodeWatchResources: this.#health() } } : {}),
      }),
      await serveRegistration(this.registration, {
        type: 'DRAPlugin',
        name,
        endpoint: this.socket,
        versions,
        onStatus: ({ pluginRegistered, error }) => {
          const status = pluginRegistered ? 'registered' : error;
          this.said.push(status);
          this.onStatus?.(status);
        },
      }),
    ];
  }

  /** Who watches now. */
  get watchers(): number {
    return this.#watchers.size;
  }

  /** Tells all that watch: 0 unknown, 1 healthy, 2 unhealthy. */
  say(health: number, message = ''): void {
    const devices = [
      { device: { poolName: 'pool', deviceName: 'dev' }, health, healthCheckTimeoutSeconds: 3600, message },
    ];
    for (const send of this.#watchers) send({ devices });
  }

  /** What happens to the next call of `method`. */
  next(method: string, fault: DraFault): void {
    this.#faults.set(method, [...(this.#faults.get(method) ?? []), fault]);
  }

  /** Uids of claims that are prepared, also by one that ran before. */
  async prepared(): Promise<string[]> {
    const prefix = `${this.#opts.name}-`;
    const files = await readdir(this.#opts.cdiDir);
    return files.filter((f) => f.startsWith(prefix)).map((f) => f.slice(prefix.length, -'.json'.length));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const server of this.#servers.splice(0)) await server[Symbol.asyncDispose]();
    this.#watchers.clear();
  }

  #health(): StreamSpec {
    return {
      request: 'NodeWatchResourcesRequest',
      response: 'NodeWatchResourcesResponse',
      stream: (send) => this.#watchers.add(send),
    };
  }

  async #answer(
    method: string,
    claims: readonly Claim[],
    work: (claim: Claim) => Promise<object>,
  ): Promise<object | undefined> {
    const call = `${method} ${claims.map((c) => c.name).join(',')}`;
    this.calls.push(call);
    const fault = this.#faults.get(method)?.shift();
    this.onCall?.(call);
    if (fault === 'fail') throw new GrpcFailure('INTERNAL', 'told to fail');
    if (claims.some((c) => c.uid === '' || c.namespace === ''))
      throw new GrpcFailure('INVALID_ARGUMENT', 'a claim without uid or namespace');
    const results = await Promise.all(claims.map(async (c) => [c.uid, await work(c)] as const));
    if (fault === 'lose') throw new GrpcFailure('UNAVAILABLE', 'the answer was lost');
    return fault === 'hang' ? undefined : { claims: Object.fromEntries(results) };
  }

  /** Twice is as good as once. */
  async #prepare({ uid, name }: Claim): Promise<object> {
    const driver = this.#opts.name;
    const spec = {
      cdiVersion: '0.3.0',
      kind: `${driver}/test`,
      devices: [{ name: uid, containerEdits: { env: [`DRA_${name.replaceAll('-', '_')}=${driver}`] } }],
    };
    await writeFile(this.#file(uid), JSON.stringify(spec));
    const device = {
      requestNames: ['r'],
      poolName: 'pool',
      deviceName: 'dev',
      cdiDeviceIds: [`${driver}/test=${uid}`],
    };
    return { devices: [device] };
  }

  async #unprepare({ uid }: Claim): Promise<object> {
    await rm(this.#file(uid), { force: true });
    return {};
  }

  #file(uid: string): string {
    return path.join(this.#opts.cdiDir, `${this.#opts.name}-${uid}.json`);
  }
}
