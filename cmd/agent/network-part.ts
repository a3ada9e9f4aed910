// The pod network: from the configuration and the host's interfaces to a PodNetwork that runs.

import { isIPv4, isIPv6 } from 'node:net';
import { formatCidr, formatIp, parseIp } from '../../api/cidr.ts';
import type { Node } from '../../api/kinds.ts';
import { waitForNetConf } from '../../cni/etcd/stored-net-conf.ts';
import { EtcdSubnets } from '../../cni/etcd-subnets.ts';
import { chooseInterface, type ExternalChoice, readHostRouting } from '../../cni/external-interface.ts';
import { runFollowingNetwork, waitForWay } from '../../cni/following-network.ts';
import { DEFAULT_IPAM_DIRS } from '../../cni/ipam-leaks.ts';
import { KubeSubnets } from '../../cni/kube-subnets.ts';
import type { BackendConf, NetConf } from '../../cni/net-conf.ts';
import { PodNetwork, type PodNetworkOptions } from '../../cni/network.ts';
import type { RuleForm } from '../../cni/network-rules.ts';
import { familiesOf } from '../../cni/peers.ts';
import { annotationNames } from '../../cni/subnet-manager.ts';
import type { OwnSubnets, SubnetSource } from '../../cni/subnet-source.ts';
import { AgentError } from '../../core/errors.ts';
import { type FollowNetwork, networkFollower } from '../../host/ip-monitor.ts';
import type { EtcdSettings } from '../config/agent-config.ts';
import type { AgentContext } from './shared.ts';

export interface NetworkPart {
  /** Resolves when pods can be started. */
  readonly ready: Promise<void>;
  run(signal: AbortSignal): Promise<void>;
  /** Removes what this or an earlier run made. */
  cleanup(signal: AbortSignal): Promise<void>;
}

/** flannel's: a lease that nobody renews is gone after a day. */
const LEASE_TTL_SECONDS = 86_400;

/** Undefined when the backend is `none`: somebody else makes the pod network. */
export function createNetworkPart(ctx: AgentContext): NetworkPart | undefined {
  if (ctx.config.network.backend === 'none') return undefined;
  const ready = Promise.withResolvers<void>();
  const isAssigned = ctx.config.network.etcd === undefined;
  if (isAssigned) ctx.allNodes(); // now, so that it runs together with the parts
  const runPart = isAssigned ? runAssigned : runLeased;
  return {
    ready: ready.promise,
    run: (signal) => runPart(ctx, () => ready.resolve(), signal),
    cleanup: async (signal) => await (await networkToClean(ctx, signal)).cleanup(signal),
  };
}

/** The control plane assigns subnets. */
async function runAssigned(ctx: AgentContext, onReady: () => void, signal: AbortSignal): Promise<void> {
  const { config, client, clock } = ctx;
  const nodes = ctx.allNodes().store;
  const networks = configuredNetworks(ctx);
  const annotations = annotationNames(config.network.annotationPrefix);
  const node = await ownNode(ctx, signal);
  if (node === undefined) return; // stopped before the Node was there
  // An administrator's annotations win over the flags.
  const told = node.metadata?.annotations ?? {};
  const publicIps = {
    ...config.network.wishes.publicIps,
    ...(isIPv4(told[annotations.nodePublicIp] ?? '') ? { v4: told[annotations.nodePublicIp]! } : {}),
    ...(isIPv6(told[annotations.nodePublicIpv6] ?? '') ? { v6: canonical(told[annotations.nodePublicIpv6]!) } : {}),
  };
  const source = new KubeSubnets(
    { nodeName: config.nodeName, networks, annotations, setCondition: config.network.setCondition },
    { client, nodes, clock },
  );
  await runFollowingNetwork(
    {
      choose: (present, s) => chooseExternal(ctx, networks, publicIps, s, present),
      make: (choice, follow) => makeNetwork(ctx, networks, configuredBackend(ctx), choice, source, { follow }),
      follow: networkFollower(),
      clock,
      log: ctx.log,
      onReady,
    },
    signal,
  );
}

/** Subnets are leased in etcd, as net-conf there says. */
async function runLeased(ctx: AgentContext, onReady: () => void, signal: AbortSignal): Promise<void> {
  const { clock, log, config } = ctx;
  const settings = config.network.etcd!;
  const kv = await connect(settings);
  try {
    const conf = await waitForNetConf(kv, settings.prefix, { clock, log }, signal);
    if (conf === undefined) return;
    const networks = networksOf(conf);
    const { backend } = conf;
    if (backend.type === 'none') {
      throw new AgentError(`the network configuration in etcd names no backend that can be served`, {
        code: 'NET_CONF_INVALID',
        hint: 'set Backend.Type to vxlan or host-gw',
      });
    }
    const { publicIps } = config.network.wishes;
    const choice = await waitForWay((s) => chooseExternal(ctx, networks, publicIps, s), { clock, log }, signal);
    if (choice === undefined) return;
    const source = new EtcdSubnets(
      {
        prefix: settings.prefix,
        conf,
        publicIps: choice.publicIps,
        ttlSeconds: LEASE_TTL_SECONDS,
        renewMarginMs: settings.renewMarginMs,
      },
      { kv, clock, log: log.child({ component: 'subnets' }) },
    );
    const form = conf.nftables ? 'nftables' : config.network.rules.form;
    const network = makeNetwork(ctx, networks, { ...backend, type: backend.type }, choice, source, { form });
    void network.ready.then(onReady); // cannot fail
    await network.run(signal);
  } finally {
    kv.close();
  }
}

