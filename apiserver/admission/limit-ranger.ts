// Bounds and defaults of a namespace for what its containers, pods and claims ask for. Source:
// plugin/pkg/admission/limitranger.
import type { LimitRange, LimitRangeItem, PersistentVolumeClaim } from 'kubernetes-types/core/v1.js';
import type { Container, Pod, ResourceRequirements } from '../../api/pod.ts';
import { podAmounts } from '../../api/pod-resources.ts';
import { compareQuantities, formatQuantity, parseQuantity, type Quantity } from '../../api/quantity.ts';
import type { ResourceType } from '../../api/resources.ts';
import type { AdmissionPlugin, AdmissionRequest } from '../admission.ts';
import type { ObjectReader } from '../registry/reader.ts';
import { forbidden } from '../status-error.ts';

export const limitRanges: ResourceType<LimitRange> = Object.freeze({
  group: '',
  version: 'v1',
  plural: 'limitranges',
  kind: 'LimitRange',
  namespaced: true,
});

const ANNOTATION = 'kubernetes.io/limit-ranger';

type Amounts = ReadonlyMap<string, Quantity>;
type Texts = Readonly<Record<string, string>>;

export function limitRanger(reader: ObjectReader): AdmissionPlugin {
  const ranges = (request: AdmissionRequest) =>
    concerns(request) ? reader.list<LimitRange>(limitRanges, request.namespace) : [];
  return {
    name: 'LimitRanger',
    mutate(request) {
      if (request.resource !== 'pods') return;
      for (const range of ranges(request)) setDefaults(request, itemsOf(range));
    },
    validate(request) {
      const { group, resource, name, object } = request;
      for (const range of ranges(request)) {
        const faults =
          resource === 'pods'
            ? podLimitFaults(object as Pod, itemsOf(range))
            : claimLimitFaults(object as PersistentVolumeClaim, itemsOf(range));
        if (faults.length > 0) throw forbidden({ group, resource }, name, aggregate(faults));
      }
    },
  };
}

/** Of pods, only creation and resizing: nothing else changes what they ask for. */
function concerns({ group, resource, subresource, operation }: AdmissionRequest): boolean {
  if (group !== '') return false;
  if (resource === 'pods') {
    return (operation === 'CREATE' && subresource === '') || (operation === 'UPDATE' && subresource === 'resize');
  }
  if (resource !== 'persistentvolumeclaims' || subresource !== '') return false;
  return operation === 'CREATE' || operation === 'UPDATE';
}

function itemsOf(range: LimitRange): readonly LimitRangeItem[] {
  return range.spec?.limits ?? [];
}

/** As Go's aggregate of errors prints. */
function aggregate(faults: readonly string[]): string {
  const all = [...new Set(faults)];
  return all.length === 1 ? all[0]! : `[${all.join(', ')}]`;
}

function setDefaults({ object, subresource }: AdmissionRequest, items: readonly LimitRangeItem[]): void {
  const pod = object as Pod;
  const defaults: Required<Pick<ResourceRequirements, 'limits' | 'requests'>> = { limits: {}, requests: {} };
  for (const item of items) {
    if (item.type !== 'Container') continue;
    Object.assign(defaults.limits, item.default);
    Object.assign(defaults.requests, item.defaultRequest);
  }
  const added = [
    ...(pod.spec?.containers ?? []).flatMap((c) => merge(c, defaults, 'container')),
    ...(pod.spec?.initContainers ?? []).flatMap((c) => merge(c, defaults, 'init container')),
  ];
  // A resize leaves the metadata as it is.
  if (added.length === 0 || subresource !== '') return;
  pod.metadata ??= {};
  pod.metadata.annotations = {
    ...pod.metadata.annotations,
    [ANNOTATION]: `LimitRanger plugin set: ${added.join('; ')}`,
  };
}

/** Gives the container what it does not say; the answer tells what that was. */
function merge(container: Container, defaults: ResourceRequirements, kind: string): string[] {
  const resources = container.resources ?? {};
  container.resources = resources;
  return (['requests', 'limits'] as const).flatMap((list) => {
    const added = Object.entries(defaults[list] ?? {}).filter(([name]) => resources[list]?.[name] === undefined);
    if (added.length === 0) return [];
    resources[list] = { ...resources[list], ...Object.fromEntries(added) };
    const names = added.map(([name]) => name).sort();
    return [`${names.join(', ')} ${list.slice(0, -1)} for ${kind} ${container.name}`];
  });
}

