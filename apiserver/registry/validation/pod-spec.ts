// A pod's spec as a whole, in Pods and in templates. Source: pkg/apis/core/validation ValidatePodSpec.
import type { PodSpec, Toleration } from '../../../api/pod.ts';
import { duplicate, type FieldError, forbiddenField, invalid, notSupported, required } from '../field-errors.ts';
import { labelFaults, labelsFaults, qualifiedNameFaults, subdomainFaults } from '../metadata.ts';
import { affinityFaults } from './affinity.ts';
import { containerFaults } from './container.ts';
import { podLevelFaults } from './resources.ts';
import { podSecurityContextFaults } from './security-context.ts';
import { volumesFaults } from './volumes.ts';

const RESTART_POLICIES = ['Always', 'OnFailure', 'Never'];
const DNS_POLICIES = ['ClusterFirstWithHostNet', 'ClusterFirst', 'Default', 'None'];
const MAX_INT32 = 2_147_483_647;

/** Ephemeral containers come through their subresource only. */
export function noEphemeralFaults(spec: PodSpec | undefined, path: string, why: string): FieldError[] {
  return (spec?.ephemeralContainers?.length ?? 0) > 0 ? [forbiddenField(`${path}.ephemeralContainers`, why)] : [];
}

export function podSpecFaults(spec: PodSpec | undefined, path: string): FieldError[] {
  if (spec === undefined) return [required(`${path}.containers`)];
  const volumes = new Set((spec.volumes ?? []).map((v) => v.name));
  const faults = volumesFaults(spec.volumes ?? [], `${path}.volumes`);
  if ((spec.containers?.length ?? 0) === 0) faults.push(required(`${path}.containers`));
  const names = new Set<string>();
  const hostPorts = new Set<string>();
  const { restartPolicy } = spec;
  const targets = new Set([...(spec.containers ?? []), ...(spec.initContainers ?? [])].map((c) => c.name));
  const graceSeconds = spec.terminationGracePeriodSeconds;
  const hostNetwork = spec.hostNetwork === true;
  const context = { volumes, names, hostPorts, targets, hostNetwork, restartPolicy, graceSeconds };
  for (const list of ['containers', 'initContainers', 'ephemeralContainers'] as const) {
    (spec[list] ?? []).forEach((container, i) => {
      faults.push(...containerFaults(container, `${path}.${list}[${i}]`, list, context));
    });
  }
  faults.push(...podLevelFaults(spec, path), ...policyFaults(spec, path));
  return [...faults, ...placementFaults(spec, path), ...identityFaults(spec, path)];
}

function policyFaults(spec: PodSpec, path: string): FieldError[] {
  const faults: FieldError[] = [];
  if (!RESTART_POLICIES.includes(spec.restartPolicy ?? '')) {
    faults.push(notSupported(`${path}.restartPolicy`, spec.restartPolicy, RESTART_POLICIES));
  }
  if (!DNS_POLICIES.includes(spec.dnsPolicy ?? '')) {
    faults.push(notSupported(`${path}.dnsPolicy`, spec.dnsPolicy, DNS_POLICIES));
  }
  const deadline = spec.activeDeadlineSeconds;
  if (deadline !== undefined && (deadline < 1 || deadline > MAX_INT32)) {
    faults.push(invalid(`${path}.activeDeadlineSeconds`, deadline, `must be between 1 and ${MAX_INT32}, inclusive`));
  }
  if (spec.hostUsers === false) {
    // Spelled as kube-apiserver spells these paths.
    for (const [field, wanted] of Object.entries({
      hostNetwork: spec.hostNetwork,
      HostPID: spec.hostPID,
      HostIPC: spec.hostIPC,
    })) {
      if (wanted) faults.push(forbiddenField(`${path}.${field}`, 'when `pod.Spec.HostUsers` is false'));
    }
  }
  if (spec.shareProcessNamespace && spec.hostPID) {
    faults.push(
      invalid(`${path}.shareProcessNamespace`, true, 'ShareProcessNamespace and HostPID cannot both be enabled'),
    );
  }
  return [...faults, ...dnsFaults(spec, `${path}.dnsConfig`)];
}