async function connect(settings: EtcdSettings) {
  const { connectEtcd } = await import('../../cni/etcd/client.ts'); // the gRPC library is large
  const { endpoints, caFile, certFile, keyFile, username, password } = settings;
  return await connectEtcd({
    endpoints,
    ...(caFile === '' ? {} : { caFile }),
    ...(certFile === '' ? {} : { certFile }),
    ...(keyFile === '' ? {} : { keyFile }),
    ...(username === '' ? {} : { username, password }),
  });
}

function makeNetwork(
  ctx: AgentContext,
  networks: OwnSubnets,
  backend: PodNetworkOptions['backend'],
  choice: ExternalChoice,
  source: SubnetSource,
  more: { readonly form?: RuleForm; readonly follow?: FollowNetwork } = {},
): PodNetwork {
  const { nodelet, network, nodeName } = ctx.config;
  const about = { kind: 'Node', name: nodeName, uid: nodeName };
  return new PodNetwork(
    {
      networks,
      backend,
      ...choice,
      rules: { ...network.rules, ...(more.form === undefined ? {} : { form: more.form }) },
      cniConfDir: nodelet.cniConfDir,
      subnetFile: nodelet.subnetFile,
      bridge: 'cni0',
      ipamDirs: DEFAULT_IPAM_DIRS,
    },
    {
      source,
      exec: ctx.exec,
      sysctl: ctx.sysctl,
      follow: more.follow ?? networkFollower(),
      clock: ctx.clock,
      log: ctx.log,
      warn: (reason, message) => ctx.recorder.event(about, 'Warning', reason, message),
    },
  );
}

/** Enough of a network to be removed: names of devices and ranges of routes. */
async function networkToClean(ctx: AgentContext, signal: AbortSignal): Promise<PodNetwork> {
  const { etcd, wishes } = ctx.config.network;
  let networks = configuredNetworks(ctx);
  let backend = configuredBackend(ctx);
  if (etcd !== undefined) {
    const kv = await connect(etcd);
    try {
      const conf = await waitForNetConf(
        kv,
        etcd.prefix,
        { clock: ctx.clock, log: ctx.log },
        AbortSignal.timeout(10_000),
      );
      if (conf !== undefined) {
        networks = networksOf(conf);
        backend = { ...conf.backend, type: backend.type };
      }
    } finally {
      kv.close();
    }
  }
  const choice = await chooseExternal(ctx, networks, wishes.publicIps, signal);
  const source: SubnetSource = new KubeSubnets(
    { nodeName: ctx.config.nodeName, networks, annotations: annotationNames(''), setCondition: false },
    { client: ctx.client, nodes: ctx.ownNode.store, clock: ctx.clock },
  );
  return makeNetwork(ctx, networks, backend, choice, source);
}

/** As addresses of interfaces are written. */
function canonical(ip: string): string {
  return formatIp(parseIp(ip));
}

function configuredNetworks({ config }: AgentContext): OwnSubnets {
  const { clusterCidr, clusterCidrV6 } = config.network;
  return { ...(clusterCidr === '' ? {} : { v4: clusterCidr }), ...(clusterCidrV6 === '' ? {} : { v6: clusterCidrV6 }) };
}

function configuredBackend({ config }: AgentContext): PodNetworkOptions['backend'] {
  const { backend, vni, port, mtu, directRouting } = config.network;
  const type: Exclude<BackendConf['type'], 'none'> = backend === 'none' ? 'vxlan' : backend;
  return { type, vni, port, mtu, directRouting };
}

function networksOf({ v4, v6 }: NetConf): OwnSubnets {
  return {
    ...(v4 === undefined ? {} : { v4: formatCidr(v4.network) }),
    ...(v6 === undefined ? {} : { v6: formatCidr(v6.network) }),
  };
}

async function chooseExternal(
  ctx: AgentContext,
  networks: OwnSubnets,
  publicIps: OwnSubnets,
  signal: AbortSignal,
  present?: ExternalChoice,
): Promise<ExternalChoice> {
  const wishes = { ...ctx.config.network.wishes, publicIps };
  return chooseInterface(wishes, familiesOf(networks), await readHostRouting(ctx.exec, wishes, signal), present);
}

/** This node's object, once it is there: the kubelet may have yet to register it. Undefined when `signal` aborts. */
async function ownNode(ctx: AgentContext, signal: AbortSignal): Promise<Node | undefined> {
  const store = ctx.allNodes().store;
  await store.waitForSync(signal);
  const found = Promise.withResolvers<Node | undefined>();
  const look = (node: Node) => {
    if (node.metadata?.name === ctx.config.nodeName) found.resolve(node);
  };
  using _nodes = store.subscribe({ onAdd: look, onUpdate: (_old, node) => look(node) });
  for (const node of store.list()) look(node);
  const stop = () => found.resolve(undefined);
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  const node = await found.promise;
  signal.removeEventListener('abort', stop);
  return node;
}
