// Puts together what /stats/summary and the metrics of containers show: samples of cgroups, storage, the node itself.
import type { Pod } from '../../api/pod.ts';
import { linkedSignal } from '../../core/abort.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import { bootTimeMs } from '../../host/process-facts.ts';
import type { NodeUsage } from './node-usage.ts';
import type { CgroupSampler, Sample, SampleDepth } from './sampler.ts';
import type { StorageMeter } from './storage-meter.ts';
import {
  containerStats,
  fsStats,
  limitsOf,
  networkStats,
  podStats,
  reducedPodStats,
  rowStats,
  type StorageFacts,
  timeText,
} from './summary.ts';
import type { NodeStats as NodeAnswer, Summary } from './summary-types.ts';
import type { PodVolumes, VolumeMeter } from './volume-meter.ts';

export interface NodeStatsOptions {
  readonly nodeName: string;
  readonly memoryBytes: number;
  /** volumeStatsAggPeriod, ms: figures of volumes may be this old. Negative: volumes are not measured. */
  readonly volumeAgeMs: number;
}

export interface NodeStatsDeps {
  readonly sampler: CgroupSampler;
  readonly usage: NodeUsage;
  readonly storage: StorageMeter;
  readonly volumes: VolumeMeter;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Answers that others asked for may be used again for so long, ms. Upstream's are up to 15 s old. */
const SAMPLE_AGE_MS = 5_000;
/** Figures that cost the runtime or the disk some work, ms. */
const STORAGE_AGE_MS = 10_000;
/** Volumes that were never measured are waited for so long, ms. */
const VOLUME_WAIT_MS = 10_000;
/** Who asks for rates and was not there before waits for a second look, ms. */
const SECOND_LOOK_MS = 1_000;

export class NodeStats {
  readonly #opts: NodeStatsOptions;
  readonly #deps: NodeStatsDeps;
  readonly #log: Logger;

  constructor(opts: NodeStatsOptions, deps: NodeStatsDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'stats' });
  }

  sample(depth: SampleDepth, maxAgeMs = SAMPLE_AGE_MS): Promise<Sample> {
    return this.#deps.sampler.sample(depth, maxAgeMs);
  }

  /** CPU and memory alone, of everything. @throws when the root cgroup cannot be read. */
  async reducedSummary(): Promise<Summary> {
    const sample = await this.#withRates('live');
    const { nodeName } = this.#opts;
    const node = {
      nodeName,
      systemContainers: this.#systemContainers(sample, true),
      startTime: timeText(sample.root.startedAtMs),
      ...rowStats(sample.root, true, this.#nodeLimits()),
    };
    return { node, pods: sample.pods.map(reducedPodStats) };
  }

  /** Everything. What cannot be found out is left out, and said in the log. @throws as `reducedSummary`. */
  async summary(): Promise<Summary> {
    const sample = await this.#withRates('live');
    const facts = await this.#storageFacts(sample);
    return { node: await this.#node(sample, facts), pods: sample.pods.map((pod) => podStats(pod, facts)) };
  }

  /** Volumes of all pods, each measured within the usual period; measures now only what never was. */
  async volumes(pods: readonly Pod[]): Promise<(podUid: string) => PodVolumes | undefined> {
    const { volumes, clock } = this.#deps;
    const { volumeAgeMs } = this.#opts;
    if (volumeAgeMs < 0) return () => undefined;
    const measured = volumes.measure(pods, volumeAgeMs).catch((err: unknown) => {
      this.#log.warn({ err }, 'volumes not measured');
    });
    // Who comes again gets what is known: a walk of a large volume holds up only the first, and him not for long.
    if (pods.some((pod) => volumes.known(pod.metadata?.uid ?? '') === undefined)) {
      using waiting = linkedSignal();
      await Promise.race([measured, clock.sleep(VOLUME_WAIT_MS, waiting.signal)]);
      waiting.abort(); // ends the sleep
    }
    return (uid) => volumes.known(uid);
  }

  /** A sample by which rates can be told. */
  async #withRates(depth: SampleDepth): Promise<Sample> {
    const sample = await this.sample(depth);
    if (sample.root.usageNanoCores !== undefined) return sample;
    await this.#deps.clock.sleep(SECOND_LOOK_MS);
    return await this.sample(depth, SECOND_LOOK_MS / 2);
  }

  async #node(sample: Sample, facts: StorageFacts): Promise<NodeAnswer> {
    const { usage } = this.#deps;
    const imageFs = await this.#orNothing('file system of images', () => usage.imageFs(STORAGE_AGE_MS));
    const { atMs, max, current } = usage.nodeProcesses();
    return {
      nodeName: this.#opts.nodeName,
      systemContainers: this.#systemContainers(sample, false),
      startTime: timeText(bootTimeMs()),
      ...rowStats(sample.root, false, this.#nodeLimits()),
      ...(facts.hostNetwork === undefined ? {} : { network: facts.hostNetwork }),
      ...(facts.nodeFs === undefined ? {} : { fs: fsStats(facts.nodeFs) }),
      runtime:
        imageFs === undefined ? {} : { imageFs: fsStats(imageFs.imageFs), containerFs: fsStats(imageFs.containerFs) },
      rlimit: { time: timeText(atMs), maxpid: max, curproc: current },
    };
  }

  #systemContainers(sample: Sample, reduced: boolean) {
    const shown = sample.groups.filter((g) => g.inSummary);
    return shown.map(({ name, row }) => {
      const target = { id: '', name, image: '', createdAtMs: row.startedAtMs, cgroups: [] };
      return containerStats({ target, row }, reduced, limitsOf(row));
    });
  }

  #nodeLimits() {
    return { memoryBytes: this.#opts.memoryBytes };
  }

  async #storageFacts(sample: Sample): Promise<StorageFacts> {
    const { usage, storage } = this.#deps;
    const targets = sample.pods.map((p) => p.target);
    storage.forgetAllBut(new Set(targets.map((t) => t.uid)));
    const [nodeFs, imageFs, layers, logs, volumes] = await Promise.all([
      this.#orNothing('file system of the node', () => usage.nodeFs()),
      this.#orNothing('file system of images', () => usage.imageFs(STORAGE_AGE_MS)),
      this.#orNothing('writable layers', () => storage.layers(STORAGE_AGE_MS)),
      storage.logs(targets, STORAGE_AGE_MS),
      this.volumes(targets.map((t) => t.pod)),
    ]);
    const { live } = sample.root;
    return {
      nodeFs,
      containerFs: imageFs?.containerFs,
      layers: layers?.containers,
      logs: (uid) => logs.get(uid),
      volumes,
      hostNetwork: live?.network === undefined ? undefined : networkStats(live.network, live.atMs),
    };
  }

  async #orNothing<T>(what: string, ask: () => Promise<T>): Promise<T | undefined> {
    try {
      return await ask();
    } catch (err) {
      this.#log.warn({ err, what }, 'statistics lack something');
      return undefined;
    }
  }
}
