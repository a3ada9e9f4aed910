// Which certificate the node's HTTPS server shows: one that the cluster signs, the files that are configured, or a pair of
// its own making. Only what is used is loaded.
import path from 'node:path';
import type { ServingCertificates } from '../../kubelet/certificates/serving-certificates.ts';
import { loadServingCertificate } from '../../kubelet/server/serving-certificate.ts';
import type { AgentContext } from './shared.ts';

/** @throws {AgentError} for certificates that cannot be read. */
export async function createServingCertificates(ctx: AgentContext): Promise<ServingCertificates> {
  const { server, node, nodeName, identity } = ctx.config;
  if (identity.serverTlsBootstrap && !ctx.standalone) return signedByCluster(ctx);
  const { tlsCertFile, tlsPrivateKeyFile } = server;
  const { certDir, nodeIps: addresses } = node;
  const pair = await loadServingCertificate(
    { tlsCertFile, tlsPrivateKeyFile, certDir, nodeName, addresses },
    ctx.clock,
  );
  if (!identity.reloadServingFiles) return { current: () => pair, run: async () => {} };
  const { ServingCertificateFiles } = await import('../../kubelet/certificates/serving-certificates.ts');
  const files = {
    certFile: tlsCertFile ?? path.join(certDir, 'kubelet.crt'),
    keyFile: tlsPrivateKeyFile ?? path.join(certDir, 'kubelet.key'),
  };
  return new ServingCertificateFiles(files, pair, ctx);
}

async function signedByCluster(ctx: AgentContext): Promise<ServingCertificates> {
  const { server, node, nodeName, identity } = ctx.config;
  const [{ CertificateManager }, { CertificateStore }, templates, metrics] = await Promise.all([
    import('../../kubelet/certificates/certificate-manager.ts'),
    import('../../kubelet/certificates/certificate-store.ts'),
    import('../../kubelet/certificates/certificate-template.ts'),
    import('../../kubelet/certificates/certificate-metrics.ts'),
  ]);
  const { registry, clock, log, ownNode } = ctx;
  const { tlsCertFile: certFile, tlsPrivateKeyFile: keyFile } = server;
  const { namesSuffice } = identity;
  const errors = metrics.renewErrorsMetric('serving', registry);
  const age = metrics.rotationAgeMetric(registry);
  const manager = new CertificateManager(
    {
      name: 'serving',
      signerName: templates.SERVING_SIGNER,
      usages: templates.SERVING_USAGES,
      template: () => {
        const addresses = ownNode.store.get(nodeName)?.status?.addresses ?? [];
        return templates.servingTemplate(nodeName, addresses, { namesSuffice });
      },
    },
    {
      store: new CertificateStore({
        dir: node.certDir,
        prefix: 'kubelet-server',
        ...(certFile === undefined || keyFile === undefined ? {} : { certFile, keyFile }),
      }),
      client: () => ctx.client,
      onFailure: () => errors.inc(),
      onRotated: (seconds) => age.observe(seconds),
      clock,
      log,
    },
  );
  await manager.open();
  metrics.ttlMetric('serving', { expiresMs: () => manager.expiresMs, nowMs: () => clock.now() }, registry);
  return {
    current: () => manager.current(),
    run: async (use, signal) => {
      using _certificates = manager.onChange(use);
      const look = () => manager.templateChanged();
      using _addresses = ownNode.store.subscribe({ onAdd: look, onUpdate: look });
      await manager.run(signal);
    },
  };
}
