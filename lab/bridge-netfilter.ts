// br_netfilter: without it, packets between two pods of one node pass the bridge unseen by iptables, so that a Service
// whose endpoint is on the client's own node does not answer. Distributions ship it as a module that nothing loads by
// itself, and a lab's nodes share the kernel of the host.
import { access } from 'node:fs/promises';
import { errnoOf, isAgentError } from '../core/errors.ts';
import type { Exec } from '../host/exec.ts';

const PROOF = '/proc/sys/net/bridge/bridge-nf-call-iptables';

/** Loads the module where it is missing. Returns what is amiss afterwards, or undefined. */
export async function ensureBridgeNetfilter(exec: Exec, proof = PROOF): Promise<string | undefined> {
  if (await exists(proof)) return undefined;
  const fault = await load(exec);
  if (fault === undefined || (await exists(proof))) return undefined;
  return `br_netfilter cannot be loaded (${fault}): a Service may not reach pods of the node that asks it`;
}

async function load(exec: Exec): Promise<string | undefined> {
  try {
    const r = await exec('modprobe', ['br_netfilter']);
    return r.code === 0 ? undefined : r.stderr.trim();
  } catch (err) {
    if (isAgentError(err, 'EXEC_NOT_FOUND')) return err.message;
    throw err;
  }
}

async function exists(file: string): Promise<boolean> {
  try {
    await access(file);
    return true;
  } catch (err) {
    if (errnoOf(err) === 'ENOENT') return false;
    throw err;
  }
}
