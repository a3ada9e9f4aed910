// The pod network of one node: takes the node's subnet, keeps device, peers, rules and files as they should be, and
// mends what others break.
import path from 'node:path';
import { aborted } from '../core/abort.ts';
import type { Clock } from '../core/clock.ts';
import { type AgentError, errorMessage, isAgentError } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import { SyncRunner } from '../core/sync-runner.ts';
import { runTasks } from '../core/tasks.ts';
import type { Exec } from '../host/exec.ts';
import type { FollowNetwork } from '../host/ip-monitor.ts';
import { removeLink } from '../host/netns.ts';
import type { Sysctl } from '../host/sysctl.ts';
import type { Backend } from './backend.ts';
import { describe, removeForeignBridge } from './bridge-state.ts';
import {
  CONFLIST_NAME,
  earlierConfs,
  listDir,
  mtuOf,
  type PodNetworkFacts,
  parseSubnetEnv,
  readIfThere,
  removeFile,
  renderConflist,
  renderSubnetEnv,
  writeIfChanged,
} from './conf-writer.ts';
import { setForwarding } from './forwarding.ts';
import { HostGwBackend } from './host-gw.ts';
import { findLeaks, freeLeaks, type IpamDirs } from './ipam-leaks.ts';
import type { MasqueradeOptions } from './masquerade.ts';
import type { BackendConf } from './net-conf.ts';
import { NetworkRules, type RuleForm } from './network-rules.ts';
import { choosePeers, familiesOf, ofFamily } from './peers.ts';
import { checkGateways, checkSubnets } from './subnet-check.ts';
import type { Announcement, OwnSubnets, SubnetSource } from './subnet-source.ts';
import { VxlanBackend, vxlanDevice } from './vxlan.ts';

export interface PodNetworkOptions {
  /** The whole pod network by family, e.g. `10.244.0.0/16`. */
  readonly networks: OwnSubnets;
  readonly backend: BackendConf & { readonly type: 'vxlan' | 'host-gw' };
  /** The interface that carries what goes to other nodes, with its address of each family of the pod network. */
  readonly external: { readonly device: string; readonly mtu: number; readonly v4?: string; readonly v6?: string };
  /** Under which other nodes reach this one; differs from the interface's own behind address translation. */
  readonly publicIps: OwnSubnets;
  readonly rules: {
    readonly form: RuleForm;
    readonly masquerade: boolean;
    readonly forward: boolean;
    readonly randomFully: boolean;
  };
  /** /etc/cni/net.d or the runtime's own directory. */
  readonly cniConfDir: string;
  /** /run/flannel/subnet.env */
  readonly subnetFile: string;
  /** Bridge that pods are plugged into: cni0. */
  readonly bridge: string;
  /** Where addresses of sandboxes that are gone are looked for; nowhere when absent. */
  readonly ipamDirs?: IpamDirs;
}

export interface PodNetworkDeps {
  readonly source: SubnetSource;
  readonly exec: Exec;
  readonly sysctl: Sysctl;
  readonly follow: FollowNetwork;
  readonly clock: Clock;
  readonly log: Logger;
  /** Tells users of the Node what an administrator must decide: an Event. */
  readonly warn?: (reason: string, message: string) => void;
}

/** Rules, whose changes nobody reports, are looked at this often, ms: one process for each family. */
const RULES_INTERVAL_MS = 10_000;
/** Links and routes are reported by `ip monitor`; everything is compared after so long without another reason, ms. */
const FULL_INTERVAL_MS = 60_000;
/** After a failure, ms. */
const RETRY_MS = 3_000;
/** With thousands of peers a sync takes a good part of a second, and nodes of such clusters come and go all the time. */
const REST = { factor: 5, maxMs: 2_000 };
const MONITOR_RETRY_MS = 10_000;
const LEAKS_INTERVAL_MS = 600_000;

/** What the network was made for; kept while pods have addresses of it, whatever is assigned meanwhile. */
interface Running {
  readonly subnets: OwnSubnets;
  /** There was no subnet.env: the first start since the host booted. */
  readonly firstSinceBoot: boolean;
}

export class PodNetwork {
  readonly #opts: PodNetworkOptions;
  readonly #deps: PodNetworkDeps;
  readonly #log: Logger;
  readonly #runner: SyncRunner;
  readonly #rules: NetworkRules;
  readonly #backends: readonly Backend[];
  readonly #ready = Promise.withResolvers<void>();
  #running: Running | undefined;
  /** No pod starts until those with addresses of an earlier range have ended. */
  #holdsPods = false;
  /** What was told last, so that it is told once. */
  #told = new Map<string, string>();

