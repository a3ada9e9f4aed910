// What the API shows of the CSI drivers of this node: the CSINode object, and the node's annotation and topology
// labels. After pkg/volume/csi/nodeinfomanager.
import type { CSINode, Node } from '../../../api/kinds.ts';
import { csiNodes, nodes } from '../../../api/resources.ts';
import type { ApiClient } from '../../../client/api-client.ts';
import { isAlreadyExists, isConflict, isNotFound } from '../../../client/errors.ts';
import { Backoff } from '../../../core/backoff.ts';
import type { Clock } from '../../../core/clock.ts';
import { AgentError } from '../../../core/errors.ts';
import { MIGRATED_ANNOTATION, MIGRATED_PLUGINS } from './csi-migration.ts';

export const NODE_ID_ANNOTATION = 'csi.volume.kubernetes.io/nodeid';
const MAX_INT32 = 2 ** 31 - 1;
/** Others write the node's object too, heartbeats above all. */
const ATTEMPTS = 8;
const RETRY = { initialMs: 20, maxMs: 2_000, jitter: 0.5 };

export interface DriverInfo {
  readonly name: string;
  /** The driver's own name for this node. */
  readonly nodeId: string;
  /** 0: no limit is known. */
  readonly maxVolumes: number;
  readonly topology: Readonly<Record<string, string>>;
}

type Drivers = NonNullable<CSINode['spec']>['drivers'];
interface NodeMetadataPatch {
  readonly annotations?: Record<string, string | null>;
  readonly labels?: Record<string, string>;
}

/** Pure: the drivers with this one in its place. Undefined when nothing changes. */
export function withDriver(drivers: Drivers, info: DriverInfo): Drivers | undefined {
  const topologyKeys = Object.keys(info.topology).sort();
  const entry = {
    name: info.name,
    nodeID: info.nodeId,
    topologyKeys,
    ...(info.maxVolumes > 0 ? { allocatable: { count: Math.min(info.maxVolumes, MAX_INT32) } } : {}),
  };
  const known = drivers.find((d) => d.name === info.name);
  const isSame =
    known?.nodeID === entry.nodeID &&
    known.allocatable?.count === entry.allocatable?.count &&
    JSON.stringify(known.topologyKeys ?? []) === JSON.stringify(topologyKeys);
  return isSame ? undefined : [...drivers.filter((d) => d.name !== info.name), entry];
}

/** Pure: what to change of the node. @throws when a topology label has another value. */
export function nodePatch(node: Node, info: DriverInfo): NodeMetadataPatch | undefined {
  const labels: Record<string, string> = {};
  for (const [key, value] of Object.entries(info.topology)) {
    const current = node.metadata?.labels?.[key];
    if (current === value) continue;
    if (current !== undefined) {
      throw new AgentError(
        `detected topology value collision: driver reported ${JSON.stringify(`${key}:${value}`)} but existing label is ${JSON.stringify(`${key}:${current}`)}`,
        { code: 'CSI_DRIVER_REFUSED' },
      );
    }
    labels[key] = value;
  }
  const ids = nodeIds(node);
  const annotations =
    ids[info.name] === info.nodeId
      ? {}
      : { [NODE_ID_ANNOTATION]: JSON.stringify({ ...ids, [info.name]: info.nodeId }) };
  if (Object.keys(labels).length + Object.keys(annotations).length === 0) return undefined;
  return { annotations, labels };
}

/** Pure: the node's annotation without the driver. */
function nodePatchWithout(node: Node, driver: string): NodeMetadataPatch | undefined {
  const { [driver]: gone, ...rest } = nodeIds(node);
  if (gone === undefined) return undefined;
  const isEmpty = Object.keys(rest).length === 0;
  return { annotations: { [NODE_ID_ANNOTATION]: isEmpty ? null : JSON.stringify(rest) } };
}

/** An annotation that somebody broke counts as none: the next driver writes it anew. */
function nodeIds(node: Node): Record<string, string> {
  try {
    const ids: unknown = JSON.parse(node.metadata?.annotations?.[NODE_ID_ANNOTATION] ?? '{}');
    return typeof ids === 'object' && ids !== null && !Array.isArray(ids) ? (ids as Record<string, string>) : {};
  } catch {
    return {};
  }
}

export class CsiNodeObject {
  readonly #nodeName: string;
  readonly #client: ApiClient;
  readonly #clock: Clock;

