// Pods started by the runtime part of the kubelet, volumes included, in a containerd of the suite's own, without API
// server or workers: for what a container finds around it. Pods have addresses of a bridge in a network namespace.
import { mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import type { ConfigMap, ObjectReference, Secret, Service } from '../../api/kinds.ts';
import type { Pod, PodSpec } from '../../api/pod.ts';
import { configMaps, secrets } from '../../api/resources.ts';
import { FakeApi } from '../../client/fake-client.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import { tailLog } from '../../cri/container-log.ts';
import type { StatusResponse } from '../../cri/gen/messages.ts';
import { execOk, systemExec } from '../../host/exec.ts';
import { mountsUnder, systemMounter } from '../../host/mounts.ts';
import { imageVolumesMissing } from '../../kubelet/runtime/image-volumes.ts';
import { KubeRuntime } from '../../kubelet/runtime/kube-runtime.ts';
import type { PodRuntimeStatus, RuntimeContainer } from '../../kubelet/runtime/pod-runtime-status.ts';
import type { RuntimeDeps } from '../../kubelet/runtime/runtime-deps.ts';
import type { PodSyncResult } from '../../kubelet/runtime/runtime-manager.ts';
import { UserNamespaces } from '../../kubelet/runtime/user-namespaces.ts';
import { LocalVolumes } from '../../kubelet/volumes/local-volumes.ts';
import { ObjectCache } from '../../kubelet/volumes/object-cache.ts';
import { TokenManager } from '../../kubelet/volumes/token-manager.ts';
import { TestContainerd, type TestContainerdOptions } from './containerd.ts';
import { TestNamespaces } from './netns.ts';

const WAIT_MS = 120_000;
const IDS_PER_POD = 65_536;
const POLL_MS = 20;
export const BUSYBOX = 'docker.io/library/busybox:1.36';
export const NODE_IP = '10.99.0.1';
const IDLE_VERDICTS = { liveness: () => undefined, startup: () => undefined };

export interface RuntimePodsOptions extends Pick<TestContainerdOptions, 'version' | 'archives' | 'cdiDir' | 'runc'> {
  readonly claims?: RuntimeDeps['claims'];
  readonly services?: readonly Service[];
  readonly configMaps?: readonly ConfigMap[];
  readonly secrets?: readonly Secret[];
}

/** A container of a pod spec, with the image and a shell filled in. */
export interface TestContainer extends Partial<NonNullable<PodSpec['containers']>[number]> {
  /** Shell script; instead of `command`. */
  readonly script?: string;
}

type TestSpec = Partial<Omit<PodSpec, 'containers'>>;

export class RuntimePods implements AsyncDisposable {
  readonly containerd: TestContainerd;
  readonly dir: string;
  readonly events: string[] = [];
  readonly status: StatusResponse;
  readonly #mounter = systemMounter(systemExec);
  readonly #api = new FakeApi();
  readonly #namespaces: TestNamespaces;
  readonly #netns: string;
  readonly #objects: ObjectCache;
  readonly #tokens: TokenManager;
  readonly #volumes: LocalVolumes;
  readonly #runtime: KubeRuntime;
  #count = 0;

  private constructor(
    dir: string,
    parts: {
      containerd: TestContainerd;
      namespaces: TestNamespaces;
      netns: string;
      status: StatusResponse;
      version: string;
    },
    opts: RuntimePodsOptions,
  ) {
    this.dir = dir;
    this.containerd = parts.containerd;
    this.status = parts.status;
    this.#namespaces = parts.namespaces;
    this.#netns = parts.netns;
    const recorder = {
      event: (_: ObjectReference, type: string, reason: string, message: string) =>
        void this.events.push(`${type} ${reason} ${message}`),
    };
    const shared = { client: this.#api, clock: systemClock, log: silentLog };
    this.#objects = new ObjectCache(shared);
    this.#tokens = new TokenManager({ ...shared, onRefreshDue: () => {} });
    const nodeAllocatable = { cpu: '2', memory: '4Gi' };
    this.#volumes = new LocalVolumes(
      { rootDir: this.rootDir, nodeMemoryBytes: 1 << 30 },
      {
        ...shared,
        objects: this.#objects,
        tokens: this.#tokens,
        mounter: this.#mounter,
        fieldFacts: () => ({ podIps: [], hostIps: [NODE_IP], nodeAllocatable }),
        events: recorder,
      },
    );
    const featuresOf = (handler: string) => parts.status.runtimeHandlers.find((h) => h.name === handler)?.features;
    this.#runtime = new KubeRuntime(runtimeSettings(dir), {
      runtime: this.containerd.runtime,
      images: this.containerd.images,
      recorder,
      clock: systemClock,
      log: silentLog,
      nodeIps: () => [NODE_IP],
      nodeAllocatable: () => nodeAllocatable,
      configMap: async (_, name) => opts.configMaps?.find((o) => o.metadata?.name === name),
      secret: async (_, name) => opts.secrets?.find((o) => o.metadata?.name === name),
      services: () => opts.services ?? [],
      runtimeHandler: async (name) => name,
      supportsRecursiveReadOnly: (handler) => featuresOf(handler)?.recursiveReadOnlyMounts ?? false,
      supportsUserNamespaces: (handler) => featuresOf(handler)?.userNamespaces ?? false,
      userNamespaces: new UserNamespaces({
        rootDir: this.rootDir,
        pool: { start: IDS_PER_POD, length: 2 ** 32 - IDS_PER_POD },
        idsPerPod: IDS_PER_POD,
      }),
      imageVolumesMissing: (withSubPath) => imageVolumesMissing('containerd', parts.version, withSubPath),
      cgroupParent: () => this.containerd.cgroupParent,
      ...(opts.claims === undefined ? {} : { claims: opts.claims }),
      volumesOf: (uid) => this.#volumes.volumesOf(uid),
      tailLog,
      bindMount: (source, target) => this.#mounter.bind(source, target),
      unmount: (target) => this.#mounter.unmount(target),
    });
  }

  static async start(opts: RuntimePodsOptions = {}): Promise<RuntimePods> {
    const dir = await mkdtemp(path.join(tmpdir(), 'nodelet-pods-'));
    const namespaces = new TestNamespaces('pods');
    try {
      const cniConfDir = path.join(dir, 'cni');
      await mkdir(cniConfDir);
      await mkdir(path.join(dir, 'root/seccomp'), { recursive: true });
      await writeFile(path.join(cniConfDir, '10-test.conflist'), conflist(dir));
      await writeFile(path.join(dir, 'resolv.conf'), 'nameserver 192.0.2.53\nsearch node.example\noptions timeout:1\n');
      await writeFile(path.join(dir, 'hosts'), '127.0.0.1 localhost\n192.0.2.7 of-the-node\n');
      const { configMaps: maps, secrets: hidden, services: _, claims: __, ...containerdOpts } = opts;
      const netns = await namespaces.create('node');
      const containerd = await TestContainerd.start({ ...containerdOpts, cniConfDir, netns });
      const [status, version] = await Promise.all([containerd.runtime.status(false), containerd.runtime.version()]);
      const self = new RuntimePods(
        dir,
        { containerd, namespaces, netns, status, version: version.runtimeVersion },
        opts,
      );
      for (const map of maps ?? []) await self.#api.create(configMaps, { namespace: 'ns' }, map);
      for (const secret of hidden ?? []) await self.#api.create(secrets, { namespace: 'ns' }, secret);
      return self;
    } catch (err) {
      await namespaces[Symbol.asyncDispose]();
      await rm(dir, { recursive: true });
      throw err;
    }
  }

  get rootDir(): string {
    return path.join(this.dir, 'root');
  }

  /** A pod with one container `c`. */
  pod(container: TestContainer, spec: TestSpec = {}, metadata: Pod['metadata'] = {}): Pod {
    return this.podOf([{ name: 'c', ...container }], spec, metadata);
  }

  podOf(containers: readonly TestContainer[], spec: TestSpec = {}, metadata: Pod['metadata'] = {}): Pod {
    const name = `p${this.#count++}`;
    return {
      metadata: { name, namespace: 'ns', uid: `uid-${name}`, ...metadata },
      spec: {
        restartPolicy: 'Never',
        terminationGracePeriodSeconds: 0,
        enableServiceLinks: true,
        securityContext: {},
        ...spec,
        containers: containers.map(({ script, ...c }) => ({
          name: 'c',
          image: BUSYBOX,
          imagePullPolicy: 'IfNotPresent',
          ...(script === undefined ? {} : { command: ['sh', '-c', script] }),
          ...c,
        })),
      },
    };
  }

  /** One pass towards the pod. */
  async sync(pod: Pod): Promise<PodSyncResult> {
    const signal = AbortSignal.timeout(WAIT_MS);
    const mountVolumes = async () => void (await this.#volumes.mountPod(pod, signal));
    return await this.#runtime.syncPod({
      pod,
      status: await this.statusOf(pod),
      verdicts: IDLE_VERDICTS,
      onSandboxReady: () => {},
      mountVolumes,
      signal,
    });
  }

  /** Starts the pod. @throws with the reasons when a container does not start. */
  async start(pod: Pod): Promise<void> {
    const { error, failures } = await this.sync(pod);
    if (error !== undefined) throw error;
    if (failures.length > 0) throw new Error(failures.map((f) => `${f.reason}: ${f.message}`).join('; '));
  }

  async statusOf(pod: Pod): Promise<PodRuntimeStatus> {
    const { uid = '', name = '', namespace = '' } = pod.metadata ?? {};
    return await this.#runtime.getPodStatus(uid, name, namespace);
  }

  /** Resolves with the container once it has ended. */
  async ended(pod: Pod, name = 'c'): Promise<RuntimeContainer> {
    const endMs = Date.now() + WAIT_MS;
    for (;;) {
      const found = (await this.statusOf(pod)).containers.find((c) => c.name === name);
      if (found?.state === 'exited') return found;
      if (Date.now() > endMs) throw new Error(`${pod.metadata?.name}/${name} does not end: ${JSON.stringify(found)}`);
      await systemClock.sleep(POLL_MS);
    }
  }

  /** Runs the pod to its end and tells what container `c` wrote, without the last line break. */
  async run(container: TestContainer, spec: TestSpec = {}, metadata: Pod['metadata'] = {}): Promise<string> {
    const pod = this.pod(container, spec, metadata);
    await this.start(pod);
    await this.ended(pod);
    return await this.log(pod);
  }

  async log(pod: Pod, name = 'c'): Promise<string> {
    const { cri } = (await this.statusOf(pod)).containers.find((c) => c.name === name)!;
    return (await tailLog(cri.logPath, 1000, 1 << 20)).trimEnd();
  }

  /** What a command writes inside a running container. @throws when its exit code is not 0. */
  async exec(pod: Pod, command: readonly string[], name = 'c'): Promise<string> {
    const { id } = (await this.statusOf(pod)).containers.find((c) => c.name === name)!;
    const r = await this.containerd.runtime.execSync(id, command, 30);
    const text = (bytes: Uint8Array) => Buffer.from(bytes).toString('utf8').trimEnd();
    if (r.exitCode !== 0) throw new Error(`${command.join(' ')}: exit ${r.exitCode}: ${text(r.stderr)}`);
    return text(r.stdout);
  }

  /** Runs a program on the network of the node. */
  async onNode(program: string, ...args: string[]): Promise<string> {
    return await execOk(this.#namespaces.exec(this.#netns), program, args);
  }

  /** Why the container does not start. @throws when it does. */
  async refusal(container: TestContainer, spec: TestSpec = {}): Promise<string> {
    const { error, failures } = await this.sync(this.pod(container, spec));
    if (error !== undefined) return error.message;
    if (failures.length === 0) throw new Error('the container started');
    return failures.map((f) => `${f.reason}: ${f.message}`).join('; ');
  }

  /** @throws when a volume cannot be unmounted. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.containerd[Symbol.asyncDispose]();
    this.#volumes[Symbol.dispose]();
    this.#tokens[Symbol.dispose]();
    this.#objects[Symbol.dispose]();
    for (const { mountPoint } of mountsUnder(await this.#mounter.list(), this.dir)) {
      await this.#mounter.unmount(mountPoint);
    }
    await this.#namespaces[Symbol.asyncDispose]();
    await rm(this.dir, { recursive: true });
  }
}

function runtimeSettings(dir: string): ConstructorParameters<typeof KubeRuntime>[0] {
  return {
    nodeName: 'node',
    rootDir: path.join(dir, 'root'),
    podLogsDir: path.join(dir, 'logs'),
    containerLogsDir: path.join(dir, 'links'),
    clusterDns: ['10.96.0.10'],
    clusterDomain: 'cluster.local',
    resolvConfFile: path.join(dir, 'resolv.conf'),
    nodeHostsFile: path.join(dir, 'hosts'),
    maxRestartBackoffMs: 300_000,
    pulls: { maxParallelPulls: 1, pullsPerSecond: 5, pullBurst: 10 },
    resources: {
      memoryCapacityBytes: 4 * 2 ** 30,
      enforceCpuLimits: true,
      cpuPeriodUs: 100_000,
      cgroupVersion: 1,
      singleProcessOomKill: true,
      hugepageSizes: [],
    },
    security: { seccompDefault: false, seccompDir: path.join(dir, 'root/seccomp'), extraMaskedPaths: [] },
  };
}

function conflist(dir: string): string {
  const ipam = { type: 'host-local', dataDir: path.join(dir, 'ipam'), ranges: [[{ subnet: '10.99.0.0/16' }]] };
  const bridge = { type: 'bridge', bridge: 'cni0', isGateway: true, ipMasq: false, ipam };
  const portmap = { type: 'portmap', capabilities: { portMappings: true } };
  return JSON.stringify({ cniVersion: '0.4.0', name: 'test', plugins: [bridge, portmap] });
}
