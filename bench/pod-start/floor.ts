// The floor: the calls that any kubelet has to make for a pod, made directly, one after the other, with the very
// configurations that the agent would send. Files, cgroup and clean-up, which the runtime does not do, are not timed.
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Pod } from '../../api/pod.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import type { ContainerConfig, Image, PodSandboxConfig } from '../../cri/gen/messages.ts';
import { connectRuntime } from '../../cri/remote-runtime.ts';
import type { ImageService, Init, RuntimeService } from '../../cri/runtime-service.ts';
import { CgroupFs, type CgroupHierarchies, detectCgroups } from '../../host/cgroup.ts';
import { PodCgroups } from '../../kubelet/resources/pod-cgroup.ts';
import { containerConfig } from '../../kubelet/runtime/container-config.ts';
import { parseResolvConf, podDns } from '../../kubelet/runtime/dns.ts';
import { makeEnvironment } from '../../kubelet/runtime/env.ts';
import { makeMounts } from '../../kubelet/runtime/mounts.ts';
import { podLogDir } from '../../kubelet/runtime/pod-paths.ts';
import type { ResourceSettings } from '../../kubelet/runtime/resources.ts';
import { withoutRuncFaults } from '../../kubelet/runtime/runc-faults.ts';
import { sandboxConfig } from '../../kubelet/runtime/sandbox-config.ts';
import type { MountedVolume } from '../../kubelet/volumes/volume-manager.ts';
import type { BenchLab } from './bench-lab.ts';
import { TRAP_SET_MS } from './system.ts';

interface FloorPod {
  readonly pod: Pod;
  readonly sandbox: Init<PodSandboxConfig>;
  readonly container: Init<ContainerConfig>;
  sandboxId: string;
  containerId: string;
}

const STOP_GRACE_SECONDS = 30;

export class Floor implements AsyncDisposable {
  readonly #runtime: RuntimeService;
  readonly #images: ImageService;
  readonly #close: () => void;
  readonly #lab: BenchLab;
  readonly #template: Pod;
  readonly #resources: ResourceSettings;
  readonly #cgroups: PodCgroups;
  readonly #clusterDns: string;
  readonly #dir: string;
  #image: Image | undefined;

  /** `template`: a pod as the API server has it, of which each floor pod is a copy under another name. */
  static async create(lab: BenchLab, template: Pod): Promise<Floor> {
    return new Floor(lab, template, await detectCgroups(), (await lab.addresses()).clusterDns);
  }

