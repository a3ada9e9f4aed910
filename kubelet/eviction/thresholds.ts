// Eviction thresholds: read from the configuration, and compared with what is there. Pure. After
// pkg/kubelet/eviction/helpers.go (ParseThresholdConfig).
import { parseQuantity, type Quantity, quantityOf, quantityValue } from '../../api/quantity.ts';
import { AgentError } from '../../core/errors.ts';
import { isSignal, type Signal } from './signals.ts';

/** An amount, or a share of the capacity from 0 to 1. */
export type ThresholdValue = { readonly quantity: Quantity } | { readonly fraction: number };

export interface Threshold {
  readonly signal: Signal;
  readonly value: ThresholdValue;
  /** 0 for a hard threshold. */
  readonly graceMs: number;
  readonly isHard: boolean;
  /** How far beyond the threshold the node must come before the shortage counts as over. */
  readonly minReclaim?: ThresholdValue;
}

/** As in KubeletConfiguration: signal → quantity, or percentage such as `10%`. */
export interface ThresholdSettings {
  readonly hard: Readonly<Record<string, string>>;
  readonly soft: Readonly<Record<string, string>>;
  readonly softGraceMs: Readonly<Record<string, number>>;
  readonly minReclaim: Readonly<Record<string, string>>;
  /** enforceNodeAllocatable has `pods`: what all pods together may use is watched as well. */
  readonly enforcesPods: boolean;
}

export interface EvictionSettings extends ThresholdSettings {
  /** evictionPressureTransitionPeriod, ms. */
  readonly transitionMs: number;
  /** evictionMaxPodGracePeriod: what pods get for soft thresholds, s. */
  readonly maxPodGraceSeconds: number;
  /** localStorageCapacityIsolation: pods beyond their own limits of storage go as well. */
  readonly enforcesLocalLimits: boolean;
}

/** @throws {AgentError} CONFIG_INVALID in the words of the kubelet. */
export function parseThresholds(settings: ThresholdSettings): Threshold[] {
  const reclaim = parseValues(settings.minReclaim, parseReclaim);
  const parsed: Threshold[] = [];
  const add = (signal: Signal, value: ThresholdValue, graceMs: number, isHard: boolean) => {
    const minReclaim = reclaim.get(signal);
    parsed.push({ signal, value, graceMs, isHard, ...(minReclaim === undefined ? {} : { minReclaim }) });
  };
  for (const [signal, value] of parseValues(settings.hard, parseThreshold)) add(signal, value, 0, true);
  for (const [signal, value] of parseValues(settings.soft, parseThreshold)) {
    add(signal, value, graceOf(signal, settings.softGraceMs), false);
  }
  return settings.enforcesPods ? [...parsed, ...allocatableCopies(parsed)] : parsed;
}

function parseValues(
  texts: Readonly<Record<string, string>>,
  parse: (signal: Signal, text: string) => ThresholdValue | undefined,
): Map<Signal, ThresholdValue> {
  const values = new Map<Signal, ThresholdValue>();
  for (const [signal, text] of Object.entries(texts)) {
    if (!isSignal(signal)) throw invalid(`unsupported eviction signal ${signal}`);
    const value = parse(signal, text);
    if (value !== undefined) values.set(signal, value);
  }
  return values;
}

function graceOf(signal: Signal, graces: Readonly<Record<string, number>>): number {
  const graceMs = graces[signal];
  if (graceMs === undefined) throw invalid(`grace period must be specified for the soft eviction threshold ${signal}`);
  if (graceMs < 0) throw invalid(`invalid eviction grace period specified: ${signal}, must be a positive value`);
  return graceMs;
}

/** Undefined for the two ways to write "off". */
function parseThreshold(signal: Signal, text: string): ThresholdValue | undefined {
  if (text === '0%' || text === '100%') return undefined;
  const fraction = parseFraction(text);
  if (fraction !== undefined) {
    if (fraction < 0) throw invalid(`eviction percentage threshold ${signal} must be >= 0%: ${text}`);
    if (fraction > 1) throw invalid(`eviction percentage threshold ${signal} must be <= 100%: ${text}`);
    return { fraction };
  }
  const quantity = readQuantity(signal, text);
  if (quantity.nanos <= 0n) throw invalid(`eviction threshold ${signal} must be positive: ${text}`);
  return { quantity };
}

function parseReclaim(signal: Signal, text: string): ThresholdValue {
  const fraction = parseFraction(text);
  if (fraction !== undefined) {
    if (fraction <= 0) throw invalid(`eviction percentage minimum reclaim ${signal} must be positive: ${text}`);
    return { fraction };
  }
  const quantity = readQuantity(signal, text);
  if (quantity.nanos < 0n) throw invalid(`negative eviction minimum reclaim specified for ${signal}`);
  return { quantity };
}

function parseFraction(text: string): number | undefined {
  const percent = /^([+-]?\d+(?:\.\d+)?)%$/.exec(text)?.[1];
  return percent === undefined ? undefined : Number(percent) / 100;
}

function readQuantity(signal: Signal, text: string): Quantity {
  try {
    return parseQuantity(text);
  } catch (cause) {
    throw invalid(`eviction threshold ${signal}: ${text} is no quantity`, cause);
  }
}

/** The kernel kills in the cgroup of all pods when that is full: pods are to be evicted before. */
function allocatableCopies(thresholds: readonly Threshold[]): Threshold[] {
  return thresholds
    .filter((t) => t.isHard && t.signal === 'memory.available')
    .map((t) => ({ ...t, signal: 'allocatableMemory.available' as const }));
}

/**
 * Adds thresholds for the file system of writable layers. They are not configured: the layers lie with the images, and
 * have the thresholds of the file system that the images are on.
 */
export function withContainerFs(thresholds: readonly Threshold[], hasImageFs: boolean): Threshold[] {
  const others = thresholds.filter((t) => !t.signal.startsWith('containerfs.'));
  const from = hasImageFs ? 'imagefs.' : 'nodefs.';
  const copies = others
    .filter((t) => t.signal.startsWith(from))
    .map((t) => ({ ...t, signal: t.signal.replace(from, 'containerfs.') as Signal }));
  return [...others, ...copies];
}

/** What the value comes to where there is `capacity` in all. */
export function amountOf(value: ThresholdValue, capacity: number): Quantity {
  if ('quantity' in value) return value.quantity;
  return quantityOf(Math.floor(capacity * value.fraction), 'BinarySI');
}

/** Less is available than the threshold says; with `reclaiming`, than threshold and minimum reclaim together. */
export function isMet(
  threshold: Threshold,
  observed: { readonly available: number; readonly capacity: number },
  reclaiming: boolean,
): boolean {
  const extra = reclaiming && threshold.minReclaim !== undefined ? threshold.minReclaim : undefined;
  const wanted =
    quantityValue(amountOf(threshold.value, observed.capacity)) +
    (extra === undefined ? 0 : quantityValue(amountOf(extra, observed.capacity)));
  return observed.available < wanted;
}

function invalid(message: string, cause?: unknown): AgentError {
  return new AgentError(message, {
    code: 'CONFIG_INVALID',
    ...(cause === undefined ? {} : { cause }),
    hint: 'see evictionHard, evictionSoft and evictionMinimumReclaim in the KubeletConfiguration',
  });
}
