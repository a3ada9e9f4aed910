// Who may do what on the API server, and what reaches on to kubelets: made from the flags and handed in.
import type { ApiServer, ApiServerExtensions } from '../../apiserver/apiserver.ts';
import { type AuthorizationMode, createAuth } from '../../apiserver/auth/auth.ts';
import { decodeProtobuf } from '../../apiserver/protobuf/decoder.ts';
import { proxyingSubresources } from '../../apiserver/proxying/subresources.ts';
import type { Clock } from '../../core/clock.ts';
import { AgentError } from '../../core/errors.ts';
import type { Logger } from '../../core/log.ts';
import type { ApiserverFlags } from '../apiserver.ts';

export interface ExtensionDeps {
  readonly clock: Clock;
  readonly log: Logger;
  readonly readFlagFile: (flag: string, file: string) => Promise<string>;
}

/** @throws {AgentError} CONFIG_INVALID, KEY_INVALID */
export async function createExtensions(
  flags: ApiserverFlags,
  server: ApiServer,
  { clock, log, readFlagFile }: ExtensionDeps,
): Promise<ApiServerExtensions> {
  const auth = createAuth(
    {
      authorizationModes: parseModes(flags.authorizationMode),
      serviceAccountKey: await readFlagFile('service-account-signing-key-file', flags.serviceAccountSigningKeyFile),
      issuer: flags.serviceAccountIssuer,
      publicUrl: `https://${flags.advertiseAddress ?? flags.bindAddress}:${flags.securePort}`,
      ...(flags.tokenAuthFile === undefined
        ? {}
        : { tokenFile: await readFlagFile('token-auth-file', flags.tokenAuthFile) }),
    },
    { reader: server.registry, clock, log },
  );
  const kubeletTls = {
    ...(await optionalFile('cert', 'kubelet-client-certificate', flags.kubeletClientCertificate)),
    ...(await optionalFile('key', 'kubelet-client-key', flags.kubeletClientKey)),
    ...(await optionalFile('ca', 'kubelet-certificate-authority', flags.kubeletCertificateAuthority)),
  };
  const proxying = proxyingSubresources({ kubeletTls }, server.registry);
  return { ...auth, subresources: [...auth.subresources, ...proxying], protobuf: decodeProtobuf };

  async function optionalFile<K extends string>(
    member: K,
    flag: string,
    file: string | undefined,
  ): Promise<Partial<Record<K, string>>> {
    return file === undefined ? {} : ({ [member]: await readFlagFile(flag, file) } as Record<K, string>);
  }
}

const MODES: readonly AuthorizationMode[] = ['Node', 'RBAC', 'AlwaysAllow'];

function parseModes(text: string): AuthorizationMode[] {
  return text.split(',').map((name) => {
    const mode = MODES.find((m) => m === name.trim());
    if (mode !== undefined) return mode;
    throw new AgentError(`--authorization-mode=${text}: ${name} is not one of ${MODES.join(', ')}`, {
      code: 'CONFIG_INVALID',
    });
  });
}
