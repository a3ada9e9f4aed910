// Exec credential plugins (client.authentication.k8s.io): a program that prints a token or a certificate, as cloud
// providers ship them. After client-go plugin/pkg/client/auth/exec.
import { execFile } from 'node:child_process';
import { AgentError, errorMessage } from '../core/errors.ts';
import type { ClientConfig, ExecPlugin } from './kubeconfig.ts';

export interface ExecCredential {
  readonly token: string | undefined;
  readonly clientCertificate: string | undefined;
  readonly clientKey: string | undefined;
  /** Wall ms; undefined: good for as long as the process lives. */
  readonly expiresMs: number | undefined;
}

/** Runs the plugin with this KUBERNETES_EXEC_INFO and gives its standard output. */
export type RunPlugin = (plugin: ExecPlugin, execInfo: string) => Promise<string>;

/** Plugins ask the network; a hung one must not stop the node for ever, ms. */
const PLUGIN_TIMEOUT_MS = 60_000;
const MAX_OUTPUT_BYTES = 1 << 20;

export const runPlugin: RunPlugin = (plugin, execInfo) =>
  new Promise((resolve, reject) => {
    const env = { ...process.env, ...plugin.env, KUBERNETES_EXEC_INFO: execInfo };
    const opts = { env, timeout: PLUGIN_TIMEOUT_MS, maxBuffer: MAX_OUTPUT_BYTES, killSignal: 'SIGKILL' as const };
    const child = execFile(plugin.command, [...plugin.args], opts, (err, stdout, stderr) => {
      if (err === null) resolve(stdout);
      else reject(new Error(stderr.trim().split('\n').at(-1) || err.message, { cause: err }));
    });
    child.stdin?.end();
  });

/** @throws {AgentError} EXEC_CREDENTIAL_FAILED, naming the command. */
export async function requestExecCredential(
  plugin: ExecPlugin,
  config: ClientConfig,
  run: RunPlugin,
): Promise<ExecCredential> {
  try {
    return parseCredential(await run(plugin, execInfoOf(plugin, config)), plugin.apiVersion);
  } catch (cause) {
    throw new AgentError(`credential plugin ${plugin.command} failed: ${errorMessage(cause)}`, {
      code: 'EXEC_CREDENTIAL_FAILED',
      cause,
      retryable: true,
      hint: plugin.installHint ?? 'run the command of users[].user.exec in the kubeconfig by hand',
    });
  }
}

function execInfoOf(plugin: ExecPlugin, config: ClientConfig): string {
  const ca = config.ca !== undefined && 'data' in config.ca ? config.ca.data : undefined;
  const cluster = {
    server: config.server,
    ...(config.tlsServerName === undefined ? {} : { 'tls-server-name': config.tlsServerName }),
    ...(config.insecureSkipTlsVerify ? { 'insecure-skip-tls-verify': true } : {}),
    ...(ca === undefined ? {} : { 'certificate-authority-data': Buffer.from(ca).toString('base64') }),
  };
  const spec = { interactive: false, ...(plugin.provideClusterInfo ? { cluster } : {}) };
  return JSON.stringify({ kind: 'ExecCredential', apiVersion: plugin.apiVersion, spec });
}

function parseCredential(output: string, apiVersion: string): ExecCredential {
  const credential = JSON.parse(output) as {
    apiVersion?: unknown;
    kind?: unknown;
    status?: Record<string, unknown> | null;
  };
  if (credential?.kind !== 'ExecCredential' || credential.apiVersion !== apiVersion) {
    throw new Error(`it did not print an ExecCredential of ${apiVersion}`);
  }
  const status = credential.status ?? {};
  const text = (name: string): string | undefined => {
    const value = status[name];
    return typeof value === 'string' && value !== '' ? value : undefined;
  };
  const [token, clientCertificate, clientKey] = [text('token'), text('clientCertificateData'), text('clientKeyData')];
  if ((clientCertificate === undefined) !== (clientKey === undefined)) throw new Error('it printed half a key pair');
  if (token === undefined && clientCertificate === undefined)
    throw new Error('it printed neither token nor certificate');
  const expires = text('expirationTimestamp');
  const expiresMs = expires === undefined ? undefined : Date.parse(expires);
  if (Number.isNaN(expiresMs)) throw new Error(`its expirationTimestamp ${JSON.stringify(expires)} is not a time`);
  return { token, clientCertificate, clientKey, expiresMs };
}
