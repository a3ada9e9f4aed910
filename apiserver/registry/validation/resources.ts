// What containers and whole pods ask for and may use. Source: pkg/apis/core/validation
// ValidateContainerResourceRequirements, validateResizePolicy, validatePodResources.
import type { Pod, PodSpec, ResourceRequirements } from '../../../api/pod.ts';
import { amountsOf, podAmounts } from '../../../api/pod-resources.ts';
import { compareQuantities, formatQuantity, isQuantity, parseQuantity, type Quantity } from '../../../api/quantity.ts';
import { duplicate, type FieldError, forbiddenField, invalid, notSupported, required } from '../field-errors.ts';
import { qualifiedNameFaults } from '../metadata.ts';

const HUGE_PAGES = 'hugepages-';
const STANDARD = new Set(['cpu', 'memory', 'ephemeral-storage']);
const LISTS = ['limits', 'requests'] as const;

export interface ResizePolicy {
  readonly resourceName?: string;
  readonly restartPolicy?: string;
}

/** Requests and limits of one container. */
export function resourcesFaults(resources: ResourceRequirements | undefined, path: string): FieldError[] {
  const faults = LISTS.flatMap((list) =>
    Object.entries(resources?.[list] ?? {}).flatMap(([name, quantity]) => {
      const field = `${path}.${list}[${name}]`;
      return [...containerResourceFaults(name, field), ...quantityFaults(name, quantity, field)];
    }),
  );
  return faults.length > 0 ? faults : [...pairFaults(resources, path), ...hugePagesFaults(resources, path)];
}

function containerResourceFaults(name: string, field: string): FieldError[] {
  if (STANDARD.has(name) || name.startsWith(HUGE_PAGES)) return [];
  if (name.includes('/')) return qualifiedNameFaults(field, name);
  return [
    invalid(field, name, 'must be a standard resource type or fully qualified'),
    invalid(field, name, 'must be a standard resource for containers'),
  ];
}

/** One amount of a resource. */
export function quantityFaults(name: string, quantity: string, field: string): FieldError[] {
  if (!isQuantity(quantity)) return [invalid(field, quantity, 'must be a quantity')];
  const { nanos } = parseQuantity(quantity);
  if (nanos < 0n) return [invalid(field, quantity, 'must be greater than or equal to 0')];
  const fraction = isIndivisible(name) && nanos % 1_000_000_000n !== 0n;
  return fraction ? [invalid(field, quantity, 'must be an integer')] : [];
}

/** Devices and huge pages come whole, and are not promised twice. */
function isIndivisible(name: string): boolean {
  return name.startsWith(HUGE_PAGES) || (name.includes('/') && !name.includes('kubernetes.io/'));
}

/** Each request against its limit. */
function pairFaults(resources: ResourceRequirements | undefined, path: string): FieldError[] {
  return Object.entries(resources?.requests ?? {}).flatMap(([name, request]) => {
    const limit = resources?.limits?.[name];
    if (limit === undefined) {
      const why = 'Limit must be set for non overcommitable resources';
      return isIndivisible(name) ? [required(`${path}.limits`, why)] : [];
    }
    const order = compareQuantities(parseQuantity(request), parseQuantity(limit));
    const field = `${path}.requests`;
    if (isIndivisible(name) && order !== 0)
      return [invalid(field, request, `must be equal to ${name} limit of ${limit}`)];
    return order > 0 ? [invalid(field, request, `must be less than or equal to ${name} limit of ${limit}`)] : [];
  });
}

function hugePagesFaults(resources: ResourceRequirements | undefined, path: string): FieldError[] {
  const names = LISTS.flatMap((list) => Object.keys(resources?.[list] ?? {}));
  if (!names.some((n) => n.startsWith(HUGE_PAGES)) || names.includes('cpu') || names.includes('memory')) return [];
  return [forbiddenField(path, 'HugePages require cpu or memory')];
}

const RESIZABLE = ['cpu', 'memory'];
const RESTARTS = ['NotRequired', 'RestartContainer'];

/** `podRestart` is the pod's restartPolicy: what never restarts cannot be resized by a restart. */
export function resizePolicyFaults(
  policies: readonly ResizePolicy[],
  path: string,
  podRestart: string | undefined,
): FieldError[] {
  const seen = new Set<string>();
  return policies.flatMap(({ resourceName = '', restartPolicy = '' }, i) => {
    const faults: FieldError[] = [];
    if (seen.has(resourceName)) faults.push(duplicate(`${path}[${i}]`, resourceName));
    seen.add(resourceName);
    faults.push(...choiceFaults(path, resourceName, RESIZABLE), ...choiceFaults(path, restartPolicy, RESTARTS));
    if (podRestart === 'Never' && restartPolicy !== 'NotRequired') {
      faults.push(invalid(path, restartPolicy, "must be 'NotRequired' when `restartPolicy` is 'Never'"));
    }
    return faults;
  });
}

function choiceFaults(path: string, value: string, supported: readonly string[]): FieldError[] {
  if (value === '') return [required(path)];
  return supported.includes(value) ? [] : [notSupported(path, value, supported)];
}

/** Pod-level requests and limits, alone and against those of the containers (KEP-2837). */
export function podLevelFaults(spec: PodSpec, path: string): FieldError[] {
  const { resources } = spec;
  if (resources?.limits === undefined && resources?.requests === undefined) return [];
  const field = `${path}.resources`;
  const faults = LISTS.flatMap((list) =>
    Object.entries(resources[list] ?? {}).flatMap(([name, quantity]) => {
      const at = `${field}.${list}[${name}]`;
      if (!isPodLevelResource(name)) return [notSupported(at, name, [...RESIZABLE, HUGE_PAGES])];
      return quantityFaults(name, quantity, at);
    }),
  );
  // Faults of a container are reported there; here they would only stop the sums.
  const broken = [...(spec.containers ?? []), ...(spec.initContainers ?? [])].some(
    (c) => resourcesFaults(c.resources, '').length > 0,
  );
  if (faults.length > 0 || broken) return faults;
  return [...pairFaults(resources, field), ...aggregateFaults(spec, field), ...containerLimitFaults(spec, path)];
}

function isPodLevelResource(name: string): boolean {
  return name === 'cpu' || name === 'memory' || name.startsWith(HUGE_PAGES);
}

function aggregateFaults(spec: PodSpec, field: string): FieldError[] {
  const { resources, ...alone } = spec;
  const containers = podAmounts({ spec: alone } as Pod, 'requests');
  return [...amountsOf(resources, 'requests')].flatMap(([name, request]) => {
    const sum = containers.get(name);
    if (!isMore(sum, request)) return [];
    const why = `must be greater than or equal to aggregate container requests of ${formatQuantity(sum!)}`;
    return [invalid(`${field}.requests[${name}]`, formatQuantity(request), why)];
  });
}

function containerLimitFaults(spec: PodSpec, path: string): FieldError[] {
  const limits = amountsOf(spec.resources, 'limits');
  return (spec.containers ?? []).flatMap((container, i) =>
    [...amountsOf(container.resources, 'limits')].flatMap(([name, own]) => {
      const limit = limits.get(name);
      if (limit === undefined || !isMore(own, limit)) return [];
      const field = `${path}.containers[${i}].resources.limits[${name}]`;
      return [
        invalid(field, formatQuantity(own), `must be less than or equal to pod limits of ${formatQuantity(limit)}`),
      ];
    }),
  );
}

function isMore(a: Quantity | undefined, b: Quantity): boolean {
  return a !== undefined && compareQuantities(a, b) > 0;
}
