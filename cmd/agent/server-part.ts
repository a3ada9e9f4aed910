// The kubelet's HTTPS server beside its managers.
import { readFile } from 'node:fs/promises';
import { AgentError, errorMessage } from '../../core/errors.ts';
import type { Task } from '../../core/tasks.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import type { Kubelet } from '../../kubelet/kubelet.ts';
import { type Handlers, sendJson } from '../../kubelet/server/endpoints.ts';
import { KubeletServer } from '../../kubelet/server/server.ts';
import { loadServingCertificate } from '../../kubelet/server/serving-certificate.ts';
import { serverAuth } from './server-auth.ts';
import { nodeEndpoints } from './server-endpoints.ts';
import type { AgentContext } from './shared.ts';

/** No task when the server is switched off. @throws {AgentError} for certificates that cannot be read. */
export async function createServer(
  ctx: AgentContext,
  parts: { readonly kubelet: Kubelet; readonly runtime: RuntimeService; readonly handlers?: Handlers },
): Promise<Record<string, Task>> {
  const { server: settings, node, nodeName } = ctx.config;
  if (!settings.enabled) return {};
  const certificate = await loadServingCertificate(
    {
      tlsCertFile: settings.tlsCertFile,
      tlsPrivateKeyFile: settings.tlsPrivateKeyFile,
      certDir: node.certDir,
      nodeName,
      addresses: node.nodeIps,
    },
    ctx.clock,
  );
  const clientCa = settings.clientCaFile === undefined ? undefined : await readCa(settings.clientCaFile);
  const server = new KubeletServer(
    {
      nodeName,
      address: settings.address,
      port: settings.port,
      healthzAddress: settings.healthzAddress,
      healthzPort: settings.healthzPort,
      certificate,
      readOnlyPort: settings.readOnlyPort,
      tls: settings.tls,
      switches: settings.endpoints,
      streamIdleMs: settings.streamIdleMs,
      translateWebSockets: ctx.config.featureGates.get('ExtendWebSocketsToKubelet') === true,
      splitLogStreams: ctx.config.featureGates.get('PodLogsQuerySplitStreams') === true,
      anonymous: settings.anonymous,
      ...(clientCa === undefined ? {} : { clientCa }),
    },
    {
      pods: parts.kubelet,
      runtime: parts.runtime,
      metrics: ctx.registry,
      ...serverAuth(ctx),
      handlers: {
        ...nodeEndpoints(ctx, { pods: parts.kubelet, runtime: parts.runtime }),
        ...parts.handlers,
      },
      healthChecks: [{ name: 'syncloop', error: () => parts.kubelet.plegError() }],
      clock: ctx.clock,
      log: ctx.log,
    },
        ...configzEndpoint(ctx.config.configz),
  );
  return { server: (signal) => server.run(signal) };
}

async function readCa(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new AgentError(`authentication.x509.clientCAFile=${file}: ${errorMessage(cause)}`, {
      code: 'CONFIG_INVALID',
      cause,
/** The configuration in effect; the name within is the one under which upstream registers it. */
export function configzEndpoint(kubeletconfig: Readonly<Record<string, unknown>>): Handlers {
  return { configz: ({ response }) => sendJson(response, JSON.stringify({ kubeletconfig })) };
}

    });
  }
}
