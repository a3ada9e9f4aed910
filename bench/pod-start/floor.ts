// The floor: the calls that any kubelet has to make for a pod, made directly, one after the other, with the very
// configurations that the agent would send. Files, cgroup and clean-up, which the runtime does not do, are not timed.
import { randomUUID } from 'node:crypto';
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Container, Pod } from '../../api/pod.ts';
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
import { ContainerEnds } from './container-ends.ts';
import { TRAP_SET_MS } from './system.ts';

interface FloorContainer {
  readonly config: Init<ContainerConfig>;
  id: string;
}

interface FloorPod {
  readonly uid: string;
  readonly sandbox: Init<PodSandboxConfig>;
  readonly init: readonly FloorContainer[];
  readonly regular: readonly FloorContainer[];
  sandboxId: string;
}

interface FloorFiles {
  readonly volume: string;
  readonly etcHosts: string;
  readonly terminationLog: string;
}

const STOP_GRACE_SECONDS = 30;

export class Floor implements AsyncDisposable {
  readonly #runtime: RuntimeService;
  readonly #images: ImageService;
  readonly #close: () => void;
  readonly #lab: BenchLab;
  readonly #resources: ResourceSettings;
  readonly #cgroups: PodCgroups;
  readonly #clusterDns: string;
  readonly #dir: string;
  #image: Image | undefined;

  static async create(lab: BenchLab): Promise<Floor> {
    return new Floor(lab, await detectCgroups(), (await lab.addresses()).clusterDns);
  }

  private constructor(lab: BenchLab, hierarchies: CgroupHierarchies, clusterDns: string) {
    const endpoint = `unix://${lab.paths.containerdSocket}`;
    const connection = connectRuntime({ endpoint, requestTimeoutMs: 120_000 }, () => {}, systemClock);
    this.#runtime = connection.runtime;
    this.#images = connection.images;
    this.#close = connection.close;
    this.#lab = lab;
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
      },
      { fs: new CgroupFs(hierarchies), log: silentLog },
    );
  }

  async timePod(template: Pod): Promise<{ readyMs: number; goneMs: number }> {
    return await this.timeBurst(template, 1);
  }

  /**
   * `n` pods at once; ms until the last has started, and until the last has stopped. `template`: a pod as the API server
   * has it, of which each is a copy under another name.
   */
  async timeBurst(template: Pod, n: number): Promise<{ readyMs: number; goneMs: number }> {
    const all = await Promise.all(Array.from({ length: n }, () => this.#prepare(template)));
    // Only meanwhile: following events costs the runtime something, which must not be on the system's account.
    await using ends = await ContainerEnds.follow(this.#runtime);
    try {
      const createdMs = performance.now();
      await Promise.all(all.map((p) => this.#start(p, ends)));
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

  async #start(p: FloorPod, ends: ContainerEnds): Promise<void> {
    p.sandboxId = await withoutRuncFaults(() => this.#runtime.runPodSandbox(p.sandbox, ''));
    for (const container of p.init) {
      await this.#startContainer(p, container);
      await ends.of(container.id);
      // How it ended decides whether the next one may start.
      const { exitCode } = await this.#runtime.containerStatus(container.id);
      if (exitCode !== 0) throw new Error(`init container ${container.config.metadata?.name} exited with ${exitCode}`);
    }
    for (const container of p.regular) await this.#startContainer(p, container);
  }

  async #startContainer(p: FloorPod, container: FloorContainer): Promise<void> {
    container.id = await withoutRuncFaults(async (isLastTry) => {
      const id = await this.#runtime.createContainer(p.sandboxId, container.config, p.sandbox);
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
    await Promise.all(p.regular.map((c) => this.#runtime.stopContainer(c.id, STOP_GRACE_SECONDS)));
    await this.#runtime.stopPodSandbox(p.sandboxId);
  }

  async #remove(p: FloorPod): Promise<void> {
    for (const { id } of [...p.init, ...p.regular]) if (id !== '') await this.#runtime.removeContainer(id);
    if (p.sandboxId !== '') {
      await this.#runtime.stopPodSandbox(p.sandboxId);
      await this.#runtime.removePodSandbox(p.sandboxId);
    }
    await this.#cgroups.removePodCgroup(p.uid);
    await rm(p.sandbox.logDirectory ?? '', { recursive: true, force: true });
  }

  /** Configurations as the agent makes them, and the files they name. */
  async #prepare(template: Pod): Promise<FloorPod> {
    const uid = randomUUID();
    const pod: Pod = { ...template, metadata: { ...template.metadata, uid, name: `floor-${uid.slice(0, 8)}` } };
    const { paths } = this.#lab;
    const files = await this.#makeFiles(uid);
    const logDirectory = podLogDir({ podLogsDir: paths.podLogs }, pod);
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
    const prepared = async (container: Container): Promise<FloorContainer> => {
      await mkdir(path.join(logDirectory, container.name), { recursive: true });
      return { config: await this.#containerConfig(pod, container, files), id: '' };
    };
    const init = await Promise.all((pod.spec?.initContainers ?? []).map(prepared));
    const regular = await Promise.all((pod.spec?.containers ?? []).map(prepared));
    return { uid, sandbox, init, regular, sandboxId: '' };
  }

  async #containerConfig(pod: Pod, container: Container, files: FloorFiles): Promise<Init<ContainerConfig>> {
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
    return containerConfig({
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
  }

  async #makeFiles(uid: string): Promise<FloorFiles> {
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