function podLimitFaults(pod: Pod, items: readonly LimitRangeItem[]): string[] {
  return items.flatMap((item) => {
    if (item.type === 'Container') {
      const all = [...(pod.spec?.containers ?? []), ...(pod.spec?.initContainers ?? [])];
      return all.flatMap((c) => itemFaults(item, amountsOf(c.resources?.requests), amountsOf(c.resources?.limits)));
    }
    return item.type === 'Pod' ? itemFaults(item, podAmounts(pod, 'requests'), podAmounts(pod, 'limits')) : [];
  });
}

function claimLimitFaults(claim: PersistentVolumeClaim, items: readonly LimitRangeItem[]): string[] {
  const request = claim.spec?.resources?.requests?.storage;
  return items.flatMap((item) => {
    if (item.type !== 'PersistentVolumeClaim') return [];
    const { min, max } = { min: item.min?.storage, max: item.max?.storage };
    const usage = (which: string, bound: string) => `${which} storage usage per PersistentVolumeClaim is ${bound}`;
    const order = (bound: string) => compareQuantities(parseQuantity(request ?? '0'), parseQuantity(bound));
    return [
      ...(min !== undefined && order(min) < 0 ? [`${usage('minimum', min)}, but request is ${request ?? 0}`] : []),
      ...(max !== undefined && order(max) > 0 ? [`${usage('maximum', max)}, but request is ${request ?? 0}`] : []),
    ];
  });
}

/** Bounds of one item on one container, or on all of a pod. */
function itemFaults(item: LimitRangeItem, requests: Amounts, limits: Amounts): string[] {
  const each = (bounds: Texts | undefined, check: (name: string, bound: string) => string | undefined) =>
    Object.entries(bounds ?? {})
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .flatMap(([name, bound]) => check(name, bound) ?? []);
  return [
    ...each(item.min, (name, bound) => minimumFault(item.type, name, bound, requests.get(name), limits.get(name))),
    ...each(item.max, (name, bound) => maximumFault(item.type, name, bound, requests.get(name), limits.get(name))),
    ...each(item.maxLimitRequestRatio, (name, bound) =>
      ratioFault(item.type, name, bound, requests.get(name), limits.get(name)),
    ),
  ];
}

type Fault = (
  type: string,
  name: string,
  bound: string,
  request: Quantity | undefined,
  limit: Quantity | undefined,
) => string | undefined;

const minimumFault: Fault = (type, name, bound, request, limit) => {
  const least = parseQuantity(bound);
  const usage = `minimum ${name} usage per ${type} is ${bound}`;
  if (request === undefined) return `${usage}. No request is specified`;
  if (compareQuantities(request, least) < 0) return `${usage}, but request is ${formatQuantity(request)}`;
  const tooLow = limit !== undefined && compareQuantities(limit, least) < 0;
  return tooLow ? `${usage}, but limit is ${formatQuantity(limit)}` : undefined;
};

const maximumFault: Fault = (type, name, bound, request, limit) => {
  const most = parseQuantity(bound);
  const usage = `maximum ${name} usage per ${type} is ${bound}`;
  if (limit === undefined) return `${usage}. No limit is specified`;
  if (compareQuantities(limit, most) > 0) return `${usage}, but limit is ${formatQuantity(limit)}`;
  const tooHigh = request !== undefined && compareQuantities(request, most) > 0;
  return tooHigh ? `${usage}, but request is ${formatQuantity(request)}` : undefined;
};

const ratioFault: Fault = (type, name, bound, request, limit) => {
  const most = parseQuantity(bound);
  const usage = `${name} max limit to request ratio per ${type} is ${bound}`;
  if (request === undefined || request.nanos === 0n) return `${usage}, but no request is specified or request is 0`;
  if (limit === undefined || limit.nanos === 0n) return `${usage}, but no limit is specified or limit is 0`;
  // limit / request > most, without dividing.
  if (limit.nanos * 1_000_000_000n <= most.nanos * request.nanos) return undefined;
  return `${usage}, but provided ratio is ${(Number(limit.nanos) / Number(request.nanos)).toFixed(6)}`;
};

function amountsOf(list: Texts | undefined): Amounts {
  return new Map(Object.entries(list ?? {}).map(([name, text]) => [name, parseQuantity(text)]));
}
