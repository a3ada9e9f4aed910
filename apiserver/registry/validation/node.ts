// Node. Source: pkg/apis/core/validation ValidateNode and ValidateNodeUpdate.
import { isIPv4 } from 'node:net';
import { isDeepStrictEqual } from 'node:util';
import type { Node } from '../../../api/kinds.ts';
import { duplicate, type FieldError, forbiddenField, invalid, notSupported, required } from '../field-errors.ts';
import { labelValueFaults, qualifiedNameFaults } from '../metadata.ts';
import { quantityFaults } from './resources.ts';

const FEATURE_TEXT =
  "must start with an UpperCamelCase segment, with subsequent segments separated by '/' (e.g., MyFeature or " +
  'MyFeature/mySubFeature), and contain only alphanumeric characters and slashes';
const EFFECTS = ['NoSchedule', 'PreferNoSchedule', 'NoExecute'];

export function nodeFaults(node: Node): FieldError[] {
  const faults: FieldError[] = [];
  const seen = new Set<string>();
  (node.spec?.taints ?? []).forEach((taint, i) => {
    const field = `spec.taints[${i}]`;
    faults.push(
      ...qualifiedNameFaults(`${field}.key`, taint.key),
      ...labelValueFaults(`${field}.value`, taint.value ?? ''),
    );
    if (!taint.effect) faults.push(required(`${field}.effect`));
    else if (!EFFECTS.includes(taint.effect)) faults.push(notSupported(`${field}.effect`, taint.effect, EFFECTS));
    const key = `${taint.key}:${taint.effect}`;
    if (seen.has(key)) faults.push(duplicate(field, taint));
    seen.add(key);
  });
  return [...faults, ...podCidrFaults(node), ...nodeStatusFaults(node)];
}

/** Amounts, which are whole numbers for devices and pods, and addresses, each of which is given once. */
export function nodeStatusFaults({ status }: Node): FieldError[] {
  const amounts = (['capacity', 'allocatable'] as const).flatMap((list) =>
    Object.entries(status?.[list] ?? {}).flatMap(([name, amount]) =>
      quantityFaults(name, amount, `status.${list}.${name}`),
    ),
  );
  const addresses = status?.addresses ?? [];
  const twice = addresses.flatMap((address, i) => {
    const first = addresses.findIndex((a) => a.type === address.type && a.address === address.address);
    return first < i ? [duplicate(`status.addresses[${i}]`, address)] : [];
  });
  const features = (status as { readonly declaredFeatures?: readonly string[] } | undefined)?.declaredFeatures;
  return [...amounts, ...twice, ...featureFaults(features ?? [])];
}

const FEATURE = /^[A-Z][A-Za-z0-9]*(\/[A-Za-z0-9]+)*$/;

/** Names of features, in order, each once. */
function featureFaults(features: readonly string[]): FieldError[] {
  return features.flatMap((name, i) => {
    const field = `status.declaredFeatures[${i}]`;
    const faults = FEATURE.test(name)
      ? []
      : [invalid(field, name, `invalid feature name ${JSON.stringify(name)}: ${FEATURE_TEXT}`)];
    const before = features[i - 1];
    if (before === name) faults.push(duplicate(field, name));
    else if (before !== undefined && before > name)
      faults.push(invalid(field, name, 'list must be sorted alphabetically'));
    return faults;
  });
}

function podCidrFaults(node: Node): FieldError[] {
  const cidrs = node.spec?.podCIDRs ?? [];
  const faults: FieldError[] = [];
  if (cidrs.length > 0 && cidrs[0] !== node.spec?.podCIDR) {
    faults.push(invalid('spec.podCIDRs[0]', cidrs[0], 'must match `podCIDR`'));
  }
  cidrs.forEach((cidr, i) => {
    if (!/^[0-9a-fA-F.:]+\/\d{1,3}$/.test(cidr)) {
      faults.push(
        invalid(`spec.podCIDRs[${i}]`, cidr, 'must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)'),
      );
    }
  });
  const v4 = cidrs.filter((cidr) => isIPv4(cidr.split('/')[0]!)).length;
  if (v4 > 1 || cidrs.length - v4 > 1) {
    faults.push(invalid('spec.podCIDRs', cidrs, 'may specify no more than one CIDR for each IP family'));
  }
  return faults;
}

export function nodeUpdateFaults(next: Node, old: Node): FieldError[] {
  const faults: FieldError[] = [];
  const cidrs = old.spec?.podCIDRs ?? [];
  if (cidrs.length > 0 && !isDeepStrictEqual(next.spec?.podCIDRs, cidrs)) {
    faults.push(forbiddenField('spec.podCIDRs', 'node updates may not change podCIDR except from "" to valid'));
  }
  if (old.spec?.providerID && next.spec?.providerID !== old.spec.providerID) {
    faults.push(forbiddenField('spec.providerID', 'node updates may not change providerID except from "" to valid'));
  }
  return faults;
}
