// Hostname and domain of a pod (pkg/kubelet/kubelet_pods.go GeneratePodHostNameAndDomain). Pure.
import type { Pod } from '../../api/pod.ts';
import { AgentError } from '../../core/errors.ts';

const MAX_HOSTNAME = 63;
const MAX_KERNEL_HOSTNAME = 64;
const LABEL = /^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$/;
const SUBDOMAIN = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?(?:\.[a-z0-9](?:[-a-z0-9]*[a-z0-9])?)*$/;

export interface PodHostname {
  readonly hostname: string;
  /** '' when the pod has none. */
  readonly domain: string;
  /** What the kernel of the sandbox is told. */
  readonly kernelHostname: string;
}

/** @throws {AgentError} POD_HOSTNAME_INVALID. */
export function podHostname(pod: Pod, clusterDomain: string): PodHostname {
  const { hostname, domain } = hostnameAndDomain(pod, clusterDomain);
  if (pod.spec?.setHostnameAsFQDN !== true || domain === '') return { hostname, domain, kernelHostname: hostname };
  const fqdn = `${hostname}.${domain}`;
  if (fqdn.length > MAX_KERNEL_HOSTNAME) {
    throw invalid(
      `failed to construct FQDN from pod hostname and cluster domain, FQDN ${fqdn} is too long (${MAX_KERNEL_HOSTNAME} characters is the max, ${fqdn.length} characters requested)`,
    );
  }
  return { hostname, domain, kernelHostname: fqdn };
}

function hostnameAndDomain(pod: Pod, clusterDomain: string): { hostname: string; domain: string } {
  const { hostnameOverride, hostname, subdomain } = pod.spec ?? {};
  if (hostnameOverride) {
    if (!SUBDOMAIN.test(hostnameOverride))
      throw invalid(`pod HostnameOverride "${hostnameOverride}" is not a valid DNS subdomain`);
    return { hostname: truncate(hostnameOverride), domain: '' };
  }
  if (hostname && !LABEL.test(hostname)) throw invalid(`pod Hostname "${hostname}" is not a valid DNS label`);
  if (subdomain && !LABEL.test(subdomain)) throw invalid(`pod Subdomain "${subdomain}" is not a valid DNS label`);
  return {
    hostname: truncate(hostname || (pod.metadata?.name ?? '')),
    domain: subdomain ? `${subdomain}.${pod.metadata?.namespace ?? ''}.svc.${clusterDomain}` : '',
  };
}

/** Pod names may be 253 long, a host name not; a cut must not leave a separator at the end. */
function truncate(name: string): string {
  return name.length <= MAX_HOSTNAME ? name : name.slice(0, MAX_HOSTNAME).replace(/[-.]+$/, '');
}

function invalid(message: string): AgentError {
  return new AgentError(message, { code: 'POD_HOSTNAME_INVALID' });
}
