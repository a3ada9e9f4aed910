// Service. Source: pkg/apis/core/validation ValidateService.
import { isIP } from 'node:net';
import { parseCidr } from '../../../api/cidr.ts';
import type { Service } from '../../../api/kinds.ts';
import { duplicate, type FieldError, forbiddenField, invalid, notSupported, required } from '../field-errors.ts';
import { labelFaults, labelsFaults, qualifiedNameFaults, subdomainFaults } from '../metadata.ts';
import { targetPortFaults } from './ports.ts';

const TYPES = ['ClusterIP', 'ExternalName', 'LoadBalancer', 'NodePort'];
const PROTOCOLS = ['SCTP', 'TCP', 'UDP'];
const POLICIES = ['Cluster', 'Local'];
const AFFINITIES = ['ClientIP', 'None'];
const DISTRIBUTIONS = ['PreferClose', 'PreferSameNode', 'PreferSameZone'];
const KUBELET_PORT = 10_250;
/** What held the ranges of a balancer before they had a field. */
const SOURCE_RANGES = 'service.beta.kubernetes.io/load-balancer-source-ranges';
const ONLY_BALANCERS = "may only be used when `type` is 'LoadBalancer'";

type Spec = NonNullable<Service['spec']>;

export function serviceFaults(service: Service): FieldError[] {
  const spec = service.spec!;
  const faults = [...portsFaults(spec), ...labelsFaults('spec.selector', spec.selector ?? {})];
  if (!TYPES.includes(spec.type ?? '')) faults.push(notSupported('spec.type', spec.type, TYPES));
  if (!AFFINITIES.includes(spec.sessionAffinity ?? '')) {
    faults.push(notSupported('spec.sessionAffinity', spec.sessionAffinity, AFFINITIES));
  }
  for (const member of ['internalTrafficPolicy', 'externalTrafficPolicy'] as const) {
    const policy = spec[member];
    if (policy !== undefined && !POLICIES.includes(policy))
      faults.push(notSupported(`spec.${member}`, policy, POLICIES));
  }
  const timeout = spec.sessionAffinityConfig?.clientIP?.timeoutSeconds;
  if (timeout !== undefined && (timeout < 1 || timeout > 86_400)) {
    faults.push(
      invalid(
        'spec.sessionAffinityConfig.clientIP.timeoutSeconds',
        timeout,
        'must be greater than 0 and less than 86400',
      ),
    );
  }
  const { trafficDistribution } = spec;
  if (trafficDistribution !== undefined && !DISTRIBUTIONS.includes(trafficDistribution)) {
    faults.push(notSupported('spec.trafficDistribution', trafficDistribution, DISTRIBUTIONS));
  }
  return [...faults, ...addressFaults(spec), ...balancerFaults(service, spec), ...externalPolicyFaults(spec)];
}

/** What only Services of type LoadBalancer may have. The field's name has its capital in upstream's answers, too. */
function balancerFaults({ metadata }: Service, spec: Spec): FieldError[] {
  const isBalancer = spec.type === 'LoadBalancer';
  const faults: FieldError[] = [];
  const onlyBalancers = (field: string) => void faults.push(forbiddenField(field, ONLY_BALANCERS));
  const ranges = spec.loadBalancerSourceRanges ?? [];
  const annotated = metadata?.annotations?.[SOURCE_RANGES];
  if (ranges.length > 0) {
    if (!isBalancer) onlyBalancers('spec.LoadBalancerSourceRanges');
    for (const [i, range] of ranges.entries())
      faults.push(...rangeFaults(`spec.LoadBalancerSourceRanges[${i}]`, range));
  } else if (annotated !== undefined) {
    const field = `metadata.annotations[${SOURCE_RANGES}]`;
    if (!isBalancer) onlyBalancers(field);
    const listed = annotated.trim() === '' ? [] : annotated.split(',');
    for (const range of listed) faults.push(...rangeFaults(field, range));
  }
  if (!isBalancer && spec.allocateLoadBalancerNodePorts !== undefined)
    onlyBalancers('spec.allocateLoadBalancerNodePorts');
  if (spec.loadBalancerClass !== undefined) {
    if (!isBalancer) onlyBalancers('spec.loadBalancerClass');
    else faults.push(...qualifiedNameFaults('spec.loadBalancerClass', spec.loadBalancerClass));
  }
  (spec.ports ?? []).forEach(({ port }, i) => {
    if (!isBalancer || port !== KUBELET_PORT) return;
    const why = `may not expose port ${KUBELET_PORT} externally since it is used by kubelet`;
    faults.push(invalid(`spec.ports[${i}]`, port, why));
  });
  return faults;
}

