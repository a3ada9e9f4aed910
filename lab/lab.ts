// A cluster on one machine: one API server, N nodes. Brings it up, takes it down, adds and removes nodes. What is made is
// named in the lab's state, and taking down looks at what is really there, so that a lab that was interrupted can be taken
// down.
import { rm } from 'node:fs/promises';
import path from 'node:path';
import type { Clock } from '../core/clock.ts';
import { AgentError } from '../core/errors.ts';
import { removeCgroupTree } from '../host/cgroup-tree.ts';
import type { Exec } from '../host/exec.ts';
import { isRunning } from '../host/process.ts';
import { LabApiserver } from './apiserver.ts';
import { ensureBridgeNetfilter } from './bridge-netfilter.ts';
import { buildImages } from './images.ts';
import { makeLabDirectory, removeMadeDirectory } from './lab-directory.ts';
import { LabNodes } from './lab-nodes.ts';
import { isNodeName, type LabAddresses, type LabNames, labAddresses, labNames } from './names.ts';
import { chooseLabIndex, createLabNetwork, removeLabNetwork, routePods, unroutePods } from './network.ts';
import { importImage } from './node.ts';
import { removeAllButLogs } from './node-logs.ts';
import { createClusterPki, type LabFiles, labFiles } from './pki.ts';
import type { Progress } from './progress.ts';
import { removeIfEmpty, removeSharedPlaces } from './shared-places.ts';
import {
  type AgentOptions,
  findLabState,
  findNode,
  type LabState,
  LabStateFile,
  lockLab,
  readLabState,
  writeLabState,
} from './state.ts';

export interface LabDeps {
  readonly exec: Exec;
  readonly clock: Clock;
  readonly progress: Progress;
  /** The program and first arguments that run nodelet itself, e.g. ['/opt/nodelet/bin/nodelet']. */
  readonly self: readonly [string, ...string[]];
}

export interface UpOptions {
  readonly nodes: number;
  readonly port: number;
  readonly agentOptions: AgentOptions;
  /** Further flags for the API server, e.g. shorter tolerations. */
  readonly apiserverArguments: readonly string[];
  /** Called once the API server is ready, before any node joins: makes what nodes need there. */
  readonly prepareCluster: () => Promise<void>;
}

/** Host-wide: one lab at a time chooses its number. */
const INDEX_LOCK_DIR = '/run/nodelet-labs';

export class Lab {
  readonly dir: string;
  readonly files: LabFiles;
  readonly #names: LabNames;
  readonly #deps: LabDeps;
  readonly #state: LabStateFile;
  readonly #apiserver: LabApiserver;
  readonly #nodes: LabNodes;

