// The cluster's DNS put together: zone, forwarding, sockets and the Service that leads to them.
import { networkInterfaces } from 'node:os';
import { formatIp, parseCidr, parseIp } from '../../api/cidr.ts';
import { runTasks } from '../../core/tasks.ts';
import { ClusterDnsController, clusterDnsIp } from '../controllers/cluster-dns.ts';
import type { ControllerContext } from '../controllers/context.ts';
import { Forwarder } from './forward.ts';
import { ClusterZone } from './records.ts';
import { HostNameservers } from './resolv-conf.ts';
import { Responder } from './responder.ts';
import { DnsServer } from './server.ts';
import type { Upstream } from './upstream.ts';

const UPSTREAM_PORT = 53;

export interface ClusterDnsOptions {
  readonly zone: string;
  readonly listenAddress: string;
  /** As nodes reach `listenAddress`. */
  readonly advertiseAddress: string;
  /** 0: any that is free. */
  readonly port: number;
  readonly serviceCidr: string;
  readonly clusterCidr: string;
}

/**
 * Listens and answers until `signal` aborts. Questions about the cluster get SERVFAIL until the stores of `ctx` are filled.
 * @throws {AgentError} LISTEN_FAILED
 */
export async function runClusterDns(
  ctx: ControllerContext,
  opts: ClusterDnsOptions,
  signal: AbortSignal,
): Promise<void> {
  const log = ctx.log.child({ component: 'dns' });
  const serverIp = clusterDnsIp(opts.serviceCidr);
  const zone = new ClusterZone(ctx.stores, {
    zone: opts.zone,
    serverIp,
    ownRanges: [parseCidr(opts.serviceCidr), parseCidr(opts.clusterCidr)],
    serial: Math.floor(ctx.clock.now() / 1000),
    random: Math.random,
  });
  const nameservers = new HostNameservers(ctx.clock);
  let port = opts.port;
  const upstreams = async (): Promise<Upstream[]> => {
    const servers = (await nameservers.list()).map((address) => ({ address, port: UPSTREAM_PORT }));
    return servers.filter((s) => s.address !== serverIp && !isSelf(s, opts.listenAddress, port));
  };
  const responder = new Responder(zone, new Forwarder({ upstreams }, { clock: ctx.clock, log }));
  const server = await DnsServer.listen({ address: opts.listenAddress, port }, responder, log);
  port = server.port;
  const { serviceCidr, advertiseAddress: address } = opts;
  const controller = new ClusterDnsController(ctx, { serviceCidr, address, port });
  log.info({ address: opts.listenAddress, port, service: serverIp }, 'cluster DNS listens');
  await runTasks(signal, { server: (s) => server.run(s), [controller.name]: (s) => controller.run(s) });
}

/** A question sent to oneself would come back as another one, and so on. */
function isSelf(server: Upstream, listenAddress: string, listenPort: number): boolean {
  if (server.port !== listenPort) return false;
  const address = formatIp(parseIp(server.address));
  if (listenAddress !== '0.0.0.0' && listenAddress !== '::') return address === listenAddress;
  return Object.values(networkInterfaces()).some((own) => own?.some((o) => o.address === address));
}
