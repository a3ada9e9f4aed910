// Who the node is to the API server: the kubeconfig as it is, or a certificate that the agent asks for and renews.
// After cmd/kubelet/app/server.go buildKubeletClientConfig and the order of steps in pkg/kubelet/certificate/bootstrap.
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import type { KeyPair } from '../../api/pki.ts';
import { type ClientConfig, loadKubeconfig } from '../../client/kubeconfig.ts';
import { RestClient } from '../../client/rest.ts';
import type { Clock } from '../../core/clock.ts';
import type { Logger } from '../../core/log.ts';
import type { Registry } from '../../core/metrics.ts';
import type { Task } from '../../core/tasks.ts';
import type { AgentConfig } from '../config/agent-config.ts';

export interface Identity {
  readonly credentials: ClientConfig;
  /** Keeps the certificate valid; undefined when it is somebody else's business. */
  readonly task?: Task;
  /** Tells which clients show it. */
  readonly follow: (clients: readonly RestClient[]) => void;
}

export interface IdentityDeps {
  readonly userAgent: string;
  readonly registry: Registry;
  readonly clock: Clock;
  readonly log: Logger;
}

/** Deadline of each call of the clients that ask for certificates, ms. */
const CALL_TIMEOUT_MS = 60_000;
const HEALTHZ_TIMEOUT_MS = 1000;

/** @throws {AgentError} for a kubeconfig that cannot be used, and for a bootstrap that was refused. */
export async function createIdentity(
  config: AgentConfig,
  kubeconfig: string,
  deps: IdentityDeps,
  signal: AbortSignal,
): Promise<Identity> {
  const { bootstrapKubeconfig, rotateCertificates } = config.identity;
  const fixed = async () => ({ credentials: await loadKubeconfig(kubeconfig), follow: () => {} });
  if (bootstrapKubeconfig === undefined) return rotateCertificates ? rotating(config, kubeconfig, deps) : fixed();
  const { kubeconfigFault, writeNodeKubeconfig } = await import('../../kubelet/certificates/node-kubeconfig.ts');
  const fault = await kubeconfigFault(kubeconfig, deps.clock.now());
  if (fault === undefined) return rotateCertificates ? rotating(config, kubeconfig, deps) : fixed();
  deps.log.info({ kubeconfig, fault }, 'bootstrapping: the kubeconfig is not in order');
  const bootstrap = await loadKubeconfig(bootstrapKubeconfig);
  const pemFile = path.join(config.node.certDir, 'kubelet-client-current.pem');
  if (rotateCertificates) {
    await writeNodeKubeconfig(kubeconfig, bootstrap, pemFile);
    return rotating(config, kubeconfig, deps, bootstrap);
  }
  await obtainOnce(config, bootstrap, deps, signal);
  await writeNodeKubeconfig(kubeconfig, bootstrap, pemFile);
  return fixed();
}

async function obtainOnce(
  config: AgentConfig,
  bootstrap: ClientConfig,
  deps: IdentityDeps,
  signal: AbortSignal,
): Promise<void> {
  const { bootstrapOnce } = await import('../../kubelet/certificates/bootstrap.ts');
  const client = new RestClient(bootstrap, { userAgent: deps.userAgent, timeoutMs: CALL_TIMEOUT_MS }, deps);
  const healthz = async (s: AbortSignal) => {
    await client.raw('GET', '/healthz', { signal: s, timeoutMs: HEALTHZ_TIMEOUT_MS });
  };
  try {
    await bootstrapOnce(config.nodeName, config.node.certDir, { client, healthz, ...deps }, signal);
  } finally {
    client.closeIdleConnections();
  }
}

/** `bootstrap`: asks with these credentials while there is no certificate. */
async function rotating(
  config: AgentConfig,
  kubeconfig: string,
  deps: IdentityDeps,
  bootstrap?: ClientConfig,
): Promise<Identity> {
  const { nodeName, node } = config;
  const [{ CertificateManager }, { CertificateStore }, templates, metrics, { ClientIdentity }] = await Promise.all([
    import('../../kubelet/certificates/certificate-manager.ts'),
    import('../../kubelet/certificates/certificate-store.ts'),
    import('../../kubelet/certificates/certificate-template.ts'),
    import('../../kubelet/certificates/certificate-metrics.ts'),
    import('../../kubelet/certificates/client-identity.ts'),
  ]);
  const own = await loadKubeconfig(kubeconfig);
  const { clock, log, registry, userAgent } = deps;
  const errors = metrics.renewErrorsMetric('client', registry);
  const initial = await embeddedPair(own);
  let clients: readonly RestClient[] = [];
  const manager: InstanceType<typeof CertificateManager> = new CertificateManager(
    {
      name: 'client',
      signerName: templates.CLIENT_SIGNER,
      usages: templates.CLIENT_USAGES,
      template: () => templates.clientTemplate(nodeName),
      ...(initial === undefined ? {} : { initial }),
    },
    {
      store: new CertificateStore({ dir: node.certDir, prefix: 'kubelet-client', ...pairFiles(own) }),
      client: (hasCertificate) => (hasCertificate ? withCertificate : withoutCertificate),
      onFailure: () => errors.inc(),
      clock,
      log,
    },
  );
  await manager.open();
  metrics.ttlMetric('client', { expiresMs: () => manager.expiresMs, nowMs: () => clock.now() }, registry);
  const options = { userAgent, timeoutMs: CALL_TIMEOUT_MS };
  const shown = { ...own, clientPair: () => manager.current() };
  const withCertificate = new RestClient(shown, options, deps);
  const withoutCertificate = bootstrap === undefined ? withCertificate : new RestClient(bootstrap, options, deps);
  const identity = new ClientIdentity({
    manager,
    renewConnections: () => {
      for (const client of [withCertificate, ...clients]) client.renewConnections();
      // Whoever it was is forgotten: from now on the node speaks for itself.
      if (withoutCertificate !== withCertificate) withoutCertificate.closeIdleConnections();
    },
    hasOthers: own.token !== undefined || own.tokenFile !== undefined || own.exec !== undefined,
    clock,
    log,
  });
  return {
    credentials: { ...own, clientPair: identity.pair },
    task: (signal) => identity.run(signal),
    follow: (all) => {
      clients = all;
    },
  };
}

/** What kubeadm writes into the kubeconfig of a control plane node; the files of others are read by the store. */
async function embeddedPair({ clientCert, clientKey }: ClientConfig): Promise<KeyPair | undefined> {
  if (clientCert === undefined || clientKey === undefined || !('data' in clientCert)) return undefined;
  return {
    cert: clientCert.data,
    key: 'data' in clientKey ? clientKey.data : await readFile(clientKey.file, 'utf8'),
  };
}

function pairFiles({ clientCert, clientKey }: ClientConfig): { certFile?: string; keyFile?: string } {
  if (clientCert === undefined || clientKey === undefined) return {};
  return 'file' in clientCert && 'file' in clientKey ? { certFile: clientCert.file, keyFile: clientKey.file } : {};
}
