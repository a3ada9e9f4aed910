// UDP has no end of connection: a client that goes on sending from the same port keeps being translated to the endpoint
// that its first packet met, even when that one is gone. Such flows are removed. After kube-proxy's conntrack/cleanup.go.
import type { UdpFlowGroup } from '../host/conntrack.ts';
import { joinHostPort } from './address.ts';
import type { EndpointMap, ServiceMap, ServicePort } from './service-map.ts';

/** Pure: flows to Services that no serving endpoint answers. Those of Services without any endpoint are left alone. */
export function staleUdpFlows(
  flows: readonly UdpFlowGroup[],
  services: ServiceMap,
  endpoints: EndpointMap,
): readonly UdpFlowGroup[] {
  const byAddress = new Map<string, ReadonlySet<string>>();
  const byNodePort = new Map<number, ReadonlySet<string>>();
  for (const [key, ports] of services) {
    for (const port of ports) {
      if (port.protocol !== 'UDP') continue;
      // Whatever the policies say: a flow to an endpoint that answers is better left alone. One that is published although
      // it is not ready gets new flows, and keeps none of them while others answer.
      const serving = (endpoints.get(key)?.get(port.portId) ?? []).filter((e) => e.serving);
      if (serving.length === 0) continue;
      const addresses = new Set(serving.map((e) => e.address));
      for (const ip of frontends(port)) byAddress.set(joinHostPort(ip, port.port), addresses);
      if (port.nodePort !== undefined) byNodePort.set(port.nodePort, addresses);
    }
  }
  return flows.filter((f) => {
    const wanted = byAddress.get(joinHostPort(f.originalIp, f.originalPort)) ?? byNodePort.get(f.originalPort);
    return wanted !== undefined && !wanted.has(joinHostPort(f.replyIp, f.replyPort));
  });
}

function frontends(port: ServicePort): readonly string[] {
  return [port.clusterIp, ...port.externalIps, ...port.loadBalancerVips];
}