function dnsFaults(spec: PodSpec, path: string): FieldError[] {
  const servers = spec.dnsConfig?.nameservers ?? [];
  const searches = spec.dnsConfig?.searches ?? [];
  const faults: FieldError[] = [];
  if (spec.dnsPolicy === 'None' && servers.length === 0) {
    const why = 'must provide at least one DNS nameserver when `dnsPolicy` is None';
    faults.push(required(`${path}.nameservers`, why));
  }
  if (servers.length > 3) faults.push(invalid(`${path}.nameservers`, servers, 'must not have more than 3 nameservers'));
  if (searches.length > 32)
    faults.push(invalid(`${path}.searches`, searches, 'must not have more than 32 search paths'));
  if (searches.join(' ').length > 2048) {
    faults.push(
      invalid(
        `${path}.searches`,
        searches,
        'must not have more than 2048 characters (including spaces) in the search list',
      ),
    );
  }
  return faults;
}

const TOLERATION_EFFECTS = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'];
const UNSATISFIABLE = ['DoNotSchedule', 'ScheduleAnyway'];

function placementFaults(spec: PodSpec, path: string): FieldError[] {
  const faults = labelsFaults(`${path}.nodeSelector`, spec.nodeSelector ?? {});
  faults.push(...affinityFaults(spec.affinity, `${path}.affinity`));
  (spec.tolerations ?? []).forEach((t, i) => {
    faults.push(...tolerationFaults(t, `${path}.tolerations[${i}]`));
  });
  const seen = new Set<string>();
  (spec.topologySpreadConstraints ?? []).forEach((c, i) => {
    const field = `${path}.topologySpreadConstraints[${i}]`;
    if (!(c.maxSkew > 0)) faults.push(invalid(`${field}.maxSkew`, c.maxSkew, 'must be greater than zero'));
    if (!c.topologyKey) faults.push(required(`${field}.topologyKey`, 'can not be empty'));
    if (!UNSATISFIABLE.includes(c.whenUnsatisfiable)) {
      faults.push(notSupported(`${field}.whenUnsatisfiable`, c.whenUnsatisfiable, UNSATISFIABLE));
    }
    const pair = `{${c.topologyKey}, ${c.whenUnsatisfiable}}`;
    if (seen.has(pair)) faults.push(duplicate(`${field}.{topologyKey, whenUnsatisfiable}`, pair));
    seen.add(pair);
  });
  return faults;
}

function tolerationFaults(t: Toleration, field: string): FieldError[] {
  const faults = t.key ? qualifiedNameFaults(`${field}.key`, t.key) : [];
  const operator = t.operator ?? 'Equal';
  if (!t.key && operator !== 'Exists') {
    faults.push(
      invalid(
        `${field}.operator`,
        operator,
        'operator must be Exists when `key` is empty, which means "match all values and all keys"',
      ),
    );
  }
  if (operator === 'Exists' && t.value) {
    faults.push(invalid(`${field}.operator`, t.value, "value must be empty when `operator` is 'Exists'"));
  } else if (operator !== 'Exists' && operator !== 'Equal') {
    faults.push(notSupported(`${field}.operator`, operator, ['Equal', 'Exists']));
  }
  if (t.effect && !TOLERATION_EFFECTS.includes(t.effect)) {
    faults.push(notSupported(`${field}.effect`, t.effect, TOLERATION_EFFECTS));
  }
  if (t.tolerationSeconds !== undefined && t.effect !== 'NoExecute') {
    faults.push(
      invalid(`${field}.effect`, t.effect ?? '', "effect must be 'NoExecute' when `tolerationSeconds` is set"),
    );
  }
  return faults;
}

function identityFaults(spec: PodSpec, path: string): FieldError[] {
  const faults: FieldError[] = [];
  if (spec.hostname) faults.push(...labelFaults(`${path}.hostname`, spec.hostname));
  if (spec.subdomain) faults.push(...labelFaults(`${path}.subdomain`, spec.subdomain));
  if (spec.nodeName) faults.push(...subdomainFaults(`${path}.nodeName`, spec.nodeName));
  if (spec.serviceAccountName) faults.push(...subdomainFaults(`${path}.serviceAccountName`, spec.serviceAccountName));
  faults.push(...podSecurityContextFaults(spec.securityContext, `${path}.securityContext`));
  return faults;
}
