// `nodelet version`: what this is, built from which commit, running on which Node.js.
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import type { Command } from 'commander';
import { type OutputFormat, outputOption } from './options.ts';

/** The Kubernetes release whose behaviour this is; also what the node reports as kubeletVersion. */
export const KUBERNETES_VERSION = 'v1.36.0';

const GO_ARCHITECTURE = process.arch === 'x64' ? 'amd64' : process.arch;

const root = path.resolve(import.meta.dirname, '..');

export function versionText(): string {
  return (JSON.parse(readFileSync(path.join(root, 'package.json'), 'utf8')) as { version: string }).version;
}

/** What the kubelet prints for --version, which kubeadm reads; `raw` is --version=raw. */
export function upstreamVersion(form: string): string {
  if (form !== 'raw') return `Kubernetes ${KUBERNETES_VERSION}`;
  const [major, minor] = KUBERNETES_VERSION.slice(1).split('.');
  return `version.Info{Major:"${major}", Minor:"${minor}", GitVersion:"${KUBERNETES_VERSION}", Platform:"linux/${GO_ARCHITECTURE}"}`;
}

/** Short commit of a checkout, undefined in a release or without git. */
function commit(): string | undefined {
  try {
    return execFileSync('git', ['-C', root, 'rev-parse', '--short', 'HEAD'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
    }).trim();
  } catch {
    return undefined; // not a checkout
  }
}

export function addCommand(program: Command): void {
  program
    .command('version')
    .description('Print the version, the commit, the Kubernetes release that it follows and the Node.js version.')
    .addOption(outputOption())
    .action((opts: { output: OutputFormat }) => {
      const facts = {
        version: versionText(),
        commit: commit() ?? 'unknown',
        kubernetes: KUBERNETES_VERSION,
        node: process.version,
      };
      if (opts.output === 'json') console.log(JSON.stringify(facts, null, 2));
      else
        console.log(
          `nodelet ${facts.version} (${facts.commit}), Kubernetes ${facts.kubernetes}, Node.js ${facts.node}`,
        );
    });
}
