// The pod network of one node: takes the node's subnet, keeps device, peers, rules and files as they should be, and
// mends what others break.
import path from 'node:path';
import { cidrCovers, parseCidr } from '../api/cidr.ts';
import type { Node } from '../api/kinds.ts';
import { nodes as nodeResource } from '../api/resources.ts';
import type { ApiClient } from '../client/api-client.ts';
import type { ReadonlyStore } from '../client/store.ts';
import type { Clock } from '../core/clock.ts';
import { AgentError, errorMessage } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import { SyncRunner } from '../core/sync-runner.ts';
import { runTasks } from '../core/tasks.ts';
import type { Exec } from '../host/exec.ts';
import type { FollowNetwork } from '../host/ip-monitor.ts';
import { removeLink } from '../host/netns.ts';
import type { Sysctl } from '../host/sysctl.ts';
import type { Backend, ExternalInterface, SubnetLease } from './backend.ts';
import { CONFLIST_NAME, removeFile, renderConflist, renderSubnetEnv, writeIfChanged } from './conf-writer.ts';
import { HostGwBackend } from './host-gw.ts';
import { applyMasquerade, isMasqueradeInPlace, removeMasquerade } from './masquerade.ts';
import { hasNetworkUp, leasePatch, networkUpPatch, podSubnetOf, publishedMac, readLease } from './subnet-manager.ts';
import { VxlanBackend } from './vxlan.ts';

export interface PodNetworkOptions {
  readonly nodeName: string;
  /** The whole pod network (--cluster-cidr), e.g. `10.244.0.0/16`. */
  readonly network: string;
  readonly backend: 'vxlan' | 'host-gw';
  /** VXLAN network identifier; flannel's default is 1. */
  readonly vni: number;
  /** UDP port of VXLAN; 8472. */
  readonly port: number;
  readonly external: ExternalInterface;
  /** /etc/cni/net.d or the runtime's own directory. */
  readonly cniConfDir: string;
  /** /run/flannel/subnet.env */
  readonly subnetFile: string;
  /** Bridge that pods are plugged into: cni0. */
  readonly bridge: string;
  readonly ipamDataDir?: string;
}

export interface PodNetworkDeps {
  readonly client: ApiClient;
  /** All nodes. */
  readonly nodes: ReadonlyStore<Node>;
  readonly exec: Exec;
  readonly sysctl: Sysctl;
  readonly follow: FollowNetwork;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Rules, whose changes nobody reports, are looked at this often, ms: one process. */
const RULES_INTERVAL_MS = 10_000;
/** Links and routes are reported by `ip monitor`; everything is compared after so long without another reason, ms. */
const FULL_INTERVAL_MS = 60_000;
const MONITOR_RETRY_MS = 10_000;

export class PodNetwork {
  readonly #opts: PodNetworkOptions;
  readonly #deps: PodNetworkDeps;
  readonly #log: Logger;
  readonly #runner: SyncRunner;
  readonly #ready = Promise.withResolvers<void>();
  #backend: { readonly subnet: string; readonly backend: Backend } | undefined;

