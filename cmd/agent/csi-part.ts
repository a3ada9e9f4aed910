// Plugins of the node and the volumes that CSI drivers serve.
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { errorMessage } from '../../core/errors.ts';
import type { Task } from '../../core/tasks.ts';
import type { Mounter } from '../../host/mounts.ts';
import { registerPluginGauge } from '../../kubelet/metrics/plugin-gauge.ts';
import type { PluginHandler } from '../../kubelet/plugins/plugin-handler.ts';
import { PluginManager } from '../../kubelet/plugins/plugin-manager.ts';
import type { ClaimFigures } from '../../kubelet/stats/volume-meter.ts';
import { ClaimVolumes } from '../../kubelet/volumes/claims/claim-volumes.ts';
import { CsiAllocatable } from '../../kubelet/volumes/csi/csi-allocatable.ts';
import { CsiAttachments } from '../../kubelet/volumes/csi/csi-attachments.ts';
import { CSI_PLUGIN_TYPE, CsiDrivers } from '../../kubelet/volumes/csi/csi-drivers.ts';
import { CsiNodeObject } from '../../kubelet/volumes/csi/csi-node.ts';
import { CsiRecords } from '../../kubelet/volumes/csi/csi-records.ts';
import { csiVolumeFigures } from '../../kubelet/volumes/csi/csi-stats.ts';
import { CsiVolumes } from '../../kubelet/volumes/csi/csi-volumes.ts';
import type { TokenManager } from '../../kubelet/volumes/token-manager.ts';
import { csiMetrics } from './observers.ts';
import type { AgentContext } from './shared.ts';

/** Between tries to make the CSINode, ms. */
const CSI_NODE_RETRY_MS = 5_000;

export interface CsiPart extends Disposable {
  readonly claims: ClaimVolumes;
  /** How full the volume published at `target` is, as its driver says. */
  readonly volumeFigures: (target: string) => Promise<ClaimFigures | undefined>;
  /** For node.status.volumesInUse. */
  readonly volumesInUse: () => Promise<readonly string[] | undefined>;
  /** To be run once the Node is registered. */
  readonly plugins: Task;
}

export interface CsiPartDeps {
  readonly rootDir: string;
  readonly tokens: TokenManager;
  readonly mounter: Mounter;
  /** The volumes of the pod should be looked at again. */
  readonly notifyPod: (podUid: string) => void;
  readonly notifyWaitingPods: () => void;
  readonly requestNodeStatus: () => void;
  /** Of other kinds of plugins, by the type that they tell. */
  readonly otherPlugins: readonly (readonly [type: string, handler: PluginHandler])[];
}

export function createCsiPart(ctx: AgentContext, deps: CsiPartDeps): CsiPart {
  const { config, client, clock, log, recorder: events } = ctx;
  const { nodeName } = config;
  const { rootDir, mounter, notifyPod } = deps;
  const ownNode = ctx.ownNode.store;
  const records = new CsiRecords(rootDir, log);
  const node = new CsiNodeObject(nodeName, { client, clock });
  const attachments = new CsiAttachments(nodeName, {
    client,
    ownNode,
    records,
    onInUseChanged: deps.requestNodeStatus,
    notifyPod,
    onLimitReached: (driver) => {
      drivers.refreshLimit(driver, lifetime).catch((err: unknown) => {
        log.warn({ err, driver }, 'the limit of a CSI driver is not known anew');
      });
    },
  });
  let lifetime = AbortSignal.abort();
  const drivers = new CsiDrivers({
    node,
    log,
    observe: csiMetrics(ctx.registry),
    onRegistered: (driver) => {
      deps.notifyWaitingPods();
      allocatable.registered(driver);
      csi.unstageStrays(driver, lifetime).catch((err: unknown) => {
        log.warn({ err, driver }, 'volumes that no pod uses were not looked for');
      });
    },
  });
  const allocatable = new CsiAllocatable({
    client,
    clock,
    log,
    refresh: (name, s) => drivers.refreshLimit(name, s),
    onDriver: (name, driver) => attachments.setAttachRequired(name, driver?.spec.attachRequired !== false),
  });
  const csi = new CsiVolumes(nodeName, {
    client,
    drivers,
    records,
    attachments,
    tokens: deps.tokens,
    mounter,
    events,
    clock,
    log,
  });
  const claims = new ClaimVolumes(
    { nodeName, rootDir },
    { client, ownNode, csi, attachments, records, mounter, events, notifyPod, clock, log },
  );

  const handlers = new Map<string, PluginHandler>([[CSI_PLUGIN_TYPE, drivers], ...deps.otherPlugins]);
  const manager = new PluginManager(path.join(rootDir, 'plugins_registry'), handlers, { clock, log });
  registerPluginGauge(ctx.registry, manager);

  const plugins: Task = async (signal) => {
    lifetime = signal;
    await mkdir(path.join(rootDir, 'plugins'), { recursive: true, mode: 0o750 });
    await Promise.all([ensureCsiNode(signal), manager.run(signal), allocatable.run(signal)]);
  };
  const ensureCsiNode = async (signal: AbortSignal): Promise<void> => {
    while (!signal.aborted) {
      try {
        await node.ensure(signal);
        return;
      } catch (err) {
        if (!signal.aborted) log.warn({ error: errorMessage(err) }, 'CSINode not made, will retry');
        await clock.sleep(CSI_NODE_RETRY_MS, signal);
      }
    }
  };
  return {
    claims,
    volumeFigures: (target) => csiVolumeFigures(target, drivers),
    volumesInUse: () => attachments.volumesInUse(),
    plugins,
    [Symbol.dispose]() {
      claims[Symbol.dispose]();
      csi[Symbol.dispose]();
      attachments[Symbol.dispose]();
    },
  };
}