  constructor(lab: BenchLab, template: Pod, hierarchies: CgroupHierarchies, clusterDns: string) {
    const endpoint = `unix://${lab.paths.containerdSocket}`;
    const connection = connectRuntime({ endpoint, requestTimeoutMs: 120_000 }, () => {}, systemClock);
    this.#runtime = connection.runtime;
    this.#images = connection.images;
    this.#close = connection.close;
    this.#lab = lab;
    this.#template = template;
    this.#clusterDns = clusterDns;
    this.#dir = path.join(lab.paths.dir, 'floor');
    this.#resources = {
      memoryCapacityBytes: 2 ** 34,
      enforceCpuLimits: true,
      cpuPeriodUs: 100_000,
      cgroupVersion: hierarchies.version,
      singleProcessOomKill: hierarchies.version === 1,
      hugepageSizes: [],
    };
    this.#cgroups = new PodCgroups(
      {
        cgroupsPerQos: true,
        driver: 'cgroupfs',
        root: lab.cgroupRoot(),
        cpuCfsQuota: true,
        cpuPeriodUs: 100_000,
        podPidsLimit: -1,
        allPods: { memoryBytes: 2 ** 33, cpuMillis: 1000 },
      },
      { fs: new CgroupFs(hierarchies), log: silentLog },
    );
  }

  async timePod(): Promise<{ readyMs: number; goneMs: number }> {
    return await this.timeBurst(1);
  }

  /** `n` pods at once; ms until the last has started, and until the last has stopped. */
  async timeBurst(n: number): Promise<{ readyMs: number; goneMs: number }> {
    const all = await Promise.all(Array.from({ length: n }, () => this.#prepare()));
    try {
      const createdMs = performance.now();
      await Promise.all(all.map((p) => this.#start(p)));
      const readyMs = performance.now() - createdMs;
      await sleep(TRAP_SET_MS);
      const deletedMs = performance.now();
      await Promise.all(all.map((p) => this.#stop(p)));
      return { readyMs, goneMs: performance.now() - deletedMs };
    } finally {
      for (const p of all) await this.#remove(p);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#close();
    await rm(this.#dir, { recursive: true, force: true });
  }

  async #start(p: FloorPod): Promise<void> {
    p.sandboxId = await withoutRuncFaults(() => this.#runtime.runPodSandbox(p.sandbox, ''));
    p.containerId = await withoutRuncFaults(async (isLastTry) => {
      const id = await this.#runtime.createContainer(p.sandboxId, p.container, p.sandbox);
      try {
        await this.#runtime.startContainer(id);
      } catch (err) {
        if (!isLastTry(err)) await this.#runtime.removeContainer(id);
        throw err;
      }
      return id;
    });
  }

  async #stop(p: FloorPod): Promise<void> {
    await this.#runtime.stopContainer(p.containerId, STOP_GRACE_SECONDS);
    await this.#runtime.stopPodSandbox(p.sandboxId);
  }

  async #remove(p: FloorPod): Promise<void> {
    if (p.containerId !== '') await this.#runtime.removeContainer(p.containerId);
    if (p.sandboxId !== '') {
      await this.#runtime.stopPodSandbox(p.sandboxId);
      await this.#runtime.removePodSandbox(p.sandboxId);
    }
    await this.#cgroups.removePodCgroup(p.pod.metadata?.uid ?? '');
    await rm(p.sandbox.logDirectory ?? '', { recursive: true, force: true });
  }

  /** Configurations as the agent makes them, and the files they name. */
  async #prepare(): Promise<FloorPod> {
    const uid = randomUUID();
    const pod: Pod = {
      ...this.#template,
      metadata: { ...this.#template.metadata, uid, name: `floor-${uid.slice(0, 8)}` },
    };
    const container = pod.spec!.containers[0]!;
    const { paths } = this.#lab;
    const files = await this.#makeFiles(uid);
    const logDirectory = podLogDir({ podLogsDir: paths.podLogs }, pod);
    await mkdir(path.join(logDirectory, container.name), { recursive: true });
    await this.#cgroups.ensurePodCgroup(pod);
    const host = parseResolvConf(await readFile(paths.resolvConf, 'utf8'));
    const dns = podDns(pod, { clusterDns: [this.#clusterDns], clusterDomain: 'cluster.local', host, nodeIps: [] });
    const sandbox = sandboxConfig({
      pod,
      attempt: 0,
      logDirectory,
      hostname: pod.metadata?.name ?? '',
      dns: dns.config,
      cgroupParent: this.#cgroups.cgroupParentOf(pod),
      resources: this.#resources,
    });
    const env = makeEnvironment(pod, container, {
      configMap: () => undefined,
      secret: () => undefined,
      services: [],
      podIps: [],
      hostIps: [],
      nodeAllocatable: {},
    });
    const volumes = new Map(
      (pod.spec?.volumes ?? []).map((v): [string, MountedVolume] => [
        v.name,
        { name: v.name, hostPath: files.volume, readOnly: true, selinuxRelabel: false },
      ]),
    );
    const mounts = makeMounts({
      container,
      volumes,
      env,
      subPaths: new Map(),
      etcHostsFile: files.etcHosts,
      terminationLogFile: files.terminationLog,
      supportsRecursiveReadOnly: false,
    });
    this.#image ??= await this.#images.imageStatus({ image: container.image ?? '' });
    if (this.#image === undefined) throw new Error(`image ${container.image ?? ''} is not present`);
    const config = containerConfig({
      pod,
      container,
      restartCount: 0,
      imageRef: this.#image.id,
      image: this.#image,
      env,
      mounts,
      targetId: '',
      resources: this.#resources,
      security: { seccompDefault: false, seccompDir: '', extraMaskedPaths: [] },
    });
    return { pod, sandbox, container: config, sandboxId: '', containerId: '' };
  }

  async #makeFiles(uid: string): Promise<{ volume: string; etcHosts: string; terminationLog: string }> {
    const dir = path.join(this.#dir, uid);
    const files = {
      volume: path.join(dir, 'volume'),
      etcHosts: path.join(dir, 'etc-hosts'),
      terminationLog: path.join(dir, 'termination-log'),
    };
    await mkdir(files.volume, { recursive: true });
    await writeFile(files.etcHosts, '127.0.0.1\tlocalhost\n');
    await writeFile(files.terminationLog, '', { mode: 0o666 });
    return files;
  }
}