  constructor(nodeName: string, deps: { client: ApiClient; clock: Clock }) {
    this.#nodeName = nodeName;
    this.#client = deps.client;
    this.#clock = deps.clock;
  }

  /** Makes the CSINode, or brings it up to date. The Node must be registered: it owns the CSINode. */
  async ensure(signal: AbortSignal): Promise<void> {
    await this.#retrying(signal, async () => {
      const csiNode = await this.#getOrCreate(signal);
      const annotations = csiNode.metadata?.annotations;
      if (annotations?.[MIGRATED_ANNOTATION] === MIGRATED_PLUGINS) return;
      const metadata = {
        ...csiNode.metadata,
        annotations: { ...annotations, [MIGRATED_ANNOTATION]: MIGRATED_PLUGINS },
      };
      await this.#client.update(csiNodes, { name: this.#nodeName }, { ...csiNode, metadata }, { signal });
    });
  }

  /** Shows the driver. Idempotent. @throws {AgentError} CSI_DRIVER_REFUSED, and as API calls do. */
  async install(info: DriverInfo, signal: AbortSignal): Promise<void> {
    if (info.nodeId === '') {
      throw new AgentError('error adding CSI driver node info: driverNodeID must not be empty', {
        code: 'CSI_DRIVER_REFUSED',
      });
    }
    await this.#patchNode((node) => nodePatch(node, info), signal);
    await this.#updateDrivers((drivers) => withDriver(drivers, info), signal);
  }

  /** Shows the driver no more; topology labels stay, as volumes may depend on them. Idempotent. */
  async uninstall(driver: string, signal: AbortSignal): Promise<void> {
    const without = (drivers: Drivers) =>
      drivers.some((d) => d.name === driver) ? drivers.filter((d) => d.name !== driver) : undefined;
    await this.#updateDrivers(without, signal);
    await this.#patchNode((node) => nodePatchWithout(node, driver), signal);
  }

  #patchNode(change: (node: Node) => NodeMetadataPatch | undefined, signal: AbortSignal): Promise<void> {
    return this.#retrying(signal, async () => {
      const name = { name: this.#nodeName };
      const node = await this.#client.get(nodes, name, { signal });
      const metadata = change(node);
      if (metadata === undefined) return;
      const { resourceVersion } = node.metadata ?? {}; // the annotation was read to be written: nobody may come between
      await this.#client.patch(
        nodes,
        name,
        { type: 'merge', body: { metadata: { ...metadata, resourceVersion } } },
        { signal },
      );
    });
  }

  #updateDrivers(change: (drivers: Drivers) => Drivers | undefined, signal: AbortSignal): Promise<void> {
    return this.#retrying(signal, async () => {
      const csiNode = await this.#getOrCreate(signal);
      const drivers = change(csiNode.spec?.drivers ?? []);
      if (drivers === undefined) return;
      const changed = { ...csiNode, spec: { ...csiNode.spec, drivers } };
      await this.#client.update(csiNodes, { name: this.#nodeName }, changed, { signal });
    });
  }

  async #getOrCreate(signal: AbortSignal): Promise<CSINode> {
    const name = this.#nodeName;
    try {
      return await this.#client.get(csiNodes, { name }, { signal });
    } catch (err) {
      if (!isNotFound(err)) throw err;
    }
    const { metadata } = await this.#client.get(nodes, { name }, { signal });
    const ownerReferences = [{ apiVersion: 'v1', kind: 'Node', name, uid: metadata?.uid ?? '' }];
    const annotations = { [MIGRATED_ANNOTATION]: MIGRATED_PLUGINS };
    const csiNode: CSINode = { metadata: { name, annotations, ownerReferences }, spec: { drivers: [] } };
    return await this.#client.create(csiNodes, {}, csiNode, { signal });
  }

  async #retrying(signal: AbortSignal, work: () => Promise<void>): Promise<void> {
    const backoff = new Backoff(RETRY);
    for (let attempt = 1; ; attempt++) {
      try {
        await work();
        return;
      } catch (err) {
        const mayPass = isConflict(err) || isAlreadyExists(err);
        if (!mayPass || attempt === ATTEMPTS || signal.aborted) throw err;
        await this.#clock.sleep(backoff.next(), signal);
      }
    }
  }
}
