// Looks once, before anything is started, at what a kubeconfig names: client-go refuses at once what it cannot read, and
// an agent that only logs it again and again looks as if it worked.
import { X509Certificate } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { createSecureContext } from 'node:tls';
import { AgentError, errnoOf, errorMessage } from '../core/errors.ts';
import type { ClientConfig, PemSource } from './kubeconfig.ts';

/** @throws {AgentError} KUBECONFIG_UNREADABLE for a file that cannot be read, KUBECONFIG_INVALID for what is no PEM or no pair. */
export async function checkCredentials(kubeconfig: string, config: ClientConfig): Promise<void> {
  const [ca, cert, key] = [
    await pemOf(kubeconfig, 'certificate-authority', config.ca),
    await pemOf(kubeconfig, 'client-certificate', config.clientCert),
    await pemOf(kubeconfig, 'client-key', config.clientKey),
  ];
  if (ca !== undefined) tryOut(kubeconfig, 'certificate-authority', () => new X509Certificate(ca));
  if (cert !== undefined && key !== undefined) {
    tryOut(kubeconfig, 'client-certificate', () => createSecureContext({ cert }));
    tryOut(kubeconfig, 'client-key', () => createSecureContext({ cert, key }));
  }
}

async function pemOf(kubeconfig: string, field: string, source: PemSource | undefined): Promise<string | undefined> {
  if (source === undefined) return undefined;
  if ('data' in source) return source.data;
  let text: string;
  try {
    text = await readFile(source.file, 'utf8');
  } catch (cause) {
    const why = errnoOf(cause) ?? errorMessage(cause);
    throw new AgentError(`kubeconfig ${kubeconfig}: ${field} ${source.file} cannot be read: ${why}`, {
      code: 'KUBECONFIG_UNREADABLE',
      cause,
      hint: 'put the file there, or embed it: kubectl config view --raw --flatten',
    });
  }
  if (!text.includes('-----BEGIN ')) throw invalid(kubeconfig, field, `${source.file} is not PEM text`);
  return text;
}

function tryOut(kubeconfig: string, field: string, use: () => unknown): void {
  try {
    use();
  } catch (cause) {
    throw invalid(kubeconfig, field, `cannot be used: ${errorMessage(cause)}`, cause);
  }
}

function invalid(kubeconfig: string, field: string, why: string, cause?: unknown): AgentError {
  return new AgentError(`kubeconfig ${kubeconfig}: ${field} ${why}`, {
    code: 'KUBECONFIG_INVALID',
    cause,
    hint: 'give a kubeconfig that kubectl accepts',
  });
}