  constructor(opts: PodNetworkOptions, deps: PodNetworkDeps) {
    this.#opts = opts;
    this.#deps = deps;
    this.#log = deps.log.child({ component: 'network' });
    this.#rules = new NetworkRules(opts.rules.form, { exec: deps.exec, log: this.#log });
    this.#backends = this.#makeBackends(opts.backend.type);
    this.#runner = new SyncRunner(
      (signal) => this.#sync(signal),
      {
        name: 'network',
        minIntervalMs: 200,
        rest: REST,
        retryIntervalMs: RETRY_MS,
        maxIntervalMs: FULL_INTERVAL_MS,
      },
      { clock: deps.clock, log: this.#log },
    );
  }

  /** Resolves when pods can be started: device, rules and the CNI configuration are in place. */
  get ready(): Promise<void> {
    return this.#ready.promise;
  }

  /** Runs until `signal` aborts. Everything stays in place, so that pods keep their network over a restart. */
  async run(signal: AbortSignal): Promise<void> {
    await runTasks(signal, {
      source: (s) => this.#deps.source.run(() => this.#runner.request(), s),
      sync: (s) => this.#runner.run(s),
      monitor: (s) => this.#follow(s),
      rules: (s) => this.#watchRules(s),
      leaks: (s) => this.#watchLeaks(s),
    });
  }