  constructor(opts: PodNetworkOptions, deps: PodNetworkDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'network' });
    this.#runner = new SyncRunner(
      (signal) => this.#sync(signal),
      { name: 'network', minIntervalMs: 200, retryIntervalMs: 3_000, maxIntervalMs: FULL_INTERVAL_MS },
      { clock: deps.clock, log: this.#log },
    );
  }

  /** Resolves when pods can be started: device, rules and the CNI configuration are in place. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Runs until `signal` aborts. Everything stays in place, so that pods keep their network over a restart. */
  async run(signal: AbortSignal): Promise<void> {
    const request = () => this.#runner.request();
    using _nodes = this.#deps.nodes.subscribe({
      onAdd: request,
      onUpdate: (old, node) => {
        if (leaseText(old) !== leaseText(node)) request(); // heartbeats change nothing here
      },
      onDelete: request,
    });
    await runTasks(signal, {
      sync: async (s) => {
        await this.#deps.nodes.waitForSync(s); // half a list of peers would take routes away
        await this.#runner.run(s);
      },
      monitor: (s) => this.#follow(s),
      rules: (s) => this.#watchRules(s),
    });
  }

  async #watchRules(signal: AbortSignal): Promise<void> {
    const { clock, exec } = this.#deps;
    for (;;) {
      await clock.sleep(RULES_INTERVAL_MS, signal);
      if (signal.aborted) return;
      if (this.#backend === undefined) continue; // nothing made yet
      try {
        const rules = { network: this.#opts.network, subnet: this.#backend.subnet };
        if (await isMasqueradeInPlace(exec, rules, signal)) continue;
        this.#log.warn('somebody removed rules of the pod network, they are written anew');
      } catch (err) {
        this.#log.warn({ reason: errorMessage(err) }, 'cannot check the rules of the pod network');
      }
      this.#runner.request();
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#deps.follow((line) => {
          if (this.#backend?.backend.concerns(line)) this.#runner.request();
        }, signal);
      } catch (err) {
        this.#log.warn({ reason: errorMessage(err) }, 'cannot follow network changes, will retry');
        await this.#deps.clock.sleep(MONITOR_RETRY_MS, signal);
        this.#runner.request(); // for what happened meanwhile
      }
    }
  }

  async #sync(signal: AbortSignal): Promise<void> {
    const { nodeName, network } = this.#opts;
    const node = this.#deps.nodes.get(nodeName);
    const subnet = node === undefined ? undefined : podSubnetOf(node);
    if (node === undefined || subnet === undefined) {
      this.#log.debug('no podCIDR assigned yet'); // the node's update will ask for the next sync
      return;
    }
    if (!cidrCovers(parseCidr(network), parseCidr(subnet))) {
      throw new AgentError(`podCIDR ${subnet} of node ${nodeName} is not inside the pod network ${network}`, {
        code: 'CONFIG_INVALID',
        hint: 'give --cluster-cidr the network that the control plane assigns from',
      });
    }
    await this.#setSysctls();
    const backend = this.#backendFor(node, subnet);
    const { backendData, mtu } = await backend.ensureDevice(signal);
    await this.#publish(node, { backendType: backend.type, backendData, publicIp: this.#opts.external.ip }, signal);
    await this.#ensureRules(subnet, signal);
    await this.#writeFiles(subnet, mtu);
    await backend.syncPeers(this.#peers(subnet), signal);
    this.#ready.resolve();
    if (!hasNetworkUp(node)) await this.#patchStatus(networkUpPatch(this.#deps.clock.now()), signal);
  }

  #backendFor(node: Node, subnet: string): Backend {
    if (this.#backend?.subnet === subnet) return this.#backend.backend;
    const { external, network, vni, port } = this.#opts;
    const { exec, sysctl } = this.#deps;
    const log = this.#log;
    const backend: Backend =
      this.#opts.backend === 'vxlan'
        ? new VxlanBackend({ vni, port, external, subnet, previousMac: publishedMac(node, vni) }, { exec, sysctl, log })
        : new HostGwBackend({ external, network }, { exec, log });
    this.#backend = { subnet, backend };
    this.#log.info({ subnet, backend: backend.type, device: external.device }, 'subnet taken');
    return backend;
  }

  #peers(ownSubnet: string): readonly SubnetLease[] {
    const leases = this.#deps.nodes.list().map((n) => readLease(n, this.#opts.network));
    return leases.filter(
      (l) => l !== undefined && l.subnet !== ownSubnet && l.nodeName !== this.#opts.nodeName,
    ) as readonly SubnetLease[];
  }

  async #setSysctls(): Promise<void> {
    const { sysctl } = this.#deps;
    await sysctl.set('net/ipv4/ip_forward', '1');
    if (!(await sysctl.set('net/bridge/bridge-nf-call-iptables', '1'))) {
      this.#log.warn('br_netfilter is not loaded: Services with an endpoint on the same node may not be reachable');
    }
  }

  async #publish(node: Node, lease: Parameters<typeof leasePatch>[1], signal: AbortSignal): Promise<void> {
    const patch = leasePatch(node, lease);
    if (patch !== undefined) await this.#patchStatus(patch, signal);
  }

  async #patchStatus(patch: Parameters<ApiClient['patch']>[2], signal: AbortSignal): Promise<void> {
    const name = { name: this.#opts.nodeName };
    await this.#deps.client.patch(nodeResource, name, patch, { subresource: 'status', signal, timeoutMs: 10_000 });
  }

  async #ensureRules(subnet: string, signal: AbortSignal): Promise<void> {
    const { exec } = this.#deps;
    const rules = { network: this.#opts.network, subnet };
    if (!(await isMasqueradeInPlace(exec, rules, signal))) await applyMasquerade(exec, rules, signal);
  }

  async #writeFiles(subnet: string, mtu: number): Promise<void> {
    const { network, bridge, ipamDataDir, cniConfDir, subnetFile } = this.#opts;
    const facts = { network, subnet, mtu, bridge, ...(ipamDataDir === undefined ? {} : { ipamDataDir }) };
    await writeIfChanged(subnetFile, renderSubnetEnv(facts));
    // Last: its presence makes the runtime say that its network is ready.
    if (await writeIfChanged(path.join(cniConfDir, CONFLIST_NAME), renderConflist(facts))) {
      this.#log.info({ subnet, mtu }, 'CNI configuration written');
    }
  }

  /** Removes links, routes, rules and files, of this run or an earlier one. Pods on the node lose their network. */
  async cleanup(signal: AbortSignal): Promise<void> {
    const { exec, sysctl } = this.#deps;
    const { external, network, vni, port, bridge } = this.#opts;
    await removeFile(path.join(this.#opts.cniConfDir, CONFLIST_NAME));
    await removeFile(this.#opts.subnetFile);
    const vxlan = new VxlanBackend(
      { vni, port, external, subnet: network, previousMac: undefined },
      { exec, sysctl, log: this.#log },
    );
    await vxlan.cleanup(signal);
    await new HostGwBackend({ external, network }, { exec, log: this.#log }).cleanup(signal);
    await removeLink(exec, bridge);
    await removeMasquerade(exec, signal);
  }
}

/** All of a node that this room depends on. */
function leaseText(node: Node): string {
  const flannel = Object.entries(node.metadata?.annotations ?? {}).filter(([k]) => k.startsWith('flannel.'));
  return JSON.stringify([podSubnetOf(node), flannel.sort(), hasNetworkUp(node)]);
}
