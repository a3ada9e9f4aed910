// The lab's API server: a process of the host, below the bridge of the lab's nodes.
import type { Clock } from '../core/clock.ts';
import { isRunning, spawnDetached, stopProcess } from '../host/process.ts';
import { labAddresses } from './names.ts';
import type { LabFiles } from './pki.ts';
import { type LabState, type LabStateFile, readLabState, without } from './state.ts';

export interface LabApiserverDeps {
  readonly clock: Clock;
  /** The program and first arguments that run nodelet itself. */
  readonly self: readonly [string, ...string[]];
}

const GRACE_MS = 10_000;

export class LabApiserver {
  readonly #dir: string;
  readonly #files: LabFiles;
  readonly #state: LabStateFile;
  readonly #deps: LabApiserverDeps;

  constructor(dir: string, parts: { readonly files: LabFiles; readonly state: LabStateFile }, deps: LabApiserverDeps) {
    this.#dir = dir;
    this.#files = parts.files;
    this.#state = parts.state;
    this.#deps = deps;
  }

  async isRunning(): Promise<boolean> {
    const { apiserver } = await readLabState(this.#dir);
    return apiserver !== undefined && (await isRunning(apiserver));
  }

  /** Resolves when it serves; with the store that is there. */
  async start(signal: AbortSignal): Promise<void> {
    const state = await readLabState(this.#dir);
    const [program, ...first] = this.#deps.self;
    const args = [...first, 'apiserver', ...ownArguments(state, this.#files), ...(state.apiserverArguments ?? [])];
    const started = await spawnDetached(program, args, { logFile: this.#files.apiserverLog });
    await this.#state.update((s) => ({ ...s, apiserver: started.identity }));
    await started.ready(signal);
  }

  /** Idempotent. */
  async stop(): Promise<void> {
    await this.end(await readLabState(this.#dir));
    await this.#state.update((s) => without(s, ['apiserver']));
  }

  /** The process alone: the state is about to go as well. */
  async end({ apiserver }: LabState): Promise<void> {
    if (apiserver !== undefined) await stopProcess(apiserver, GRACE_MS, this.#deps.clock);
  }
}

function ownArguments(state: LabState, files: LabFiles): string[] {
  const addresses = labAddresses(state.index);
  const flags: Readonly<Record<string, string>> = {
    'bind-address': addresses.host,
    'advertise-address': addresses.host,
    'secure-port': String(state.port),
    'tls-cert-file': files.apiserverCert,
    'tls-private-key-file': files.apiserverKey,
    'client-ca-file': files.caCert,
    'service-account-signing-key-file': files.serviceAccountKey,
    'service-account-issuer': 'https://kubernetes.default.svc.cluster.local',
    'service-cluster-ip-range': addresses.serviceCidr,
    'cluster-cidr': addresses.clusterCidr,
    'kubelet-client-certificate': files.kubeletClientCert,
    'kubelet-client-key': files.kubeletClientKey,
    'kubelet-certificate-authority': files.caCert,
    'cluster-signing-cert-file': files.caCert,
    'cluster-signing-key-file': files.caKey,
    'store-dir': files.store,
    'store-durability': 'normal', // a power cut ends the lab's nodes as well
    'authorization-mode': 'Node,RBAC',
  };
  return Object.entries(flags).map(([name, value]) => `--${name}=${value}`);
}
