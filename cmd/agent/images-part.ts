// What the node does with images beside pulling them: credentials, pull records, garbage collection, the list for the
// Node's status.
import { access } from 'node:fs/promises';
import path from 'node:path';
import type { Pod } from '../../api/pod.ts';
import { serviceAccounts } from '../../api/resources.ts';
import { AgentError, errorMessage } from '../../core/errors.ts';
import type { Task } from '../../core/tasks.ts';
import type { Image } from '../../cri/gen/messages.ts';
import type { ImageEvents, ImageService, RuntimeService } from '../../cri/runtime-service.ts';
import { fileSystemFigures } from '../../host/file-system-use.ts';
import type { CredentialProviders } from '../../kubelet/images/credential-providers.ts';
import { ImageGc, type ImageGcDeps } from '../../kubelet/images/image-gc.ts';
import { ImageList } from '../../kubelet/images/image-list.ts';
import { NodeKeyring } from '../../kubelet/images/node-keyring.ts';
import { PullRecords } from '../../kubelet/images/pull-records.ts';
import type { RegistryCredential } from '../../kubelet/runtime/registry-auth.ts';
import { nodeReference } from '../../kubelet/runtime/runtime-deps.ts';
import type { TokenManager } from '../../kubelet/volumes/token-manager.ts';
import { sandboxImage } from './sandbox-image.ts';
import type { AgentContext } from './shared.ts';

const CALL_TIMEOUT_MS = 10_000;
/** What the API server gives when no duration is asked for. */
const TOKEN_SECONDS = 3600;

export interface ImagesPart {
  readonly nodeCredentials: (image: string, pod: Pod) => Promise<readonly RegistryCredential[]>;
  /** Undefined with the gate KubeletEnsureSecretPulledImages off. */
  readonly pullRecords: PullRecords | undefined;
  readonly list: { readonly current: readonly Image[] };
  readonly tasks: Readonly<Record<string, Task>>;
  /** All of them: the disk is full. Returns bytes. */
  readonly removeUnused: (signal: AbortSignal) => Promise<number>;
}

export interface ImagesPartInput {
  /** The kubelet's, resolved. */
  readonly rootDir: string;
  readonly runtime: RuntimeService;
  readonly images: ImageService & ImageEvents;
  readonly tokens: TokenManager;
  /** Images that containers have mounted. */
  readonly mountedImages: () => readonly string[];
  readonly onImageRemoved?: ImageGcDeps['onRemoved'];
}

/** @throws {AgentError} CONFIG_INVALID for plugins that cannot be used as configured. */
export async function createImagesPart(ctx: AgentContext, input: ImagesPartInput): Promise<ImagesPart> {
  const { clock, log, recorder, config } = ctx;
  const { kubelet: settings } = config;
  const { rootDir, runtime, images } = input;
  const keyring = new NodeKeyring(
    { rootDir, workingDir: process.cwd(), homeDir: process.env.HOME ?? '' },
    { clock, log },
  );
  const providers = await credentialProviders(ctx, input);
  const pullRecords = await preparedRecords(ctx, input);
  const gc = new ImageGc(
    {
      minAgeMs: settings.imageMinimumGCAgeMs,
      maxAgeMs: settings.imageMaximumGCAgeMs,
      highPercent: settings.imageGCHighThresholdPercent,
      lowPercent: settings.imageGCLowThresholdPercent,
    },
    {
      runtime,
      images,
      alsoInUse: async (signal) => [...(await sandboxImages(runtime, signal)), ...input.mountedImages()],
      fileSystem: fileSystemFigures,
      onCollected: async (ids, startedAtMs) => await pullRecords?.prune(ids, startedAtMs),
      ...(input.onImageRemoved === undefined ? {} : { onRemoved: input.onImageRemoved }),
      recorder,
      node: nodeReference(config.nodeName),
      clock,
      log,
    },
  );
  const list = new ImageList(images, { clock, log });
  return {
    nodeCredentials: async (image, pod) => [
      ...(await keyring.lookup(image)),
      ...((await providers?.lookup(image, pod)) ?? []),
    ],
    pullRecords,
    list,
    tasks: { images: (s) => list.run(s), 'image garbage collection': (s) => gc.run(s) },
    removeUnused: (s) => gc.removeUnused(s),
  };
}

async function preparedRecords(ctx: AgentContext, { rootDir, images }: ImagesPartInput) {
  const { config, clock, log } = ctx;
  if (!config.featureGates.get('KubeletEnsureSecretPulledImages')) return undefined;
  const { imagePullCredentialsVerificationPolicy: policy, preloadedImagesVerificationAllowlist: allowlist } =
    config.kubelet;
  const records = new PullRecords({ rootDir, policy, allowlist }, { images, clock, log });
  await records.recover();
  return records;
}

/** Runtimes before containerd 1.7 do not say that the image of sandboxes is pinned; they tell its name. */
async function sandboxImages(runtime: RuntimeService, signal: AbortSignal): Promise<string[]> {
  const name = await sandboxImage(runtime, signal);
  return name === undefined ? [] : [name];
}

/** Loaded only on nodes that use plugins: few do. */
async function credentialProviders(
  ctx: AgentContext,
  { tokens }: ImagesPartInput,
): Promise<CredentialProviders | undefined> {
  const { config, client, clock, log, exec } = ctx;
  if (config.credentialProviders === undefined) return undefined;
  const { configPath, binDir } = config.credentialProviders;
  const faults: string[] = [];
  const { parseProviderConfigs } = await import('../../kubelet/images/provider-config.ts');
  const { CredentialProviders } = await import('../../kubelet/images/credential-providers.ts');
  const { readProviderDocuments } = await import('../../kubelet/images/provider-files.ts');
  const { providerMetrics } = await import('../../kubelet/images/provider-metrics.ts');
  const { documents, hash } = await readProviderDocuments(configPath).catch((err: unknown) => {
    throw invalid(configPath, errorMessage(err));
  });
  const configs = parseProviderConfigs(documents, (fault) => faults.push(fault));
  for (const { name } of configs) {
    const program = path.join(binDir, name);
    await access(program).catch(() => faults.push(`plugin binary executable ${program} did not exist`));
  }
  if (faults.length > 0) throw invalid(configPath, faults.join('; '));
  return new CredentialProviders(configs, binDir, {
    exec,
    env: process.env,
    serviceAccount: async (namespace, name) => {
      const { metadata } = await client.get(serviceAccounts, { namespace, name }, { timeoutMs: CALL_TIMEOUT_MS });
      return { uid: metadata?.uid ?? '', namespace, name, annotations: metadata?.annotations ?? {} };
    },
    token: (pod, audience) =>
      tokens.token(
        {
          podName: pod.metadata?.name ?? '',
          podUid: pod.metadata?.uid ?? '',
          namespace: pod.metadata?.namespace ?? '',
          serviceAccount: pod.spec?.serviceAccountName ?? '',
          audience,
          expirationSeconds: TOKEN_SECONDS,
        },
        AbortSignal.timeout(CALL_TIMEOUT_MS),
      ),
    observe: providerMetrics(ctx.registry, hash),
    clock,
    log,
  });
}

function invalid(configPath: string, problem: string): AgentError {
  return new AgentError(`--image-credential-provider-config=${configPath}: ${problem}`, { code: 'CONFIG_INVALID' });
}
