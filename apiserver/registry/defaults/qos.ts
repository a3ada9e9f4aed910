// QoS class of a pod from its requests and limits. Source: pkg/apis/core/v1/helper/qos.
import type { PodSpec, ResourceRequirements } from '../../../api/pod.ts';
import { compareQuantities, parseQuantity, ZERO_QUANTITY } from '../../../api/quantity.ts';

export type QosClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

const COUNTED = ['cpu', 'memory'] as const;

export function qosClassOf(spec: PodSpec): QosClass {
  const podLevel = spec.resources;
  const own = podLevel?.limits !== undefined || podLevel?.requests !== undefined ? [podLevel] : undefined;
  const all = own ?? [...(spec.initContainers ?? []), ...(spec.containers ?? [])].map((c) => c.resources ?? {});
  if (all.every((r) => COUNTED.every((name) => !isSet(r.requests?.[name]) && !isSet(r.limits?.[name])))) {
    return 'BestEffort';
  }
  return all.every(isGuaranteed) ? 'Guaranteed' : 'Burstable';
}

function isGuaranteed(r: ResourceRequirements): boolean {
  return COUNTED.every((name) => {
    const limit = r.limits?.[name];
    if (!isSet(limit)) return false;
    const request = r.requests?.[name];
    return request === undefined || compareQuantities(parseQuantity(request), parseQuantity(limit!)) === 0;
  });
}

function isSet(quantity: string | undefined): boolean {
  return quantity !== undefined && compareQuantities(parseQuantity(quantity), ZERO_QUANTITY) > 0;
}
