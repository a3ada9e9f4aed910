// A proxier of one IP family for the matrix of Services, over the real tools of a namespace or a stand-in for them.
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';
import type { Exec } from '../../host/exec.ts';
import { FamilyProxier } from '../../proxy/family-proxier.ts';
import { IptablesBackend, type IptablesVariant } from '../../proxy/iptables/iptables.ts';
import { NftablesBackend, type NftablesDeps } from '../../proxy/nftables/nftables.ts';
import type { NftOptions } from '../../proxy/nftables/table.ts';
import type { RuleBackend } from '../../proxy/rule-backend.ts';
import { type Family, keyOf, type Mode, ruleOptions, type Shape, serviceOf, sliceOf } from './service-matrix.ts';

export interface BackendChoice {
  readonly mode: Mode;
  readonly family: Family;
  /** Of the iptables mode. */
  readonly variant?: IptablesVariant;
  readonly options?: Partial<NftOptions>;
  /** Of the nftables mode. */
  readonly deps?: Partial<NftablesDeps>;
}

export function matrixBackend(exec: Exec, { mode, family, variant, options, deps }: BackendChoice): RuleBackend {
  const all = { ...ruleOptions(mode, family), ...options };
  if (mode === 'nftables') return new NftablesBackend(all, { exec, clock: systemClock, ...deps });
  return new IptablesBackend(all, { exec, ...(variant === undefined ? {} : { variant }) });
}

export function proxierOver(backend: RuleBackend, exec: Exec, clock = systemClock): FamilyProxier {
  const opts = { nodeName: 'node-a', fullSyncIntervalMs: 3_600_000 };
  return new FamilyProxier(opts, { backend, exec, clock, log: silentLog });
}

export function matrixProxier(exec: Exec, choice: BackendChoice): FamilyProxier {
  return proxierOver(matrixBackend(exec, choice), exec, choice.deps?.clock);
}

/** Services come, with their slices; or go, when `isThere` is false. The next sync writes them. */
export function putShapes(proxier: FamilyProxier, shapes: readonly Shape[], isThere = true): void {
  for (const shape of shapes) {
    proxier.handleService(keyOf(shape), isThere ? serviceOf(shape, proxier.family) : undefined);
    const slice = sliceOf(shape, proxier.family);
    if (slice === undefined) continue;
    if (isThere) proxier.handleSlice(slice);
    else proxier.endpoints.handleGone(slice);
  }
}
