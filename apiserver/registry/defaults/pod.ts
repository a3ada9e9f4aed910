// Defaults of Pods and pod templates. Source: pkg/apis/core/v1/defaults.go.
import type * as core from 'kubernetes-types/core/v1.js';
import type { Container, PodSpec, Volume } from '../../../api/pod.ts';
import { podAmounts } from '../../../api/pod-resources.ts';
import { formatQuantity, type Quantity } from '../../../api/quantity.ts';

const DEFAULT_FILE_MODE = 0o644;

/** Defaults that hold for Pods and templates alike. */
export function defaultPodSpec(spec: PodSpec): void {
  spec.restartPolicy ??= 'Always';
  spec.dnsPolicy ??= 'ClusterFirst';
  spec.schedulerName ??= 'default-scheduler';
  spec.terminationGracePeriodSeconds ??= 30;
  if (spec.terminationGracePeriodSeconds < 0) spec.terminationGracePeriodSeconds = 1;
  spec.securityContext ??= {};
  if (spec.serviceAccountName) spec.serviceAccount = spec.serviceAccountName;
  else if (spec.serviceAccount) spec.serviceAccountName = spec.serviceAccount;
  for (const container of [...(spec.initContainers ?? []), ...(spec.containers ?? [])]) {
    defaultContainer(container, spec.hostNetwork === true);
  }
  for (const container of spec.ephemeralContainers ?? []) defaultContainer(container, false);
  for (const volume of spec.volumes ?? []) defaultVolume(volume);
}

/** What is defaulted on Pod objects only. */
export function defaultPod(spec: PodSpec): void {
  defaultPodSpec(spec);
  spec.enableServiceLinks ??= true;
  for (const container of [...(spec.initContainers ?? []), ...(spec.containers ?? [])]) {
    const limits = container.resources?.limits;
    if (limits !== undefined) container.resources!.requests = { ...limits, ...container.resources!.requests };
  }
  defaultPodLevelRequests(spec);
}

/** A pod that is limited as a whole asks for what its containers ask for, or else for its limit (KEP-2837). */
function defaultPodLevelRequests(spec: PodSpec): void {
  const { resources, ...alone } = spec;
  if (resources?.limits === undefined || Object.keys(resources.limits).length === 0) return;
  const requests: Record<string, string> = { ...resources.requests };
  // Huge pages of the containers are no promise of the pod: they are not divided among containers.
  for (const [name, amount] of sumsOf(alone)) {
    if (name === 'cpu' || name === 'memory') requests[name] ??= formatQuantity(amount);
  }
  for (const [name, limit] of Object.entries(resources.limits)) requests[name] ??= limit;
  resources.requests = requests;
}

function sumsOf(spec: PodSpec): ReadonlyMap<string, Quantity> {
  try {
    return podAmounts({ spec }, 'requests');
  } catch {
    return new Map(); // no quantities: validation says where
  }
}

function defaultContainer(container: Container | core.EphemeralContainer, hostNetwork: boolean): void {
  container.terminationMessagePath ??= '/dev/termination-log';
  container.terminationMessagePolicy ??= 'File';
  if (container.image) container.imagePullPolicy ??= defaultPullPolicy(container.image);
  container.resources ??= {};
  for (const port of container.ports ?? []) {
    port.protocol ??= 'TCP';
    if (hostNetwork && !port.hostPort) port.hostPort = port.containerPort;
  }
  for (const env of container.env ?? []) {
    if (env.valueFrom?.fieldRef !== undefined) env.valueFrom.fieldRef.apiVersion ??= 'v1';
  }
  for (const probe of [container.livenessProbe, container.readinessProbe, container.startupProbe]) {
    if (probe !== undefined) defaultProbe(probe);
  }
  for (const handler of [container.lifecycle?.postStart, container.lifecycle?.preStop]) {
    if (handler?.httpGet !== undefined) defaultHttpGet(handler.httpGet);
  }
}

function defaultProbe(probe: core.Probe): void {
  probe.timeoutSeconds ||= 1;
  probe.periodSeconds ||= 10;
  probe.successThreshold ||= 1;
  probe.failureThreshold ||= 3;
  if (probe.httpGet !== undefined) defaultHttpGet(probe.httpGet);
  if (probe.grpc !== undefined) probe.grpc.service ??= '';
}

function defaultHttpGet(get: core.HTTPGetAction): void {
  get.path ||= '/';
  get.scheme ||= 'HTTP';
}

/** Always for a moving tag, IfNotPresent for a fixed one. */
export function defaultPullPolicy(image: string): 'Always' | 'IfNotPresent' {
  if (image.includes('@')) return 'IfNotPresent';
  // The tag follows the last colon, unless that belongs to the registry's port.
  const last = image.slice(image.lastIndexOf('/') + 1);
  const tag = last.includes(':') ? last.slice(last.indexOf(':') + 1) : 'latest';
  return tag === 'latest' ? 'Always' : 'IfNotPresent';
}

function defaultVolume(volume: Volume): void {
  if (Object.keys(volume).every((member) => member === 'name')) volume.emptyDir = {};
  for (const source of [volume.secret, volume.configMap, volume.downwardAPI, volume.projected]) {
    if (source !== undefined) source.defaultMode ??= DEFAULT_FILE_MODE;
  }
  for (const source of volume.projected?.sources ?? []) {
    if (source.serviceAccountToken !== undefined) source.serviceAccountToken.expirationSeconds ??= 3600;
    for (const item of source.downwardAPI?.items ?? []) defaultFieldRef(item);
  }
  for (const item of volume.downwardAPI?.items ?? []) defaultFieldRef(item);
  if (volume.hostPath !== undefined) volume.hostPath.type ??= '';
  if (volume.image?.reference) volume.image.pullPolicy ??= defaultPullPolicy(volume.image.reference);
  const claim = volume.ephemeral?.volumeClaimTemplate?.spec;
  if (claim !== undefined) claim.volumeMode ??= 'Filesystem';
}

function defaultFieldRef(item: core.DownwardAPIVolumeFile): void {
  if (item.fieldRef !== undefined) item.fieldRef.apiVersion ??= 'v1';
}
