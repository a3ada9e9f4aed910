// Which version an object of the API server has, asked for in this process: whoever waits for a change of it needs no
// program for each look. A kubectl costs 60 ms of processor time and a handshake, and most looks find nothing new.
import type { KubeObject } from '../../api/meta.ts';
import {
  certificateSigningRequests,
  deployments,
  nodes,
  podDisruptionBudgets,
  pods,
  type ResourceType,
} from '../../api/resources.ts';
import { loadKubeconfig } from '../../client/kubeconfig.ts';
import { RestClient } from '../../client/rest.ts';
import { systemClock } from '../../core/clock.ts';
import { silentLog } from '../../core/log.ts';

/** By the word before the slash, as tests write it. Of others no version is known. */
const KINDS: Readonly<Record<string, ResourceType<KubeObject>>> = {
  csr: certificateSigningRequests,
  deployment: deployments,
  node: nodes,
  pdb: podDisruptionBudgets,
  pod: pods,
};
const ANSWER_MS = 5_000;
const LOOK_AGAIN_MS = 100;
/** Pause when nothing is known of the object, as when the API server is away. */
const UNKNOWN_MS = 200;
/** An object that does not change is looked at as a whole after as long. */
const LONGEST_MS = 3_000;

export class ObjectVersions {
  readonly #kubeconfig: string;
  #client: Promise<RestClient> | undefined;

  constructor(kubeconfig: string) {
    this.#kubeconfig = kubeconfig;
  }

  /** Of `kind/name`; undefined when it cannot be told: another kind, no such object, no answer. */
  async of(object: string, namespace = 'default'): Promise<string | undefined> {
    const [kind = '', name = ''] = object.split('/');
    const type = KINDS[kind];
    if (type === undefined) return undefined;
    try {
      this.#client ??= connect(this.#kubeconfig);
      const client = await this.#client;
      return (await client.get(type, { namespace, name })).metadata?.resourceVersion;
    } catch {
      return undefined; // whoever waits asks in another way, and tells what came back
    }
  }

  /** Waits while the object has this version still, but not for long. */
  async untilOther(object: string, version: string | undefined, namespace?: string): Promise<void> {
    if (version === undefined) return await systemClock.sleep(UNKNOWN_MS);
    const endMs = Date.now() + LONGEST_MS;
    do await systemClock.sleep(LOOK_AGAIN_MS);
    while (Date.now() < endMs && (await this.of(object, namespace)) === version);
  }

  /** To be called when it is not needed any more: open connections stay otherwise. */
  async close(): Promise<void> {
    (await this.#client?.catch(() => undefined))?.closeIdleConnections();
  }
}

async function connect(kubeconfig: string): Promise<RestClient> {
  const config = await loadKubeconfig(kubeconfig);
  const deps = { clock: systemClock, log: silentLog };
  return new RestClient(config, { userAgent: 'nodelet-tests', timeoutMs: ANSWER_MS }, deps);
}