  /** `dir`: without symbolic links, see `canonicalDirectory`. */
  constructor(dir: string, deps: LabDeps) {
    this.dir = path.resolve(dir);
    this.files = labFiles(this.dir);
    this.#names = labNames(this.dir);
    this.#deps = deps;
    this.#state = new LabStateFile(this.dir);
    const parts = { names: this.#names, files: this.files, state: this.#state };
    this.#apiserver = new LabApiserver(this.dir, parts, deps);
    this.#nodes = new LabNodes(this.dir, parts, deps);
  }

  /**
   * Brings up a new lab. When a step fails or `signal` aborts, everything made so far is taken down again.
   * @throws {AgentError} LAB_RUNNING when one is up in this directory.
   */
  async up(opts: UpOptions, signal: AbortSignal): Promise<void> {
    await makeLabDirectory(this.dir);
    try {
      await this.#bringUp(opts, signal);
    } catch (err) {
      await removeMadeDirectory(this.dir);
      throw err;
    }
  }

  async #bringUp(opts: UpOptions, signal: AbortSignal): Promise<void> {
    const { progress } = this.#deps;
    await using _lock = await lockLab(this.dir, this.#deps.clock, signal);
    await this.#clearAway();
    try {
      const addresses = await progress.step('network', () => this.#createNetwork(opts));
      const amiss = await ensureBridgeNetfilter(this.#deps.exec);
      if (amiss !== undefined) progress.note(`! ${amiss}`);
      const images = await progress.step('certificates and images', async () => {
        const [built] = await Promise.all([
          buildImages(this.files.images),
          createClusterPki(this.files, addresses, opts.port),
        ]);
        return built;
      });
      const apiserver = progress.step('API server', async () => {
        await this.#apiserver.start(signal);
        await opts.prepareCluster();
      });
      const names = Array.from({ length: opts.nodes }, (_, i) => `node-${i + 1}`);
      const machines = Promise.all(names.map((name) => this.#nodes.boot(name, images, signal)));
      await settleAll([apiserver, machines]);
      await settleAll(
        names.map((name) => progress.step(`${name} Ready`, () => this.#nodes.join(name, addresses, signal))),
      );
    } catch (err) {
      await progress.step('taking down what was started', () => this.#tearDown({ keepLogs: !signal.aborted }));
      throw err;
    }
  }

  /** Takes the lab down. Idempotent; finishes what an interrupted `up` or `down` left. */
  async down(signal: AbortSignal): Promise<void> {
    {
      await using _lock = await lockLab(this.dir, this.#deps.clock, signal);
      await this.#tearDown({ keepLogs: false });
    }
    await removeMadeDirectory(this.dir); // the lock was in it
  }

  /** Starts the API server again where it was, with its store; one that runs is left alone. */
  async startApiserver(signal: AbortSignal): Promise<void> {
    await using _lock = await this.#lockExisting(signal);
    if (await this.#apiserver.isRunning()) return;
    await this.#deps.progress.step('API server', () => this.#apiserver.start(signal));
  }

  /** Stops the API server alone: nodes and pods go on without it. Idempotent. */
  async stopApiserver(signal: AbortSignal): Promise<void> {
    await using _lock = await this.#lockExisting(signal);
    await this.#deps.progress.step('API server off', () => this.#apiserver.stop());
  }

  async addNode(name: string | undefined, signal: AbortSignal): Promise<string> {
    await using _lock = await this.#lockExisting(signal);
    const state = await this.#stateWithApiserver();
    const node = name ?? freeNodeName(state);
    if (!isNodeName(node)) {
      throw new AgentError(`${JSON.stringify(node)} cannot be the name of a node`, {
        code: 'LAB_NODE_NAME',
        hint: 'use at most 63 small letters, digits and inner hyphens',
      });
    }
    if (state.nodes.some((n) => n.name === node)) {
      throw new AgentError(`node ${node} exists already`, {
        code: 'LAB_NODE_EXISTS',
        hint: 'see `nodelet lab status`',
      });
    }
    await this.#bringUpNode(node, state, signal);
    return node;
  }

  /** Starts what does not run of a node that was stopped or whose agent ended. */
  async startNode(name: string, signal: AbortSignal): Promise<void> {
    await using _lock = await this.#lockExisting(signal);
    const state = await this.#stateWithApiserver();
    findNode(state, name);
    await this.#bringUpNode(name, state, signal);
  }

  async #bringUpNode(name: string, state: LabState, signal: AbortSignal): Promise<void> {
    const { progress } = this.#deps;
    try {
      const images = await buildImages(this.files.images);
      await progress.step(`${name} boot`, () => this.#nodes.boot(name, images, signal));
      await progress.step(`${name} Ready`, () => this.#nodes.join(name, labAddresses(state.index), signal));
    } catch (err) {
      progress.note(
        `${name} stays as it is: \`lab node start ${name}\` goes on with it, \`lab node rm ${name}\` removes it`,
      );
      throw err;
    }
  }

  /** Switches a node off, as if its power were cut after the agent's clean stop. Its disk stays. */
  async stopNode(name: string, signal: AbortSignal): Promise<void> {
    await using _lock = await this.#lockExisting(signal);
    const node = findNode(await readLabState(this.dir), name);
    await this.#deps.progress.step(`${name} off`, () => this.#nodes.switchOff(node));
    await this.#state.updateNode(name, ({ name, ordinal, netns, ip }) => ({ name, ordinal, netns, ip }));
  }

  /** Stops a node and removes its disk, network and, through `deleteNodeObject`, its Node. */
  async removeNode(
    name: string,
    deleteNodeObject: (name: string) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    await using _lock = await this.#lockExisting(signal);
    const node = findNode(await this.#stateWithApiserver(), name);
    await this.#deps.progress.step(`${name} removed`, async () => {
      await this.#nodes.takeAway(node);
      await unroutePods(this.#deps.exec, this.#names, node.ip);
      await this.#nodes.removeDisk(node);
      await deleteNodeObject(name);
    });
    await this.#state.update((s) => ({ ...s, nodes: s.nodes.filter((n) => n.name !== name) }));
  }

  /** Imports an image archive into one node or all of them. */
  async load(tar: string, only: string | undefined, signal: AbortSignal): Promise<void> {
    const state = await readLabState(this.dir);
    const nodes = only === undefined ? state.nodes : [findNode(state, only)];
    for (const { name, containerd } of nodes) {
      if (containerd !== undefined && (await isRunning(containerd))) continue;
      throw new AgentError(`node ${name} is switched off and can be given no image`, {
        code: 'LAB_NODE_OFF',
        hint: `nodelet lab node start ${name}, or name another node with --node`,
      });
    }
    await settleAll(
      nodes.map((node) =>
        this.#deps.progress.step(`${path.basename(tar)} → ${node.name}`, () =>
          importImage(this.#deps.exec, this.#nodes.paths(node.name).containerdSocket, tar, signal),
        ),
      ),
    );
  }

  /** Locking alone would make the directory of a lab that does not exist. @throws {AgentError} LAB_NOT_FOUND */
  async #lockExisting(signal: AbortSignal): Promise<AsyncDisposable> {
    await readLabState(this.dir);
    return await lockLab(this.dir, this.#deps.clock, signal);
  }

  /** What a command waits for that holds the lock could otherwise not be started. @throws {AgentError} LAB_APISERVER_OFF */
  async #stateWithApiserver(): Promise<LabState> {
    const state = await readLabState(this.dir);
    if (await this.#apiserver.isRunning()) return state;
    throw new AgentError(`the API server of the lab in ${this.dir} does not run`, {
      code: 'LAB_APISERVER_OFF',
      hint: `nodelet lab apiserver start --dir ${this.dir}`,
    });
  }

  /** A lab whose processes are all gone (a reboot, say) is cleared away; one that runs is left alone. */
  async #clearAway(): Promise<void> {
    const old = await findLabState(this.dir);
    if (old === undefined) return;
    const processes = [old.apiserver, ...old.nodes.flatMap((n) => [n.agent, n.containerd, n.init])];
    for (const identity of processes) {
      if (identity !== undefined && (await isRunning(identity))) {
        throw new AgentError(`a lab is running in ${this.dir}`, {
          code: 'LAB_RUNNING',
          hint: `use it: export KUBECONFIG=${this.files.kubeconfig}; or end it: nodelet lab down --dir ${this.dir}`,
        });
      }
    }
    await this.#tearDown({ keepLogs: false });
  }

  async #createNetwork(opts: UpOptions): Promise<LabAddresses> {
    await using _lock = await lockLab(INDEX_LOCK_DIR, this.#deps.clock, AbortSignal.timeout(30_000));
    const index = chooseLabIndex();
    await writeLabState(this.dir, {
      version: 1,
      id: this.#names.id,
      index,
      port: opts.port,
      agentOptions: opts.agentOptions,
      apiserverArguments: opts.apiserverArguments,
      nodes: [],
    });
    const addresses = labAddresses(index);
    await createLabNetwork(this.#deps.exec, this.#names, addresses);
    return addresses;
  }

  /** Lets the host (and with it the API server's proxy) reach the pods of a node. */
  async routePods(node: string, podCidr: string): Promise<void> {
    const { ip } = findNode(await readLabState(this.dir), node);
    await routePods(this.#deps.exec, this.#names, podCidr, ip);
  }

  async #tearDown(opts: { readonly keepLogs: boolean }): Promise<void> {
    const state = await findLabState(this.dir);
    if (state !== undefined) {
      await settleAll(state.nodes.map((node) => this.#nodes.takeAway(node)));
      await this.#apiserver.end(state);
    }
    await removeLabNetwork(this.#deps.exec, this.#names);
    await removeCgroupTree(this.#names.cgroupRoot);
    await this.#removeFiles(opts.keepLogs);
    await this.#removeSharedPlaces();
  }

  async #removeSharedPlaces(): Promise<void> {
    const { exec, clock } = this.#deps;
    {
      await using _lock = await lockLab(INDEX_LOCK_DIR, clock, AbortSignal.timeout(30_000));
      await removeSharedPlaces(exec);
    }
    await removeIfEmpty(INDEX_LOCK_DIR);
  }

  /** Removes what the lab made in its directory and nothing else: the directory may have been somebody's already. */
  async #removeFiles(keepLogs: boolean): Promise<void> {
    if (!keepLogs) {
      for (const entry of this.files.all) await rm(entry, { recursive: true, force: true });
      return;
    }
    for (const entry of this.files.all) {
      if (entry === this.files.nodes) await removeAllButLogs(entry);
      else if (entry !== this.files.apiserverLog) await rm(entry, { recursive: true, force: true });
    }
  }
}

/** Waits for all, then throws the first failure: nothing may go on in the background while a lab is taken down. */
async function settleAll(work: readonly Promise<unknown>[]): Promise<void> {
  const results = await Promise.allSettled(work);
  const failed = results.find((r) => r.status === 'rejected');
  if (failed !== undefined) throw failed.reason;
}

function freeNodeName(state: LabState): string {
  const used = new Set(state.nodes.map((n) => n.name));
  for (let i = 1; ; i++) if (!used.has(`node-${i}`)) return `node-${i}`;
}
