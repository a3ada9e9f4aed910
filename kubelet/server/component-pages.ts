// /statusz and /flagz: what runs, since when, started how; for eyes as text, for programs as JSON when they ask for it.
// After component-base zpages.
import type { Handler } from './endpoints.ts';
import { HttpError, sendText } from './http-error.ts';

const WARNING =
  'Warning: This endpoint is not meant to be machine parseable, has no formatting compatibility guarantees and is for debugging purposes only.';

export interface ComponentStatus {
  /** Wall ms. */
  readonly startedMs: number;
  readonly nowMs: number;
  /** `v1.36.0` */
  readonly kubernetesVersion: string;
  readonly paths: readonly string[];
}

export function statuszEndpoint(status: () => ComponentStatus): Handler {
  return ({ request, response }) => {
    const form = acceptedForm(request.headers.accept, 'Statusz');
    const { startedMs, nowMs, kubernetesVersion, paths } = status();
    const upSeconds = Math.max(0, Math.floor((nowMs - startedMs) / 1000));
    const binaryVersion = kubernetesVersion.replace(/^v/, '');
    const emulationVersion = binaryVersion.split('.').slice(0, 2).join('.');
    if (form !== 'text') {
      return sendObject(response, form, {
        startTime: `${new Date(startedMs).toISOString().slice(0, 19)}Z`,
        uptimeSeconds: upSeconds,
        goVersion: process.version,
        binaryVersion,
        emulationVersion,
        paths,
      });
    }
    const lines = [
      `Started: ${new Date(startedMs).toUTCString()}`,
      `Up: ${upText(upSeconds)}`,
      `Go version: ${process.version}`, // what there is in its place
      `Binary version: ${binaryVersion}`,
      `Emulation version: ${emulationVersion}`,
      `Paths: ${paths.join(' ')}`,
    ];
    sendText(response, 200, `\nkubelet statusz\n${WARNING}\n\n${lines.join('\n')}\n`);
  };
}

export function flagzEndpoint(flags: () => Readonly<Record<string, string>>): Handler {
  return ({ request, response }) => {
    const form = acceptedForm(request.headers.accept, 'Flagz');
    const sorted = Object.entries(flags()).sort(([a], [b]) => (a < b ? -1 : 1));
    if (form !== 'text') return sendObject(response, form, { flags: Object.fromEntries(sorted) });
    const lines = sorted.map(([name, value]) => `${name}=${value}`);
    sendText(response, 200, `\nkubelet flagz\n${WARNING}\n\n${lines.join('\n')}\n`);
  };
}

interface ObjectForm {
  readonly kind: string;
  readonly version: string;
}

const GROUP = 'config.k8s.io';
const VERSIONS = ['v1beta1', 'v1alpha1'];

/** Pure. The first form of the header that is known. @throws {HttpError} 406 */
export function acceptedForm(accept: string | undefined, kind: string): 'text' | ObjectForm {
  if (accept === undefined || accept === '') return 'text';
  for (const range of accept.split(',')) {
    const [type = '', ...parameters] = range.split(';').map((p) => p.trim());
    const given = new Map(parameters.map((p) => p.split('=', 2) as [string, string]));
    if (['text/plain', 'text/*', '*/*'].includes(type)) return 'text';
    const version = given.get('v') ?? '';
    const isOurs = given.get('g') === GROUP && given.get('as') === kind && VERSIONS.includes(version);
    if (type === 'application/json' && isOurs) return { kind, version };
  }
  throw new HttpError(406, `unsupported media type: ${accept}\n`);
}

function sendObject(response: Parameters<Handler>[0]['response'], { kind, version }: ObjectForm, fields: object): void {
  const object = { kind, apiVersion: `${GROUP}/${version}`, metadata: { name: 'kubelet' }, ...fields };
  sendText(response, 200, JSON.stringify(object), { 'Content-Type': 'application/json' });
}

function upText(seconds: number): string {
  const two = (n: number) => String(Math.floor(n)).padStart(2, '0');
  return `${Math.floor(seconds / 3600)} hr ${two((seconds / 60) % 60)} min ${two(seconds % 60)} sec`;
}
