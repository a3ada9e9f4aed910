// Has CSI drivers stage and publish the volumes of pods, and take them back. After pkg/volume/csi/csi_mounter.go,
// csi_attacher.go, csi_block.go. Every call may be made again: after a kill, a lost answer or a failure the next run
// of the same step asks the driver once more, as CSI wants its calls to be idempotent.
import { mkdir, rm } from 'node:fs/promises';
import path from 'node:path';
import type { CSIDriver } from '../../../api/kinds.ts';
import { formatTime } from '../../../api/meta.ts';
import type { Pod } from '../../../api/pod.ts';
import { csiDrivers, secrets } from '../../../api/resources.ts';
import type { ApiClient } from '../../../client/api-client.ts';
import { isNotFound } from '../../../client/errors.ts';
import { AgentError } from '../../../core/errors.ts';
import { KeyedLock } from '../../../core/keyed-lock.ts';
import type { Mounter } from '../../../host/mounts.ts';
import { rpcErrorText } from '../../plugins/rpc-text.ts';
import { isMountPoint } from '../empty-dir.ts';
import type { TokenManager } from '../token-manager.ts';
import { inStep } from '../volume-error.ts';
import { giveVolumeToPodGroup, type VolumeGroupDeps } from '../volume-group.ts';
import type { CsiAttachments } from './csi-attachments.ts';
import { type CsiClient, isFinal, type NodeCapability } from './csi-client.ts';
import type { CsiDrivers } from './csi-drivers.ts';
import { attachmentName, uniqueVolumeName } from './csi-paths.ts';
import { type CsiRecords, removeEmptyDir, type StagedVolume, type VolumeUse } from './csi-records.ts';
import {
  type CsiSpec,
  capabilityOf,
  checkLifecycle,
  driverFsGroup,
  needsAttach,
  ownsByFsGroup,
  podInfo,
  type SecretName,
} from './csi-spec.ts';
import { UnstageRetries } from './unstage-retries.ts';

export interface CsiVolumesDeps extends VolumeGroupDeps {
  readonly client: ApiClient;
  readonly drivers: Pick<CsiDrivers, 'connect'>;
  readonly records: CsiRecords;
  readonly attachments: Pick<CsiAttachments, 'want' | 'publishContext' | 'volumeReleased'>;
  readonly tokens: Pick<TokenManager, 'tokenWithExpiry'>;
  readonly mounter: Mounter;
}

export interface PublishedVolume {
  /** Of the file system, or the link to the device. */
  readonly hostPath: string;
  readonly isStaged: boolean;
  /** The driver wants it published again from time to time. */
  readonly requiresRepublish: boolean;
  readonly canExpand: boolean;
}

interface Work {
  readonly pod: Pod;
  readonly spec: CsiSpec;
  readonly use: VolumeUse;
  readonly driver: CSIDriver | undefined;
  readonly client: CsiClient;
  readonly capabilities: ReadonlySet<NodeCapability>;
  readonly publishContext: Record<string, string>;
  readonly signal: AbortSignal;
}

const TOKENS_KEY = 'csi.storage.k8s.io/serviceAccount.tokens';
const DEFAULT_TOKEN_SECONDS = 3600;

export class CsiVolumes implements Disposable {
  readonly #nodeName: string;
  readonly #deps: CsiVolumesDeps;
  /** A volume is not unstaged while another pod has it staged. */
  readonly #lock = new KeyedLock<string>();
  /** Published by this process, by use: whether a failure may mean that nothing was ever published. */
  readonly #published = new Set<string>();
  readonly #staged = new Set<string>();
  readonly #retries: UnstageRetries;
  readonly #lifetime = new AbortController();

  constructor(nodeName: string, deps: CsiVolumesDeps) {
    this.#nodeName = nodeName;
    this.#deps = deps;
    this.#retries = new UnstageRetries(deps.clock, (volume) => void this.#unstageIfUnused(volume, this.#signal)); // never throws
  }

