// A cluster on one machine: one API server, N nodes. Brings it up, takes it down, adds and removes nodes. Each part is
// written into the lab's state before it is made, and taking down looks at what is really there, so that a lab that
// was interrupted at any point can be taken down.
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import path from 'node:path';
import type { Clock } from '../core/clock.ts';
import { AgentError } from '../core/errors.ts';
import { removeCgroupTree } from '../host/cgroup-tree.ts';
import type { Exec } from '../host/exec.ts';
import { isRunning, spawnDetached, stopProcess } from '../host/process.ts';
import { ensureBridgeNetfilter } from './bridge-netfilter.ts';
import { type BuiltImages, buildImages } from './images.ts';
import {
  isNodeName,
  type LabAddresses,
  type LabNames,
  labAddresses,
  labNames,
  MAX_NODES,
  nodeAddress,
  nodeNetns,
} from './names.ts';
import {
  chooseLabIndex,
  connectNode,
  createLabNetwork,
  disconnectNode,
  removeLabNetwork,
  routePods,
} from './network.ts';
import { bootNode, importImage, startAgent, startContainerd, stopNode } from './node.ts';
import { agentArguments, type NodePaths, nodePaths, renderAgentConfig } from './node-config.ts';
import { removeAllButLogs } from './node-logs.ts';
import { createClusterPki, issueNodeCredentials, type LabFiles, labFiles } from './pki.ts';
import type { Progress } from './progress.ts';
import { removeIfEmpty, removeSharedPlaces } from './shared-places.ts';
import {
  type AgentOptions,
  findLabState,
  findNode,
  type LabState,
  LabStateFile,
  lockLab,
  type NodeState,
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

const CNI_BIN_DIR = '/usr/lib/cni';
/** Host-wide: one lab at a time chooses its number. */
const INDEX_LOCK_DIR = '/run/nodelet-labs';
const APISERVER_GRACE_MS = 10_000;

export class Lab {
  readonly dir: string;
  readonly files: LabFiles;
  readonly #names: LabNames;
  readonly #deps: LabDeps;
  readonly #state: LabStateFile;

  constructor(dir: string, deps: LabDeps) {
    this.dir = path.resolve(dir);
    this.files = labFiles(this.dir);
    this.#names = labNames(this.dir);
    this.#deps = deps;
    this.#state = new LabStateFile(this.dir);
  }

  /**
   * Brings up a new lab. When a step fails or `signal` aborts, everything made so far is taken down again.
   * @throws {AgentError} LAB_RUNNING when one is up in this directory.
   */
  async up(opts: UpOptions, signal: AbortSignal): Promise<void> {
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
        await this.#startApiserver(signal);
        await opts.prepareCluster();
      });
      const names = Array.from({ length: opts.nodes }, (_, i) => `node-${i + 1}`);
      const machines = Promise.all(names.map((name) => this.#bootMachine(name, images, signal)));
      await settleAll([apiserver, machines]);
      await settleAll(
        names.map((name) => progress.step(`${name} Ready`, () => this.#joinNode(name, addresses, signal))),
      );
    } catch (err) {
      await progress.step('taking down what was started', () => this.#tearDown({ keepLogs: !signal.aborted }));
      throw err;
    }
  }

  /** Takes the lab down. Idempotent; finishes what an interrupted `up` or `down` left. */
  async down(signal: AbortSignal): Promise<void> {
    await using _lock = await lockLab(this.dir, this.#deps.clock, signal);
    await this.#tearDown({ keepLogs: false });
  }

  /** Starts the API server again where it was, with its store; one that runs is left alone. */
  async startApiserver(signal: AbortSignal): Promise<void> {
    await using _lock = await lockLab(this.dir, this.#deps.clock, signal);
    const { apiserver } = await readLabState(this.dir);
    if (apiserver !== undefined && (await isRunning(apiserver))) return;
    await this.#deps.progress.step('API server', () => this.#startApiserver(signal));
  }

  /** Stops the API server alone: nodes and pods go on without it. Idempotent. */
  async stopApiserver(signal: AbortSignal): Promise<void> {
    await using _lock = await lockLab(this.dir, this.#deps.clock, signal);
    const { apiserver } = await readLabState(this.dir);
    await this.#deps.progress.step('API server off', async () => {
      if (apiserver !== undefined) await stopProcess(apiserver, APISERVER_GRACE_MS, this.#deps.clock);
    });
    await this.#state.update((s) => without(s, ['apiserver']));
  }

  async addNode(name: string | undefined, signal: AbortSignal): Promise<string> {
    await using _lock = await lockLab(this.dir, this.#deps.clock, signal);
    const state = await readLabState(this.dir);
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
    await using _lock = await lockLab(this.dir, this.#deps.clock, signal);
    const state = await readLabState(this.dir);
    findNode(state, name);
    await this.#bringUpNode(name, state, signal);
  }

  async #bringUpNode(name: string, state: LabState, signal: AbortSignal): Promise<void> {
    const images = await buildImages(this.files.images);
    await this.#deps.progress.step(`${name} boot`, () => this.#bootMachine(name, images, signal));
    const addresses = labAddresses(state.index);
    await this.#deps.progress.step(`${name} Ready`, () => this.#joinNode(name, addresses, signal));
  }

  /** Switches a node off, as if its power were cut after the agent's clean stop. Its disk stays. */
  async stopNode(name: string, signal: AbortSignal): Promise<void> {
    await using _lock = await lockLab(this.dir, this.#deps.clock, signal);
    const node = findNode(await readLabState(this.dir), name);
    await this.#deps.progress.step(`${name} off`, () => stopNode(node, this.#nodeCgroup(name), this.#deps.clock));
    await this.#state.updateNode(name, ({ name, ordinal, netns, ip }) => ({ name, ordinal, netns, ip }));
  }

  /** Stops a node and removes its disk, network and, through `deleteNodeObject`, its Node. */
  async removeNode(
    name: string,
    deleteNodeObject: (name: string) => Promise<void>,
    signal: AbortSignal,
  ): Promise<void> {
    await using _lock = await lockLab(this.dir, this.#deps.clock, signal);
    const state = await readLabState(this.dir);
    const node = findNode(state, name);
    await this.#deps.progress.step(`${name} removed`, async () => {
      await stopNode(node, this.#nodeCgroup(name), this.#deps.clock);
      await disconnectNode(this.#deps.exec, this.#names, node);
      await rm(this.#paths(name).dir, { recursive: true, force: true });
      await deleteNodeObject(name);
    });
    await this.#state.update((s) => ({ ...s, nodes: s.nodes.filter((n) => n.name !== name) }));
  }

  /** Imports an image archive into one node or all of them. */
  async load(tar: string, only: string | undefined, signal: AbortSignal): Promise<void> {
    const state = await readLabState(this.dir);
    const nodes = only === undefined ? state.nodes : [findNode(state, only)];
    await settleAll(
      nodes.map((node) =>
        this.#deps.progress.step(`${path.basename(tar)} → ${node.name}`, () =>
          importImage(this.#deps.exec, this.#paths(node.name).containerdSocket, tar, signal),
        ),
      ),
    );
  }

  #paths(node: string): NodePaths {
    return nodePaths(this.dir, node);
  }

  #nodeCgroup(node: string): string {
    return `${this.#names.cgroupRoot}/${node}`;
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

  async #startApiserver(signal: AbortSignal): Promise<void> {
    const { files } = this;
    const state = await readLabState(this.dir);
    const addresses = labAddresses(state.index);
    const flags: Readonly<Record<string, string>> = {
      'bind-address': addresses.host,
      'advertise-address': addresses.host,
      'secure-port': String(state.port),
      'tls-cert-file': files.apiserverCert,
      'tls-private-key-file': files.apiserverKey,
      'client-ca-file': files.caCert,
      'service-account-signing-key-file': files.serviceAccountKey,
      'service-account-issuer': 'https://kubernetes.default.svc.cluster.local',
      'service-cluster-ip-range': addresses.serviceCidr,
      'cluster-cidr': addresses.clusterCidr,
      'kubelet-client-certificate': files.kubeletClientCert,
      'kubelet-client-key': files.kubeletClientKey,
      'kubelet-certificate-authority': files.caCert,
      'cluster-signing-cert-file': files.caCert,
      'cluster-signing-key-file': files.caKey,
      'store-dir': files.store,
      'store-durability': 'normal', // a power cut ends the lab's nodes as well
      'authorization-mode': 'Node,RBAC',
    };
    const args = Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
    const [program, ...first] = this.#deps.self;
    const further = state.apiserverArguments ?? [];
    const started = await spawnDetached(program, [...first, 'apiserver', ...args, ...further], {
      logFile: files.apiserverLog,
    });
    await this.#state.update((s) => ({ ...s, apiserver: started.identity }));
    await started.ready(signal);
  }

  /** Network, namespaces and containerd with the lab's images; each step is skipped when it is done already. */
  async #bootMachine(name: string, images: BuiltImages, signal: AbortSignal): Promise<void> {
    const { exec, clock } = this.#deps;
    const paths = this.#paths(name);
    let node = await this.#ensureNodeState(name);
    await mkdir(paths.dir, { recursive: true, mode: 0o755 });
    if (node.init === undefined || !(await isRunning(node.init))) {
      await disconnectNode(exec, this.#names, node); // what a crash may have left
      const state = await readLabState(this.dir);
      await connectNode(exec, this.#names, labAddresses(state.index), node);
      const booted = await bootNode({ node: name, netns: node.netns, paths }, signal);
      node = await this.#state.updateNode(name, (n) => ({ ...without(n, ['containerd', 'agent']), ...booted }));
    }
    if (node.containerd === undefined || !(await isRunning(node.containerd))) {
      const config = { cniBinDir: CNI_BIN_DIR, sandboxImage: images.pauseName };
      const containerd = await startContainerd(node.init!, paths, config, { exec, clock }, signal);
      await this.#state.updateNode(name, (n) => ({ ...n, containerd }));
      for (const tar of images.archives) await importImage(exec, paths.containerdSocket, tar, signal);
    }
  }

  /** Credentials, configuration and the agent; resolves when the Node is Ready. */
  async #joinNode(name: string, addresses: LabAddresses, signal: AbortSignal): Promise<void> {
    const state = await readLabState(this.dir);
    const node = findNode(state, name);
    if (node.agent !== undefined && (await isRunning(node.agent))) return;
    const paths = this.#paths(name);
    const server = `https://${addresses.host}:${state.port}`;
    await issueNodeCredentials(this.files, { node: name, ip: node.ip, server, paths });
    await writeFile(paths.resolvConf, await readFile('/etc/resolv.conf', 'utf8').catch(() => ''));
    const input = {
      node: name,
      ip: node.ip,
      paths,
      addresses,
      cgroupRoot: this.#nodeCgroup(name),
      clientCaFile: this.files.caCert,
      cniBinDir: CNI_BIN_DIR,
    };
    await writeFile(paths.agentConfig, renderAgentConfig(input));
    const [program, ...first] = this.#deps.self;
    const args = [...first, ...agentArguments(input, state.agentOptions)];
    const agent = await startAgent(node.init!, program, args, paths, signal);
    await this.#state.updateNode(name, (n) => ({ ...n, agent: agent.identity }));
    await agent.ready(signal);
  }

  /** Lets the host (and with it the API server's proxy) reach the pods of a node. */
  async routePods(node: string, podCidr: string): Promise<void> {
    const { ip } = findNode(await readLabState(this.dir), node);
    await routePods(this.#deps.exec, this.#names, podCidr, ip);
  }

  async #ensureNodeState(name: string): Promise<NodeState> {
    const state = await this.#state.update((s) => (s.nodes.some((n) => n.name === name) ? s : this.#withNode(s, name)));
    return findNode(state, name);
  }

  #withNode(state: LabState, name: string): LabState {
    const ordinal = freeOrdinal(state);
    const ip = nodeAddress(state.index, ordinal);
    const node: NodeState = { name, ordinal, netns: nodeNetns(this.#names.id, name), ip };
    return { ...state, nodes: [...state.nodes, node] };
  }

  async #tearDown(opts: { readonly keepLogs: boolean }): Promise<void> {
    const { exec, clock } = this.#deps;
    const state = await findLabState(this.dir);
    if (state !== undefined) {
      await settleAll(
        state.nodes.map(async (node) => {
          await stopNode(node, this.#nodeCgroup(node.name), clock);
          await disconnectNode(exec, this.#names, node);
        }),
      );
      if (state.apiserver !== undefined) await stopProcess(state.apiserver, APISERVER_GRACE_MS, clock);
    }
    await removeLabNetwork(exec, this.#names);
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

function freeOrdinal(state: LabState): number {
  const used = new Set(state.nodes.map((n) => n.ordinal));
  for (let ordinal = 1; ordinal <= MAX_NODES; ordinal++) if (!used.has(ordinal)) return ordinal;
  throw new AgentError(`a lab has at most ${MAX_NODES} nodes`, { code: 'LAB_FULL' });
}

function freeNodeName(state: LabState): string {
  const used = new Set(state.nodes.map((n) => n.name));
  for (let i = 1; ; i++) if (!used.has(`node-${i}`)) return `node-${i}`;
}

function without<T extends object, K extends keyof T>(object: T, keys: readonly K[]): Omit<T, K> {
  return Object.fromEntries(Object.entries(object).filter(([k]) => !keys.includes(k as K))) as Omit<T, K>;
}
