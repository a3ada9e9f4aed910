// The Services and EndpointSlices that are measured with. Pure.
import type { EndpointSlice, Service } from '../../api/kinds.ts';

/** Which Service: 0 to 60,000. */
type Index = number;

export const NAMESPACE = 'bench';
export const SERVICE_PORT = 80;
export const ENDPOINT_PORT = 8080;

/** 10.96.0.1 and up, without addresses that end in 0 or 255, which are easily mistaken for a range's. */
export function clusterIp(i: Index): string {
  return `10.${96 + Math.floor(i / 63_500)}.${Math.floor(i / 250) % 254}.${(i % 250) + 1}`;
}

/** Of endpoint `n`, 0 to 249, of a Service: one range for each `n`, so that no two are equal. */
export function endpointIp(i: Index, n: number): string {
  return `10.${128 + Math.floor(n / 2)}.${Math.floor(i / 250) + (n % 2) * 128}.${(i % 250) + 1}`;
}

export function service(i: Index): Service {
  const ip = clusterIp(i);
  return {
    metadata: {
      name: `s-${i}`,
      namespace: NAMESPACE,
      uid: `00000000-0000-4000-8000-${String(i).padStart(12, '0')}`,
      labels: { app: `s-${i}`, 'app.kubernetes.io/part-of': 'bench' },
      creationTimestamp: '2026-01-01T00:00:00Z' as never,
    },
    spec: {
      type: 'ClusterIP',
      clusterIP: ip,
      clusterIPs: [ip],
      ipFamilies: ['IPv4'],
      ipFamilyPolicy: 'SingleStack',
      internalTrafficPolicy: 'Cluster',
      sessionAffinity: 'None',
      selector: { app: `s-${i}` },
      ports: [{ name: 'http', protocol: 'TCP', port: SERVICE_PORT, targetPort: ENDPOINT_PORT }],
    },
    status: { loadBalancer: {} },
  };
}

export function slice(i: Index, endpoints: number): EndpointSlice {
  return {
    metadata: {
      name: `s-${i}-x`,
      namespace: NAMESPACE,
      uid: `00000000-0000-4000-9000-${String(i).padStart(12, '0')}`,
      labels: {
        'kubernetes.io/service-name': `s-${i}`,
        'endpointslice.kubernetes.io/managed-by': 'endpointslice-controller.k8s.io',
      },
      creationTimestamp: '2026-01-01T00:00:00Z' as never,
    },
    addressType: 'IPv4',
    ports: [{ name: 'http', protocol: 'TCP', port: ENDPOINT_PORT }],
    endpoints: Array.from({ length: endpoints }, (_, n) => ({
      addresses: [endpointIp(i, n)],
      conditions: { ready: true, serving: true, terminating: false },
      nodeName: `node-${(i + n) % 50}`,
      targetRef: { kind: 'Pod', namespace: NAMESPACE, name: `s-${i}-${n}` },
    })),
  };
}