  /** Stages and publishes. Idempotent. @throws {VolumeStepError} */
  async mount(pod: Pod, spec: CsiSpec, signal: AbortSignal): Promise<PublishedVolume> {
    const { records, drivers, attachments } = this.#deps;
    await records.load();
    const podUid = pod.metadata?.uid ?? '';
    const { specName, handle, isBlock } = spec;
    const initialize = <T>(work: () => Promise<T>) => inStep('NewMounter initialization', specName, work, rpcErrorText);
    const driver = await initialize(() => this.#driverObject(spec.driver, signal));
    await initialize(async () => checkLifecycle(spec, driver));
    const isAttached = needsAttach(spec, driver);
    if (isAttached) attachments.want(uniqueVolumeName(spec.driver, handle), podUid);
    const use: VolumeUse = { podUid, specName, driver: spec.driver, handle, isBlock };
    const publishContext = isAttached ? await attachments.publishContext(spec, podUid, signal) : {};
    const setUp = async (): Promise<PublishedVolume> => {
      using client = await initialize(async () => drivers.connect(spec.driver));
      const capabilities = await initialize(() => client.capabilities(signal));
      const isNew = await initialize(() => this.#recordUse(use, spec, pod));
      const work: Work = { pod, spec, use, driver, client, capabilities, publishContext, signal };
      const staged = await this.#stage(work, isNew);
      await this.#publish(work, staged, isNew);
      return {
        hostPath: isBlock
          ? records.paths.podDeviceLink(podUid, specName)
          : records.paths.publishTarget(podUid, specName),
        isStaged: staged,
        requiresRepublish: driver?.spec?.requiresRepublish === true,
        canExpand: capabilities.has('EXPAND_VOLUME'),
      };
    };
    return await this.#lock.run(uniqueVolumeName(spec.driver, handle), setUp, signal);
  }

  /**
   * Takes back every CSI volume of the pod. Those that nobody else uses are unstaged afterwards: no pod waits for that,
   * and what a driver does not unstage is tried again. Idempotent.
   */
  async unmountPod(podUid: string, signal: AbortSignal): Promise<void> {
    const { records } = this.#deps;
    await records.load();
    const results = await Promise.allSettled(records.usesOf(podUid).map((use) => this.#unmount(use, signal)));
    const failures = results.filter((r) => r.status === 'rejected').map((r) => rpcErrorText(r.reason));
    if (failures.length === 0) return;
    throw new AgentError(`CSI volumes not taken back: ${failures.join('; ')}`, {
      code: 'VOLUME_UNMOUNT_FAILED',
      retryable: true,
    });
  }

  /**
   * Has the driver grow the file system to `bytes`. Idempotent.
   * @throws {AgentError} VOLUME_EXPAND_FAILED with the driver's text, caused by what the driver said
   */
  async expand(pod: Pod, spec: CsiSpec, published: PublishedVolume, bytes: number, signal: AbortSignal): Promise<void> {
    const podUid = pod.metadata?.uid ?? '';
    const { specName, handle, isBlock, driver } = spec;
    await this.#lock.run(uniqueVolumeName(driver, handle), async () => {
      const failed = (text: string, cause: unknown) =>
        new AgentError(text, { code: 'VOLUME_EXPAND_FAILED', cause, retryable: true });
      try {
        using client = this.#deps.drivers.connect(driver);
        const capabilities = await client.capabilities(signal);
        const request = {
          volumeId: handle,
          volumePath: this.#publishTarget({ podUid, specName, isBlock }),
          capacityRange: { requiredBytes: bytes, limitBytes: 0 },
          stagingTargetPath: published.isStaged ? this.#stagingTarget(spec) : '',
          volumeCapability: capabilityOf(spec, capabilities, driverFsGroup(pod, capabilities)),
          secrets: await this.#secret(spec.secrets.expand, signal),
        };
        await client.expand(request, signal).catch((err: unknown) => {
          throw failed(`Expander.NodeExpand failed to expand the volume : ${rpcErrorText(err)}`, err);
        });
      } catch (err) {
        throw err instanceof AgentError && err.code === 'VOLUME_EXPAND_FAILED' ? err : failed(rpcErrorText(err), err);
      }
    });
  }

  /** Unstages what a killed agent left staged without a user. Called when the driver has registered. */
  async unstageStrays(driver: string, signal: AbortSignal): Promise<void> {
    await this.#deps.records.load();
    for (const stray of this.#deps.records.strays(driver)) await this.#unstageIfUnused(stray, signal);
  }

  [Symbol.dispose](): void {
    this.#lifetime.abort();
    this.#retries[Symbol.dispose]();
  }

  get #signal(): AbortSignal {
    return this.#lifetime.signal;
  }

  async #driverObject(name: string, signal: AbortSignal): Promise<CSIDriver | undefined> {
    try {
      return await this.#deps.client.get(csiDrivers, { name }, { signal });
    } catch (err) {
      if (isNotFound(err)) return undefined;
      throw err;
    }
  }

  #recordUse(use: VolumeUse, spec: CsiSpec, pod: Pod): Promise<boolean> {
    const { nodeName = this.#nodeName } = pod.spec ?? {};
    return this.#deps.records.addUse(use, {
      attachmentID: attachmentName(spec.handle, spec.driver, nodeName),
      driverName: spec.driver,
      nodeName,
      specVolID: spec.specName,
      volumeHandle: spec.handle,
      volumeLifecycleMode: spec.lifecycle,
    });
  }

  /** False for a driver that stages nothing. */
  async #stage(work: Work, isNew: boolean): Promise<boolean> {
    const { spec, capabilities, client, signal } = work;
    if (spec.lifecycle === 'Ephemeral' || !capabilities.has('STAGE_UNSTAGE_VOLUME')) return false;
    const { records } = this.#deps;
    const name = uniqueVolumeName(spec.driver, spec.handle);
    if (this.#staged.has(name)) return true;
    const blockSpecName = spec.isBlock ? spec.specName : undefined;
    const entry: StagedVolume = { driver: spec.driver, handle: spec.handle, blockSpecName };
    const wasStaged = records.stagedOf(spec.driver, spec.handle) !== undefined;
    const step = spec.isBlock ? 'SetUpDevice' : 'MountDevice';
    await inStep(
      step,
      spec.specName,
      async () => {
        const stageSecrets = await this.#secret(spec.secrets.stage, signal);
        await records.addStaged(entry);
        const request = {
          volumeId: spec.handle,
          publishContext: work.publishContext,
          stagingTargetPath: this.#stagingTarget(spec),
          volumeCapability: capabilityOf(spec, capabilities, driverFsGroup(work.pod, capabilities)),
          secrets: stageSecrets,
          volumeContext: { ...spec.attributes },
        };
        await client.stage(request, signal).catch(async (err: unknown) => {
          // What the driver has refused is not there, unless an earlier call, whose answer is unknown, made it.
          if (isFinal(err) && !wasStaged) await records.removeStaged(entry);
          if (isFinal(err) && !wasStaged && isNew) await records.removeUse(work.use);
          throw err;
        });
      },
      rpcErrorText,
      spec.isBlock,
    );
    this.#staged.add(name);
    return true;
  }

  async #publish(work: Work, staged: boolean, isNew: boolean): Promise<void> {
    const { pod, spec, use, client, capabilities, signal } = work;
    const target = this.#publishTarget(use);
    const key = `${use.podUid}/${use.specName}`;
    await inStep(
      spec.isBlock ? 'MapPodDevice' : 'SetUp',
      spec.specName,
      async () => {
        await mkdir(path.dirname(target), { recursive: true, mode: 0o750 });
        const tokens = await this.#tokens(work);
        const inSecrets = (work.driver?.spec as { serviceAccountTokenInSecrets?: boolean } | undefined)
          ?.serviceAccountTokenInSecrets;
        const request = {
          volumeId: spec.handle,
          publishContext: work.publishContext,
          stagingTargetPath: staged ? this.#stagingTarget(spec) : '',
          targetPath: target,
          volumeCapability: capabilityOf(spec, capabilities, driverFsGroup(pod, capabilities)),
          readonly: spec.readOnly,
          secrets: { ...(await this.#secret(spec.secrets.publish, signal)), ...(inSecrets ? tokens : {}) },
          volumeContext: { ...spec.attributes, ...podInfo(pod, spec, work.driver), ...(inSecrets ? {} : tokens) },
        };
        await client.publish(request, signal).catch(async (err: unknown) => {
          if (isFinal(err) && isNew && !this.#published.has(key)) await this.#forgetUnpublished(use, target);
          throw err;
        });
        this.#published.add(key);
        await this.#applyFsGroup(work, target);
      },
      rpcErrorText,
      spec.isBlock,
    );
  }

  /** The driver has refused to publish, so there is nothing to take back but what it was staged for. */
  async #forgetUnpublished(use: VolumeUse, target: string): Promise<void> {
    if (!use.isBlock) await removeEmptyDir(target);
    if (this.#deps.records.stagedOf(use.driver, use.handle) === undefined) await this.#deps.records.removeUse(use);
  }

  async #applyFsGroup({ pod, spec, driver, capabilities }: Work, target: string): Promise<void> {
    if (spec.isBlock || capabilities.has('VOLUME_MOUNT_GROUP') || !ownsByFsGroup(spec, driver)) return;
    await giveVolumeToPodGroup(pod, target, spec.readOnly, this.#deps);
  }

  async #unmount(use: VolumeUse, signal: AbortSignal): Promise<void> {
    const { records, drivers, mounter } = this.#deps;
    await this.#lock.run(uniqueVolumeName(use.driver, use.handle), async () => {
      const target = this.#publishTarget(use);
      using client = drivers.connect(use.driver);
      await client.unpublish(use.handle, target, signal);
      if (await isMountPoint(mounter, target)) {
        throw new AgentError(`${target} is still mounted although the driver has unpublished it`, {
          code: 'VOLUME_UNMOUNT_FAILED',
          retryable: true,
        });
      }
      await (use.isBlock ? rm(target, { force: true }) : removeEmptyDir(target)); // some drivers leave it to us
      this.#published.delete(`${use.podUid}/${use.specName}`);
      const staged = records.stagedOf(use.driver, use.handle);
      const isLast = records.usersOf(use.driver, use.handle).length === 1;
      if (use.isBlock && isLast && staged === undefined) await records.removeBlockData(use.specName);
      await records.removeUse(use);
      // The pod is rid of it: a driver may take long, and the next pod waits for the lock. It never throws; killed before
      // that, it is found when the driver registers.
      if (isLast && staged !== undefined) void this.#unstageIfUnused(staged, this.#signal);
      else if (isLast) this.#deps.attachments.volumeReleased();
    });
  }

  /** Never throws: what fails is tried again. */
  async #unstageIfUnused(staged: StagedVolume, signal: AbortSignal): Promise<void> {
    const { records, drivers, attachments, log } = this.#deps;
    const { driver, handle, blockSpecName } = staged;
    const name = uniqueVolumeName(driver, handle);
    try {
      await this.#lock.run(name, async () => {
        if (signal.aborted) return;
        if (records.stagedOf(driver, handle) === undefined || records.usersOf(driver, handle).length > 0) {
          this.#retries.forget(name);
          return;
        }
        using client = drivers.connect(driver);
        if (!(await this.#tryUnstage(staged, client, signal))) return;
        if (blockSpecName !== undefined) await records.removeBlockData(blockSpecName);
        attachments.volumeReleased();
      });
    } catch (err) {
      // Mostly a driver that is not there: when it registers, what it has staged is looked through.
      this.#retries.forget(name);
      if (!signal.aborted) log.warn({ err, driver, volume: handle }, 'a CSI volume stays staged');
    }
  }

  /** False when the driver would not; then it is tried again later. @throws what aborts `signal` */
  async #tryUnstage(staged: StagedVolume, client: CsiClient, signal: AbortSignal): Promise<boolean> {
    const { records, log } = this.#deps;
    const { driver, handle, blockSpecName } = staged;
    const name = uniqueVolumeName(driver, handle);
    const target =
      blockSpecName === undefined
        ? records.paths.stagingTarget(driver, handle)
        : records.paths.blockStagingTarget(blockSpecName);
    this.#staged.delete(name); // first: after a failure nobody knows, and the next pod has it staged again
    try {
      await client.unstage(handle, target, signal);
      await records.removeStaged(staged);
    } catch (err) {
      if (signal.aborted) throw err;
      log.warn({ error: rpcErrorText(err), driver, volume: handle }, 'a CSI volume is not unstaged, will retry');
      this.#retries.later(name, staged);
      return false;
    }
    this.#retries.forget(name);
    return true;
  }

  #stagingTarget(spec: CsiSpec): string {
    const { paths } = this.#deps.records;
    return spec.isBlock ? paths.blockStagingTarget(spec.specName) : paths.stagingTarget(spec.driver, spec.handle);
  }

  #publishTarget({ podUid, specName, isBlock }: Pick<VolumeUse, 'podUid' | 'specName' | 'isBlock'>): string {
    const { paths } = this.#deps.records;
    return isBlock ? paths.blockPublishTarget(podUid, specName) : paths.publishTarget(podUid, specName);
  }

  async #secret(name: SecretName | undefined, signal: AbortSignal): Promise<Record<string, string>> {
    if (name === undefined) return {};
    const secret = await this.#deps.client.get(secrets, name, { signal });
    const entries = Object.entries(secret.data ?? {});
    return Object.fromEntries(entries.map(([key, value]) => [key, Buffer.from(value, 'base64').toString('utf8')]));
  }

  /** Tokens of the pod's service account for the audiences that the driver names. */
  async #tokens({ pod, driver, signal }: Work): Promise<Record<string, string>> {
    const requests = driver?.spec?.tokenRequests ?? [];
    if (requests.length === 0) return {};
    const tokens: Record<string, { token: string; expirationTimestamp: string }> = {};
    for (const { audience, expirationSeconds = DEFAULT_TOKEN_SECONDS } of requests) {
      const request = {
        podName: pod.metadata?.name ?? '',
        podUid: pod.metadata?.uid ?? '',
        namespace: pod.metadata?.namespace ?? '',
        serviceAccount: pod.spec?.serviceAccountName || 'default',
        audience,
        expirationSeconds,
      };
      const { token, expiresMs } = await this.#deps.tokens.tokenWithExpiry(request, signal);
      tokens[audience] = { token, expirationTimestamp: formatTime(expiresMs) };
    }
    return { [TOKENS_KEY]: JSON.stringify(tokens) };
  }
}
