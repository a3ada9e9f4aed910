// The nodes of a lab: machines in namespaces of their own that boot, join, are switched off and are taken away. A node's
// name and namespace are written into the lab's state before it is made, its processes once they run: those that a killed
// command had no time to write down are found in the namespace.
import { mkdir, readFile, rm, writeFile } from 'node:fs/promises';
import type { Clock } from '../core/clock.ts';
import { AgentError } from '../core/errors.ts';
import type { Exec } from '../host/exec.ts';
import { isRunning } from '../host/process.ts';
import type { BuiltImages } from './images.ts';
import { type LabAddresses, type LabNames, labAddresses, MAX_NODES, nodeAddress, nodeNetns } from './names.ts';
import { connectNode, disconnectNode } from './network.ts';
import { bootNode, endProcessesIn, importImage, startAgent, startContainerd, stopNode } from './node.ts';
import { agentArguments, type NodePaths, nodePaths, renderAgentConfig } from './node-config.ts';
import { issueNodeCredentials, type LabFiles } from './pki.ts';
import { findNode, type LabState, type LabStateFile, type NodeState, readLabState, without } from './state.ts';

export interface LabNodesDeps {
  readonly exec: Exec;
  readonly clock: Clock;
  /** The program and first arguments that run nodelet itself. */
  readonly self: readonly [string, ...string[]];
}

const CNI_BIN_DIR = '/usr/lib/cni';

export class LabNodes {
  readonly #dir: string;
  readonly #names: LabNames;
  readonly #files: LabFiles;
  readonly #state: LabStateFile;
  readonly #deps: LabNodesDeps;

  constructor(
    dir: string,
    parts: { readonly names: LabNames; readonly files: LabFiles; readonly state: LabStateFile },
    deps: LabNodesDeps,
  ) {
    this.#dir = dir;
    this.#names = parts.names;
    this.#files = parts.files;
    this.#state = parts.state;
    this.#deps = deps;
  }

  /** Network, namespaces and containerd with the lab's images; each step is skipped when it is done already. */
  async boot(name: string, images: BuiltImages, signal: AbortSignal): Promise<void> {
    const { exec, clock } = this.#deps;
    const paths = this.paths(name);
    let node = await this.#ensureNodeState(name);
    await mkdir(paths.dir, { recursive: true, mode: 0o755 });
    if (node.init === undefined || !(await isRunning(node.init))) {
      await this.#disconnect(node); // what a crash may have left
      const state = await readLabState(this.#dir);
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
  async join(name: string, addresses: LabAddresses, signal: AbortSignal): Promise<void> {
    const state = await readLabState(this.#dir);
    const node = findNode(state, name);
    if (node.agent !== undefined && (await isRunning(node.agent))) return;
    const paths = this.paths(name);
    const server = `https://${addresses.host}:${state.port}`;
    await issueNodeCredentials(this.#files, { node: name, ip: node.ip, server, paths });
    await writeFile(paths.resolvConf, await readFile('/etc/resolv.conf', 'utf8').catch(() => ''));
    const input = {
      node: name,
      ip: node.ip,
      paths,
      addresses,
      cgroupRoot: this.#cgroup(name),
      clientCaFile: this.#files.caCert,
      cniBinDir: CNI_BIN_DIR,
    };
    await writeFile(paths.agentConfig, renderAgentConfig(input));
    const [program, ...first] = this.#deps.self;
    const args = [...first, ...agentArguments(input, state.agentOptions)];
    const agent = await startAgent(node.init!, program, args, paths, signal);
    await this.#state.updateNode(name, (n) => ({ ...n, agent: agent.identity }));
    await agent.ready(signal);
  }

  /** As if its power were cut after the agent's clean stop. Its disk stays. */
  async switchOff(node: NodeState): Promise<void> {
    await stopNode(node, this.#cgroup(node.name), this.#deps.clock);
  }

  /** Switched off, and no longer on the lab's network. */
  async takeAway(node: NodeState): Promise<void> {
    await this.switchOff(node);
    await this.#disconnect(node);
  }

  async removeDisk(node: NodeState): Promise<void> {
    await rm(this.paths(node.name).dir, { recursive: true, force: true });
  }

  paths(node: string): NodePaths {
    return nodePaths(this.#dir, node);
  }

  async #disconnect(node: NodeState): Promise<void> {
    await endProcessesIn(node.netns, this.#deps);
    await disconnectNode(this.#deps.exec, this.#names, node);
  }

  #cgroup(node: string): string {
    return `${this.#names.cgroupRoot}/${node}`;
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
}

function freeOrdinal(state: LabState): number {
  const used = new Set(state.nodes.map((n) => n.ordinal));
  for (let ordinal = 1; ordinal <= MAX_NODES; ordinal++) if (!used.has(ordinal)) return ordinal;
  throw new AgentError(`a lab has at most ${MAX_NODES} nodes`, { code: 'LAB_FULL' });
}
