// The variables that tell a container where Services are, in the form of Docker links (pkg/kubelet/envvars). Pure.
import type { Service, ServicePort } from '../../api/kinds.ts';

/**
 * Variables of the Services in the pod's namespace (with links), and always of `default/kubernetes`, unless the pod's
 * own namespace has a Service of that name and links are on.
 */
export function serviceVariables(
  services: readonly Service[],
  namespace: string,
  enableServiceLinks: boolean,
): Map<string, string> {
  const chosen = new Map<string, Service>();
  for (const service of services) {
    const name = service.metadata?.name ?? '';
    if (!hasClusterIp(service)) continue;
    const own = service.metadata?.namespace === namespace;
    const master = service.metadata?.namespace === 'default' && name === 'kubernetes';
    if (own && enableServiceLinks) chosen.set(name, service);
    else if (master && !chosen.has(name)) chosen.set(name, service);
  }
  const variables = new Map<string, string>();
  for (const [name, service] of chosen) addVariables(variables, envName(name), service);
  return variables;
}

function hasClusterIp(service: Service): boolean {
  const ip = service.spec?.clusterIP;
  return ip !== undefined && ip !== '' && ip !== 'None';
}

function addVariables(variables: Map<string, string>, name: string, service: Service): void {
  const ip = service.spec?.clusterIP ?? '';
  const ports = service.spec?.ports ?? [];
  const first = ports[0];
  variables.set(`${name}_SERVICE_HOST`, ip);
  if (first === undefined) return;
  variables.set(`${name}_SERVICE_PORT`, String(first.port));
  for (const port of ports) {
    if (port.name) variables.set(`${name}_SERVICE_PORT_${envName(port.name)}`, String(port.port));
  }
  variables.set(`${name}_PORT`, portUrl(ip, first));
  for (const port of ports) {
    const prefix = `${name}_PORT_${port.port}_${(port.protocol ?? 'TCP').toUpperCase()}`;
    variables.set(prefix, portUrl(ip, port));
    variables.set(`${prefix}_PROTO`, (port.protocol ?? 'TCP').toLowerCase());
    variables.set(`${prefix}_PORT`, String(port.port));
    variables.set(`${prefix}_ADDR`, ip);
  }
}

function portUrl(ip: string, port: ServicePort): string {
  const host = ip.includes(':') ? `[${ip}]` : ip;
  return `${(port.protocol ?? 'TCP').toLowerCase()}://${host}:${port.port}`;
}

function envName(name: string): string {
  return name.toUpperCase().replaceAll('-', '_');
}
