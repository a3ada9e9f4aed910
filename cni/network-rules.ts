// Masquerading and forwarding rules of every family, in the form that the node uses: iptables or nftables.
import { parseCidr } from '../api/cidr.ts';
import { errorMessage } from '../core/errors.ts';
import type { Logger } from '../core/log.ts';
import type { Exec } from '../host/exec.ts';
import { applyMasquerade, isMasqueradeInPlace, type MasqueradeOptions, removeMasquerade } from './masquerade.ts';
import { applyMasqueradeNft, listMasqueradeNft, removeMasqueradeNft } from './masquerade-nft.ts';

export type RuleForm = 'iptables' | 'nftables';

export class NetworkRules {
  readonly #form: RuleForm;
  readonly #exec: Exec;
  readonly #log: Logger;
  /** What nft listed after our own change, by family: its text differs between versions, ours need not know how. */
  readonly #listed = new Map<4 | 6, string | undefined>();
  #sweptOther = false;

  constructor(form: RuleForm, deps: { exec: Exec; log: Logger }) {
    this.#form = form;
    this.#exec = deps.exec;
    this.#log = deps.log;
  }

  /** True when the rules of all families are as they should be. Cheap: it looks at our own chains only. */
  async inPlace(families: readonly MasqueradeOptions[], signal: AbortSignal): Promise<boolean> {
    for (const opts of families) {
      if (!(await this.#isInPlace(opts, signal))) return false;
    }
    return true;
  }

  /** Puts missing rules in place; at the first call removes those of the other form. */
  async ensure(families: readonly MasqueradeOptions[], signal: AbortSignal): Promise<void> {
    for (const opts of families) {
      if (await this.#isInPlace(opts, signal)) continue;
      if (this.#form === 'iptables') await applyMasquerade(this.#exec, opts, signal);
      else {
        const { version } = parseCidr(opts.network);
        await applyMasqueradeNft(this.#exec, opts, signal);
        this.#listed.set(version, await listMasqueradeNft(this.#exec, version, signal));
      }
    }
    if (this.#sweptOther) return;
    this.#sweptOther = true;
    await this.#remove(this.#form === 'iptables' ? 'nftables' : 'iptables', signal);
  }

  /** Removes the rules of both forms and families. Idempotent. */
  async removeAll(signal: AbortSignal): Promise<void> {
    await this.#remove('nftables', signal);
    await this.#remove('iptables', signal);
  }

  async #isInPlace(opts: MasqueradeOptions, signal: AbortSignal): Promise<boolean> {
    if (this.#form === 'iptables') return await isMasqueradeInPlace(this.#exec, opts, signal);
    const { version } = parseCidr(opts.network);
    const ours = this.#listed.get(version);
    return ours !== undefined && (await listMasqueradeNft(this.#exec, version, signal)) === ours;
  }

  /** A tool or family that this host does not have made no rules either. */
  async #remove(form: RuleForm, signal: AbortSignal): Promise<void> {
    for (const version of [4, 6] as const) {
      try {
        if (form === 'iptables') await removeMasquerade(this.#exec, version, signal);
        else await removeMasqueradeNft(this.#exec, version, signal);
      } catch (err) {
        this.#log.debug({ form, version, reason: errorMessage(err) }, 'no rules of this form could be removed');
      }
    }
  }
}
