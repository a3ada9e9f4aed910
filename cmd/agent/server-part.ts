// The kubelet's HTTPS server beside its managers.
import { readFile } from 'node:fs/promises';
import { aborted } from '../../core/abort.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import type { Task } from '../../core/tasks.ts';
import type { RuntimeService } from '../../cri/runtime-service.ts';
import type { Kubelet } from '../../kubelet/kubelet.ts';
import type { SliMetrics } from '../../kubelet/metrics/sli-metrics.ts';
import { ClientCaFile } from '../../kubelet/server/client-ca-file.ts';
import { type Handlers, sendJson } from '../../kubelet/server/endpoints.ts';
import type { HealthCheck } from '../../kubelet/server/healthz.ts';
import { HealthzServer } from '../../kubelet/server/healthz-server.ts';
import { KubeletServer } from '../../kubelet/server/server.ts';
import { serverAuth } from './server-auth.ts';
import { nodeEndpoints } from './server-endpoints.ts';
import { createServingCertificates } from './serving-part.ts';
import type { AgentContext } from './shared.ts';

/** The health port alone when the server is switched off. @throws {AgentError} for certificates that cannot be read. */
export async function createServer(
  ctx: AgentContext,
  parts: {
    readonly kubelet: Kubelet;
    readonly runtime: RuntimeService;
    readonly handlers?: Handlers;
    readonly slis?: SliMetrics;
    /** After `syncloop`. */
    readonly healthChecks?: readonly HealthCheck[];
  },
): Promise<Record<string, Task>> {
  const { server: settings, nodeName } = ctx.config;
  if (!settings.enabled) return healthPortAlone(ctx);
  const certificates = await createServingCertificates(ctx);
  const clientCa = settings.clientCaFile === undefined ? undefined : await readCa(settings.clientCaFile);
  const server = new KubeletServer(
    {
      nodeName,
      address: settings.address,
      port: settings.port,
      healthzAddress: settings.healthzAddress,
      healthzPort: settings.healthzPort,
      certificate: certificates.current(),
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
      handlers: servedBy(ctx.config.featureGates, {
        ...nodeEndpoints(ctx, { pods: parts.kubelet, runtime: parts.runtime }),
        ...configzEndpoint(ctx.config.configz),
        ...parts.handlers,
      }),
      onHealthCheck: (name, ok) => parts.slis?.observe(name, ok),
      healthChecks: [{ name: 'syncloop', error: () => parts.kubelet.plegError() }, ...(parts.healthChecks ?? [])],
      clock: ctx.clock,
      log: ctx.log,
    },
  );
  const caFile = reloadedCa(ctx, clientCa);
  return {
    server: (signal) => server.run(signal),
    'serving certificate': async (signal) => {
      await certificates.run((pair) => server.setCertificate(pair), signal);
      await aborted(signal); // one that never changes
    },
    ...(caFile === undefined ? {} : { 'client CA': (signal) => caFile.run((pem) => server.setClientCa(pem), signal) }),
  };
}

/** Whoever supervises the agent asks there, also where enableServer is false. */
export function healthPortAlone({
  config,
  clock,
  log,
}: Pick<AgentContext, 'config' | 'clock' | 'log'>): Record<string, Task> {
  const { healthzAddress: address, healthzPort: port } = config.server;
  if (port === 0) return {};
  const healthz = new HealthzServer({ address, port }, { clock, log });
  return { healthz: (signal) => healthz.run(signal) };
}

/** Endpoints that a feature gate can take away. */
const GATED = { checkpoint: 'ContainerCheckpoint', statusz: 'ComponentStatusz', flagz: 'ComponentFlagz' } as const;

export function servedBy(gates: ReadonlyMap<string, boolean>, handlers: Handlers): Handlers {
  const off = Object.entries(GATED).filter(([, gate]) => gates.get(gate) === false);
  return { ...handlers, ...Object.fromEntries(off.map(([kind]) => [kind, undefined])) };
}

/** The configuration in effect; the name within is the one under which upstream registers it. */
function configzEndpoint(kubeletconfig: Readonly<Record<string, unknown>>): Handlers {
  return { configz: ({ response }) => sendJson(response, JSON.stringify({ kubeletconfig })) };
}

/** Undefined where the bundle is read once only. */
function reloadedCa({ config, clock, log }: AgentContext, pem: string | undefined): ClientCaFile | undefined {
  const isOn = config.featureGates.get('ReloadKubeletClientCAFile') === true;
  return pem === undefined || !isOn ? undefined : new ClientCaFile(config.server.clientCaFile!, pem, { clock, log });
}

async function readCa(file: string): Promise<string> {
  try {
    return await readFile(file, 'utf8');
  } catch (cause) {
    throw new AgentError(`authentication.x509.clientCAFile=${file}: ${errorMessage(cause)}`, {
      code: 'CONFIG_INVALID',
      cause,
    });
  }
}