  #makeBackends(type: 'vxlan' | 'host-gw'): readonly Backend[] {
    const { networks, external, backend } = this.#opts;
    const { exec, sysctl, source } = this.#deps;
    const { vni, port, directRouting } = backend;
    return familiesOf(networks).map((version) => {
      const network = ofFamily(networks, version)!;
      const face = { device: external.device, mtu: backend.mtu ?? external.mtu, ip: ofFamily(external, version)! };
      if (type === 'host-gw') return new HostGwBackend({ external: face, network }, { exec, log: this.#log });
      const previousMac = (s: AbortSignal) => source.publishedMac(version, vni, s);
      return new VxlanBackend(
        { vni, port, external: face, network, directRouting, previousMac },
        { exec, sysctl, log: this.#log },
      );
    });
  }

  async #watchRules(signal: AbortSignal): Promise<void> {
    await Promise.race([this.#ready.promise, aborted(signal)]); // rules that were never made were removed by nobody
    while (!signal.aborted) {
      await this.#deps.clock.sleep(RULES_INTERVAL_MS, signal);
      if (signal.aborted) return;
      if (this.#running === undefined) continue; // nothing made yet
      try {
        if (await this.#rules.inPlace(this.#ruleOptions(this.#running.subnets), signal)) continue;
        this.#log.warn('somebody removed rules of the pod network, they are written anew');
      } catch (err) {
        if (signal.aborted) return;
        this.#log.warn({ reason: errorMessage(err) }, 'cannot check the rules of the pod network');
      }
      this.#runner.request();
    }
  }

  async #watchLeaks(signal: AbortSignal): Promise<void> {
    const { ipamDirs } = this.#opts;
    await Promise.race([this.#ready.promise, aborted(signal)]);
    while (!signal.aborted) {
      if (ipamDirs === undefined || this.#running === undefined) return await aborted(signal);
      try {
        const { subnets, firstSinceBoot } = this.#running;
        const own = [subnets.v4, subnets.v6].filter((s) => s !== undefined);
        const leaks = await findLeaks(ipamDirs, own, firstSinceBoot);
        await freeLeaks(this.#deps.exec, ipamDirs, leaks, signal);
        if (leaks.length > 0) this.#log.info({ addresses: leaks.length }, 'addresses of sandboxes that are gone freed');
      } catch (err) {
        if (!signal.aborted) this.#log.warn({ reason: errorMessage(err) }, 'cannot look for leaked pod addresses');
      }
      await this.#deps.clock.sleep(LEAKS_INTERVAL_MS, signal);
    }
  }

  async #follow(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      try {
        await this.#deps.follow((line) => {
          if (this.#backends.some((backend) => backend.concerns(line))) this.#runner.request();
        }, signal);
      } catch (err) {
        this.#log.warn({ reason: errorMessage(err) }, 'cannot follow network changes, will retry');
        await this.#deps.clock.sleep(MONITOR_RETRY_MS, signal);
        this.#runner.request(); // for what happened meanwhile
      }
    }
  }

  /** What somebody must mend first is told once and waited for; only the rest is retried soon. */
  async #sync(signal: AbortSignal): Promise<void> {
    try {
      await this.#syncOnce(signal);
      this.#told.delete('error');
    } catch (err) {
      if (!isAgentError(err) || err.retryable || signal.aborted) throw err;
      this.#tell('error', err, 'PodNetworkFailed');
    }
  }

  async #syncOnce(signal: AbortSignal): Promise<void> {
    if (this.#opts.backend.type === 'host-gw') checkGateways(this.#opts.external, this.#opts.publicIps);
    const subnets = await this.#takeSubnets(signal);
    if (subnets === undefined) {
      if (!this.#told.has('waits')) this.#log.info('no subnet is assigned to a node of this name yet, waiting');
      this.#told.set('waits', ''); // the source asks for the next sync
      return;
    }
    this.#told.delete('waits');
    await this.#setSysctls();
    const { announcement, mtu } = await this.#ensureDevices(subnets, signal);
    await this.#deps.source.publish(announcement, signal);
    await this.#rules.ensure(this.#ruleOptions(subnets), signal);
    await this.#writeFiles(subnets, mtu);
    for (const backend of this.#backends) await this.#syncPeers(backend, subnets, signal);
    this.#ready.resolve();
    await this.#deps.source.markUp(signal);
  }

  /** The subnets to work with: others than before only once no pod has addresses of those. Undefined while there are none. */
  async #takeSubnets(signal: AbortSignal): Promise<OwnSubnets | undefined> {
    const running = this.#running;
    const env = running === undefined ? await readIfThere(this.#opts.subnetFile) : undefined;
    const previous = running?.subnets ?? parseSubnetEnv(env ?? '');
    try {
      const assigned = await this.#deps.source.acquire(() => this.#announce(signal), previous, signal);
      if (assigned === undefined || (running !== undefined && describe(assigned) === describe(running.subnets))) {
        this.#told.delete('changed');
        if (assigned !== undefined) this.#holdsPods = false;
        return running?.subnets;
      }
      await this.#take({ subnets: assigned, firstSinceBoot: running?.firstSinceBoot ?? env === undefined }, signal);
      return assigned;
    } catch (err) {
      if (running === undefined || !isAgentError(err) || signal.aborted) throw err;
      this.#tell('changed', err, err.code === 'POD_CIDR_CHANGED' ? 'PodCIDRChanged' : 'PodNetworkFailed');
      if (err.retryable) this.#runner.request(RETRY_MS);
      return running.subnets; // peers come and go all the same
    }
  }

  /** @throws {AgentError} POD_CIDR, POD_CIDR_CHANGED, and leaves everything as it is. */
  async #take(next: Running, signal: AbortSignal): Promise<void> {
    const { exec } = this.#deps;
    const { bridge, backend } = this.#opts;
    const { subnets } = next;
    checkSubnets(this.#opts.networks, subnets, this.#opts.external); // nothing is touched before these hold
    try {
      if (await removeForeignBridge(exec, bridge, subnets, signal)) {
        this.#log.warn({ bridge, subnets: describe(subnets) }, 'bridge of another subnet removed: no pod used it');
      }
    } catch (err) {
      await this.#holdPods(subnets);
      throw err;
    }
    if (backend.type === 'host-gw') {
      for (const version of [4, 6] as const) await removeLink(exec, vxlanDevice(version, backend.vni));
    }
    this.#running = next;
    this.#holdsPods = false;
    this.#told.delete('changed');
    this.#log.info({ subnets: describe(subnets), backend: backend.type }, 'subnet taken');
  }

  /**
   * Pods that started now would get addresses that other nodes look for elsewhere, or have themselves. Told the new range, the
   * bridge plugin refuses them as long as the bridge has an address of the old one; pods that end are taken off it all the same.
   */
  async #holdPods(subnets: OwnSubnets): Promise<void> {
    this.#holdsPods = true;
    const file = path.join(this.#opts.cniConfDir, CONFLIST_NAME);
    const mtu = mtuOf((await readIfThere(file)) ?? '');
    if (mtu !== undefined) await writeIfChanged(file, renderConflist(this.#facts(subnets, mtu)));
  }

  #tell(about: string, err: AgentError, reason: string): void {
    if (this.#told.get(about) === err.message) return;
    this.#told.set(about, err.message);
    this.#log.error({ err, code: err.code, hint: err.hint }, 'the pod network needs somebody');
    this.#deps.warn?.(reason, `${err.message}${err.hint === undefined ? '' : `; ${err.hint}`}`);
  }

  #announce(signal: AbortSignal): Promise<Announcement> {
    return this.#announcement((backend) => backend.announce(signal));
  }

  async #announcement(dataOf: (backend: Backend) => Promise<unknown>): Promise<Announcement> {
    const families: { v4?: Announcement['v4']; v6?: Announcement['v6'] } = {};
    for (const backend of this.#backends) {
      const publicIp = ofFamily(this.#opts.publicIps, backend.version)!;
      const told = { publicIp, backendData: await dataOf(backend) };
      if (backend.version === 4) families.v4 = told;
      else families.v6 = told;
    }
    return { backendType: this.#opts.backend.type, ...families } as Announcement;
  }

  /** The MTU is what every family carries: a pod's interface has one. */
  async #ensureDevices(subnets: OwnSubnets, signal: AbortSignal): Promise<{ announcement: Announcement; mtu: number }> {
    let mtu = Number.POSITIVE_INFINITY;
    const announcement = await this.#announcement(async (backend) => {
      const made = await backend.ensureDevice(ofFamily(subnets, backend.version)!, signal);
      mtu = Math.min(mtu, made.mtu);
      return made.backendData;
    });
    return { announcement, mtu };
  }

  /** A peer that the kernel takes no route to holds up neither those of the other family nor pods of this node. */
  async #syncPeers(backend: Backend, subnets: OwnSubnets, signal: AbortSignal): Promise<void> {
    const { version } = backend;
    const { peers, refused } = choosePeers(this.#deps.source.peers(version), {
      network: ofFamily(this.#opts.networks, version)!,
      subnet: ofFamily(subnets, version)!,
      ip: ofFamily(this.#opts.publicIps, version)!,
    });
    const key = `peers of IPv${version}`;
    if (refused.length > 0 && this.#told.get(key) !== refused.join()) {
      this.#log.warn({ refused }, 'these nodes are not reached over the pod network');
    }
    this.#told.set(key, refused.join());
    const routesKey = `routes of IPv${version}`;
    try {
      await backend.syncPeers(peers, signal);
      this.#told.delete(routesKey);
    } catch (err) {
      if (signal.aborted) throw err;
      const reason = errorMessage(err);
      if (this.#told.get(routesKey) !== reason) this.#log.error({ reason }, 'peers are not reached, will retry');
      this.#told.set(routesKey, reason);
      this.#runner.request(RETRY_MS);
    }
  }

  async #setSysctls(): Promise<void> {
    const missing = await setForwarding(this.#deps.sysctl, this.#opts.networks, this.#opts.external.device);
    for (const name of missing) {
      if (this.#told.has(name)) continue;
      this.#told.set(name, '');
      this.#log.warn('br_netfilter is not loaded: Services with an endpoint on the same node may not be reachable');
    }
  }

  #ruleOptions(subnets: OwnSubnets): MasqueradeOptions[] {
    const { networks, rules } = this.#opts;
    return familiesOf(networks).map((version) => ({
      ...rules,
      network: ofFamily(networks, version)!,
      subnet: ofFamily(subnets, version)!,
    }));
  }

  #facts(subnets: OwnSubnets, mtu: number): PodNetworkFacts {
    const { networks, bridge, rules } = this.#opts;
    return { networks, subnets, mtu, bridge, ipMasq: rules.masquerade };
  }

  async #writeFiles(subnets: OwnSubnets, mtu: number): Promise<void> {
    const { cniConfDir, subnetFile } = this.#opts;
    const facts = this.#facts(subnets, mtu);
    await writeIfChanged(subnetFile, renderSubnetEnv(facts));
    if (this.#holdsPods) return;
    // Last: its presence makes the runtime say that its network is ready.
    if (!(await writeIfChanged(path.join(cniConfDir, CONFLIST_NAME), renderConflist(facts)))) return;
    this.#log.info({ subnets: describe(subnets), mtu }, 'CNI configuration written');
    const foreign = earlierConfs(await listDir(cniConfDir));
    if (foreign.length > 0) {
      this.#log.warn({ dir: cniConfDir, files: foreign }, `the runtime takes these before ${CONFLIST_NAME}`);
    }
  }

  /** Removes links, routes, rules and files, of this run or an earlier one. Pods on the node lose their network. */
  async cleanup(signal: AbortSignal): Promise<void> {
    const { exec } = this.#deps;
    await removeFile(path.join(this.#opts.cniConfDir, CONFLIST_NAME));
    await removeFile(this.#opts.subnetFile);
    for (const type of ['vxlan', 'host-gw'] as const) {
      for (const backend of this.#makeBackends(type)) await backend.cleanup(signal);
    }
    await removeLink(exec, this.#opts.bridge);
    await this.#rules.removeAll(signal);
  }
}