/** Blanks around a range have been allowed since it was part of an annotation. */
function rangeFaults(field: string, text: string): FieldError[] {
  const range = text.trim();
  try {
    parseCidr(range);
    return [];
  } catch {
    return [invalid(field, range, 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)')];
  }
}

function externalPolicyFaults(spec: Spec): FieldError[] {
  const { type, externalTrafficPolicy, healthCheckNodePort } = spec;
  const faults: FieldError[] = [];
  const isExternal =
    type === 'NodePort' || type === 'LoadBalancer' || (type === 'ClusterIP' && !!spec.externalIPs?.length);
  if (!isExternal && externalTrafficPolicy) {
    const why = 'may only be set for externally-accessible services';
    faults.push(invalid('spec.externalTrafficPolicy', externalTrafficPolicy, why));
  }
  if (healthCheckNodePort && !(type === 'LoadBalancer' && externalTrafficPolicy === 'Local')) {
    const why = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
    faults.push(invalid('spec.healthCheckNodePort', healthCheckNodePort, why));
  }
  return faults;
}

function addressFaults(spec: Spec): FieldError[] {
  const faults: FieldError[] = [];
  if (spec.type === 'ExternalName') {
    const name = (spec.externalName ?? '').replace(/\.$/, '');
    faults.push(...(name === '' ? [required('spec.externalName')] : subdomainFaults('spec.externalName', name)));
  }
  (spec.clusterIPs ?? (spec.clusterIP ? [spec.clusterIP] : [])).forEach((ip, i) => {
    if (ip !== 'None' && isIP(ip) === 0) {
      faults.push(
        invalid(`spec.clusterIPs[${i}]`, ip, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'),
      );
    }
  });
  if (spec.clusterIP === 'None' && (spec.type === 'NodePort' || spec.type === 'LoadBalancer')) {
    faults.push(invalid('spec.clusterIPs[0]', 'None', `may not be set to 'None' for ${spec.type} services`));
  }
  (spec.externalIPs ?? []).forEach((ip, i) => {
    const field = `spec.externalIPs[${i}]`;
    if (isIP(ip) === 0)
      faults.push(invalid(field, ip, 'must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'));
    else if (ip.startsWith('127.') || ip === '::1')
      faults.push(invalid(field, ip, 'may not be in the loopback range (127.0.0.0/8, ::1/128)'));
    else if (ip.startsWith('169.254.') || ip.startsWith('fe80'))
      faults.push(invalid(field, ip, 'may not be in the link-local range (169.254.0.0/16, fe80::/10)'));
  });
  return faults;
}

function portsFaults(spec: Spec): FieldError[] {
  const ports = spec.ports ?? [];
  const faults: FieldError[] = [];
  if (ports.length === 0 && spec.clusterIP !== 'None' && spec.type !== 'ExternalName')
    faults.push(required('spec.ports'));
  const names = new Set<string>();
  const seen = new Set<string>();
  const nodePorts = new Set<string>();
  ports.forEach((port, i) => {
    const field = `spec.ports[${i}]`;
    if (!port.name && ports.length > 1) faults.push(required(`${field}.name`));
    if (port.name) {
      faults.push(...labelFaults(`${field}.name`, port.name));
      if (names.has(port.name)) faults.push(duplicate(`${field}.name`, port.name));
      names.add(port.name);
    }
    faults.push(
      ...(typeof port.port === 'number' ? targetPortFaults(port.port, `${field}.port`) : [required(`${field}.port`)]),
    );
    if (!PROTOCOLS.includes(port.protocol ?? ''))
      faults.push(notSupported(`${field}.protocol`, port.protocol, PROTOCOLS));
    if (port.targetPort !== undefined) faults.push(...targetPortFaults(port.targetPort, `${field}.targetPort`));
    if (port.nodePort && (spec.type === 'ClusterIP' || spec.type === 'ExternalName')) {
      faults.push({
        reason: 'FieldValueForbidden',
        field: `${field}.nodePort`,
        message: "Forbidden: may not be used when `type` is 'ClusterIP'",
      });
    }
    const pair = `${port.port}/${port.protocol}`;
    if (seen.has(pair)) faults.push(duplicate(field, { port: port.port, protocol: port.protocol }));
    seen.add(pair);
    if (!port.nodePort) return;
    const nodePort = `${port.nodePort}/${port.protocol}`;
    if (nodePorts.has(nodePort)) faults.push(duplicate(`${field}.nodePort`, port.nodePort));
    nodePorts.add(nodePort);
  });
  return faults;
}

export function serviceUpdateFaults(next: Service, old: Service): FieldError[] {
  const [spec, known] = [next.spec!, old.spec!];
  const faults: FieldError[] = [];
  if (
    known.clusterIP &&
    known.type !== 'ExternalName' &&
    spec.type !== 'ExternalName' &&
    spec.clusterIP !== known.clusterIP
  ) {
    faults.push(invalid('spec.clusterIPs[0]', spec.clusterIPs ?? [spec.clusterIP], 'may not change once set'));
  }
  const health = known.healthCheckNodePort;
  if (health && spec.healthCheckNodePort && spec.healthCheckNodePort !== health) {
    faults.push(invalid('spec.healthCheckNodePort', spec.healthCheckNodePort, 'field is immutable'));
  }
  return faults;
}
