// What the tracer says about the matrix of Services, in the words of its model.
import { trace } from '../../proxy/trace/evaluate.ts';
import type { HostFacts } from '../../proxy/trace/host-facts.ts';
import type { Ruleset } from '../../proxy/trace/ruleset.ts';
import type { Trace } from '../../proxy/trace/way.ts';
import {
  ADDRESSES,
  ENDPOINT_PORT,
  expectedOutcome,
  type Family,
  FRONTENDS,
  type FrontendKind,
  type Mode,
  PLACES,
  type Place,
  type Shape,
  sourceOf,
  targetOf,
  type Variant,
} from './service-matrix.ts';

/** One line per connection that does not do what the model says; empty when all do. */
export function differences(
  shapes: readonly Shape[],
  ruleset: Ruleset,
  facts: HostFacts,
  of: { readonly mode: Mode; readonly family: Family; readonly variant?: Variant },
): string[] {
  const wrong: string[] = [];
  for (const { shape, kind, place } of allCases(shapes)) {
    const seen = tracedOutcome(shape, kind, place, of.family, ruleset, facts);
    const wanted = expectedOutcome(shape, kind, place, of.mode, of.variant);
    if (seen !== wanted) wrong.push(`${describe(shape)}: ${place} → ${kind}: ${seen} instead of ${wanted}`);
  }
  return wrong;
}

export interface Case {
  readonly shape: Shape;
  readonly kind: FrontendKind;
  readonly place: Place;
}

export function allCases(shapes: readonly Shape[]): Case[] {
  return shapes.flatMap((shape) => FRONTENDS.flatMap((kind) => PLACES.map((place) => ({ shape, kind, place }))));
}

export function describe({ endpoints, externalLocal, internalLocal, ranges, affinity }: Shape): string {
  const policies = `external ${externalLocal ? 'Local' : 'Cluster'}, internal ${internalLocal ? 'Local' : 'Cluster'}`;
  return `${endpoints}, ${policies}, ${ranges}${affinity ? ', sticky' : ''}`;
}

export function tracedOutcome(
  shape: Shape,
  kind: FrontendKind,
  place: Place,
  family: Family,
  ruleset: Ruleset,
  facts: HostFacts,
): string {
  const { ip, port } = targetOf(shape, kind, family);
  return inWords(trace({ from: sourceOf(place, family), to: ip, port, protocol: 'tcp' }, ruleset, facts), family);
}

function inWords({ ways, unknown }: Trace, family: Family): string {
  if (unknown.length > 0) return `unknown: ${unknown.join('; ')}`;
  const a = ADDRESSES[family];
  const words = ways.map((w) => {
    if (w.outcome !== 'delivered') return w.outcome;
    if (!w.isDnat) return 'untouched';
    const at = `${w.destination.ip}:${w.destination.port}`;
    const name = {
      [`${a.localEndpoint}:${ENDPOINT_PORT}`]: 'local',
      [`${a.remoteEndpoint}:${ENDPOINT_PORT}`]: 'remote',
    }[at];
    return `${name ?? at}${w.source === 'kept' ? '' : ' masq'} ${Math.round(w.share * 100)}%`;
  });
  return words.sort().join(', ');
}
